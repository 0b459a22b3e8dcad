//! Templates: texts with variables, which become the arguments and the standard input of a call.
//!
//! `{name}`, `{name|default}` for an empty value, `{file:name}` for the path of a private file that holds the value,
//! `{{` and `}}` for the braces themselves. No shell is ever involved and nothing is quoted. The surprise: rendering
//! is one pass over the compiled template, so a value that looks like a template stays the text that it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The longest argument that Linux takes (`MAX_ARG_STRLEN`), its closing NUL not counted.
pub const MAX_ARG_BYTES: usize = 128 * 1024 - 1;

/// What is wrong with a template as it stands in the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TemplateError {
    /// A brace was opened and never closed.
    #[error("the `{{` in {template:?} is never closed; a literal brace is written `{{{{`")]
    Unclosed {
        /// The template.
        template: String,
    },
    /// A closing brace without an opening one, or a brace inside a variable.
    #[error("a stray brace in {template:?}; literal braces are written `{{{{` and `}}}}`")]
    StrayBrace {
        /// The template.
        template: String,
    },
    /// A variable that is not known here.
    #[error("there is no variable `{{{name}}}` here; known are: {known}")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The names that would be right.
        known: String,
    },
    /// `{file:…}` where no file can be handed over.
    #[error("`{{file:{name}}}` stands for a path, which only an argument can carry; write `{{{name}}}` here")]
    FileInText {
        /// The variable.
        name: String,
    },
    /// There is no program to run.
    #[error("the first argument names the program: write it as text or `{{creator}}`")]
    NoProgram,
    /// A NUL, which no argument can hold.
    #[error("{template:?} holds a NUL character, which no argument can carry")]
    Nul {
        /// The template.
        template: String,
    },
}

/// Why values cannot travel in a call. Each names the field and the cure.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RenderError {
    /// An argument would be longer than the system takes.
    #[error(
        "{field} makes an argument of {bytes} bytes, and one argument holds at most {MAX_ARG_BYTES}: shorten it, or let \
         the configuration pass it as `{{file:{field}}}` or by `stdin`"
    )]
    TooLong {
        /// The field with the longest value in the argument.
        field: String,
        /// The length of the whole argument.
        bytes: usize,
    },
    /// A value with a NUL character.
    #[error("{field} holds a NUL character, which no argument can carry: remove it")]
    Nul {
        /// The field.
        field: String,
    },
    /// A value that the program would take for an option.
    #[error(
        "{field} begins with `-` ({start:?}) and would be read as an option: rephrase it, or have the configuration pass it \
         in one argument with its option, `--OPTION={{{field}}}`, or behind a `--`"
    )]
    LooksLikeOption {
        /// The field.
        field: String,
        /// How the value begins.
        start: String,
    },
    /// A name that every call needs is not known for this job.
    #[error("{field} is not known for this job, and the call needs it")]
    Missing {
        /// The variable.
        field: String,
    },
    /// The directory of the private files cannot be written as text.
    #[error("the directory {} of private files is not valid UTF-8: choose another state directory", .0.display())]
    DirectoryNotUtf8(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    Variable { name: String, default: Option<String>, is_file: bool },
}

/// The variables that a template may use.
#[derive(Clone, Debug, Default)]
pub struct KnownNames(Vec<String>);

impl KnownNames {
    /// These and no others.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// These and `more`.
    pub fn with<I: IntoIterator<Item = S>, S: Into<String>>(&self, more: I) -> Self {
        Self(self.0.iter().cloned().chain(more.into_iter().map(Into::into)).collect())
    }

    fn check(&self, name: &str) -> Result<(), TemplateError> {
        if self.0.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(TemplateError::UnknownVariable { name: name.to_owned(), known: self.0.join(" ") })
    }
}

/// The values of a rendering by name. A name without a value is empty.
#[derive(Clone, Debug, Default)]
pub struct Values<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Values<'a> {
    /// Gives `name` a value; the last one counts.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of `name`, empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.as_ref())
    }
}

/// Variables without which a call makes no sense: an empty one is an error, never an empty argument.
const NEVER_EMPTY: [&str; 2] = ["key", "ref"];

/// A text with variables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Compiles a template of plain text: `{file:…}` is refused.
    pub fn compile(source: &str, known: &KnownNames) -> Result<Self, TemplateError> {
        let template = Self::compile_argument(source, known)?;
        for part in &template.parts {
            if let Part::Variable { name, is_file: true, .. } = part {
                return Err(TemplateError::FileInText { name: name.clone() });
            }
        }
        Ok(template)
    }

    fn compile_argument(source: &str, known: &KnownNames) -> Result<Self, TemplateError> {
        if source.contains('\0') {
            return Err(TemplateError::Nul { template: source.to_owned() });
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let brace = &rest[at..=at];
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::StrayBrace { template: source.to_owned() });
            }
            let end = rest.find('}').ok_or_else(|| TemplateError::Unclosed { template: source.to_owned() })?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(variable(&rest[..end], source, known)?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// Whether the template is one variable and nothing else.
    pub fn is_just(&self, wanted: &str) -> bool {
        matches!(&self.parts[..], [Part::Variable { name, default: None, is_file: false }] if name == wanted)
    }

    /// The names of the variables in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { name, .. } => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text before and after the only occurrence of `name`, if all the rest is literal.
    pub fn around(&self, wanted: &str) -> Option<(&str, &str)> {
        let is_wanted = |part: &Part| matches!(part, Part::Variable { name, default: None, .. } if name == wanted);
        match &self.parts[..] {
            [Part::Literal(before), key, Part::Literal(after)] if is_wanted(key) => Some((before, after)),
            _ => None,
        }
    }

    /// The text with every variable replaced, once. Only for templates of plain text.
    pub fn render(&self, values: &Values<'_>) -> Result<String, RenderError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable { name, default, .. } => text.push_str(value_of(name, default, values)?),
            }
        }
        Ok(text)
    }

    fn starts_with_variable(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Variable { is_file: false, .. }))
    }

    fn is_literal(&self, text: &str) -> bool {
        matches!(&self.parts[..], [Part::Literal(literal)] if literal == text)
    }

    fn has_empty_variable(&self, values: &Values<'_>) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Literal(_) => false,
            Part::Variable { name, default, .. } => {
                values.get(name).is_empty() && default.as_ref().is_none_or(String::is_empty)
            }
        })
    }
}

fn variable(inner: &str, source: &str, known: &KnownNames) -> Result<Part, TemplateError> {
    if inner.contains('{') {
        return Err(TemplateError::StrayBrace { template: source.to_owned() });
    }
    let (name, default) = match inner.split_once('|') {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (inner, None),
    };
    let (name, is_file) = match name.strip_prefix("file:") {
        Some(name) => (name, true),
        None => (name, false),
    };
    known.check(name)?;
    Ok(Part::Variable { name: name.to_owned(), default, is_file })
}

fn value_of<'v>(name: &str, default: &'v Option<String>, values: &'v Values<'_>) -> Result<&'v str, RenderError> {
    match (values.get(name), default) {
        ("", Some(default)) => Ok(default),
        ("", None) if NEVER_EMPTY.contains(&name) => Err(RenderError::Missing { field: name.to_owned() }),
        (value, _) => Ok(value),
    }
}

/// One argument, or a group that is dropped together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgTemplate {
    /// One argument, always there.
    One(Template),
    /// Arguments that are left out when any variable in them is empty.
    Group(Vec<Template>),
}

/// An argument as it stands in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgSource {
    /// A text.
    One(String),
    /// A nested array.
    Group(Vec<String>),
}

/// A file that must exist, readable by the call alone (0600), before the call starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrivateFile {
    /// Where, inside the directory that was given to the rendering; it stands so in the arguments.
    pub path: PathBuf,
    /// What it holds.
    pub contents: String,
}

/// A call with everything filled in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rendered {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The private files that the arguments name.
    pub files: Vec<PrivateFile>,
    /// What goes to its standard input; none is an empty one.
    pub stdin: Option<String>,
}

/// The argument vector and the standard input of a verb.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandTemplate {
    args: Vec<ArgTemplate>,
    stdin: Option<Template>,
}

impl CommandTemplate {
    /// Compiles the whole; every fault is told, with the number of the argument (from 0) it lies in.
    pub fn compile(
        args: &[ArgSource],
        stdin: Option<&str>,
        known: &KnownNames,
    ) -> Result<Self, Vec<(Option<usize>, TemplateError)>> {
        let mut faults = Vec::new();
        let mut compiled = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            let result = match arg {
                ArgSource::One(text) => Template::compile_argument(text, known).map(ArgTemplate::One),
                ArgSource::Group(texts) => {
                    let all: Result<Vec<_>, _> =
                        texts.iter().map(|text| Template::compile_argument(text, known)).collect();
                    all.map(ArgTemplate::Group)
                }
            };
            match result {
                Ok(arg) => compiled.push(arg),
                Err(fault) => faults.push((Some(at), fault)),
            }
        }
        let stdin =
            stdin.and_then(|text| Template::compile(text, known).map_err(|fault| faults.push((None, fault))).ok());
        if faults.is_empty() && !compiled.first().is_some_and(is_program) {
            faults.push((Some(0), TemplateError::NoProgram));
        }
        if faults.is_empty() { Ok(Self { args: compiled, stdin }) } else { Err(faults) }
    }

    /// The names of all variables in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let args = self.args.iter().flat_map(|arg| match arg {
            ArgTemplate::One(template) => std::slice::from_ref(template),
            ArgTemplate::Group(templates) => templates,
        });
        args.chain(&self.stdin).flat_map(Template::names)
    }

    /// Variables that begin an argument before any `--`: a value of theirs that begins with `-` cannot be passed so.
    pub fn open_names(&self) -> impl Iterator<Item = &str> {
        let args = self.args.iter().flat_map(|arg| match arg {
            ArgTemplate::One(template) => std::slice::from_ref(template),
            ArgTemplate::Group(templates) => templates,
        });
        args.take_while(|template| !template.is_literal("--")).filter_map(|template| match template.parts.first() {
            Some(Part::Variable { name, is_file: false, .. }) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The program, with `creator` filled in.
    pub fn program(&self, creator: &str) -> String {
        let mut values = Values::default();
        values.set("creator", creator);
        match self.args.first() {
            Some(ArgTemplate::One(template)) => template.render(&values).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Fills everything in. The private files are named inside `dir`; making them is the caller's part.
    pub fn render(&self, values: &Values<'_>, dir: &Path) -> Result<Rendered, RenderError> {
        let mut out = Rendered::default();
        let mut is_after_dashes = false;
        for arg in &self.args {
            let templates = match arg {
                ArgTemplate::One(template) => std::slice::from_ref(template),
                ArgTemplate::Group(group) if group.iter().any(|template| template.has_empty_variable(values)) => {
                    continue;
                }
                ArgTemplate::Group(group) => group,
            };
            for template in templates {
                let text = render_argument(template, values, dir, is_after_dashes, &mut out.files)?;
                // Only a `--` of the configuration counts: a value cannot open the way for the next one.
                is_after_dashes |= template.is_literal("--");
                out.argv.push(text);
            }
        }
        out.stdin = self.stdin.as_ref().map(|template| template.render(values)).transpose()?;
        Ok(out)
    }
}

/// A program is named by the configuration, never by a task.
fn is_program(arg: &ArgTemplate) -> bool {
    match arg {
        ArgTemplate::One(template) => !template.parts.is_empty() && template.names().all(|name| name == "creator"),
        ArgTemplate::Group(_) => false,
    }
}

fn render_argument(
    template: &Template,
    values: &Values<'_>,
    dir: &Path,
    is_after_dashes: bool,
    files: &mut Vec<PrivateFile>,
) -> Result<String, RenderError> {
    let mut text = String::new();
    let mut longest = ("the template", 0);
    let mut first_value = None;
    for part in &template.parts {
        let Part::Variable { name, default, is_file } = part else {
            let Part::Literal(literal) = part else { continue };
            text.push_str(literal);
            continue;
        };
        let value = value_of(name, default, values)?;
        if *is_file {
            text.push_str(&private_file(name, value, dir, files)?);
            continue;
        }
        if value.contains('\0') {
            return Err(RenderError::Nul { field: name.clone() });
        }
        if value.len() >= longest.1 {
            longest = (name, value.len());
        }
        if !value.is_empty() {
            first_value.get_or_insert(name);
        }
        text.push_str(value);
    }
    if text.starts_with('-') && template.starts_with_variable() && !is_after_dashes {
        let field = first_value.map_or("the template", String::as_str).to_owned();
        return Err(RenderError::LooksLikeOption { field, start: text.chars().take(20).collect() });
    }
    if text.len() > MAX_ARG_BYTES {
        return Err(RenderError::TooLong { field: longest.0.to_owned(), bytes: text.len() });
    }
    Ok(text)
}

fn private_file(name: &str, contents: &str, dir: &Path, files: &mut Vec<PrivateFile>) -> Result<String, RenderError> {
    let path = dir.join(name);
    let text = path.to_str().ok_or_else(|| RenderError::DirectoryNotUtf8(dir.to_owned()))?.to_owned();
    if !files.iter().any(|file| file.path == path) {
        files.push(PrivateFile { path, contents: contents.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
