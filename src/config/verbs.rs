//! `[generators.NAME.VERB]`: what to call and how its output is read.
//!
//! The surprise: `find.like = "poll"` takes every key that find does not have from poll, its rules too, as far as
//! their outcomes exist for a search.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::error::Faults;
use super::reader::{Placed, Section, text_of, wanted};
use super::rules::read_rules;
use crate::generator::extract::Extractor;
use crate::generator::rules::{Rule, Ruled};
use crate::generator::spec::{
    BatchSpec, CallSpec, FetchSpec, FindSpec, Mark, PAGE_NAMES, PieceSpec, PollSpec, REF_NAME, RefSource, StateSpec,
    SubmitSpec, TASK_NAMES, Yields, known_names,
};
use crate::generator::template::{ArgSource, CommandTemplate, KnownNames, Template};
use crate::task::outcome::Verb;

pub(super) struct Verbs {
    pub(super) submit: SubmitSpec,
    pub(super) poll: Option<PollSpec>,
    pub(super) poll_one: Option<PollSpec>,
    pub(super) find: Option<FindSpec>,
    pub(super) fetch: Option<FetchSpec>,
    pub(super) cancel: Option<CallSpec>,
}

/// The longest time limit of one short call.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn read(generator: &mut Section<'_, '_>, is_blocking: bool, faults: &mut Faults<'_>) -> Option<Verbs> {
    let submit = generator.section("submit", faults);
    let poll = generator.section("poll", faults);
    let poll_one = generator.section("poll_one", faults);
    let find = generator.section("find", faults);
    let fetch = generator.section("fetch", faults);
    let cancel = generator.section("cancel", faults);
    if submit.is_none() && !generator.has("submit") {
        faults.at(&generator.span, format!("there is no [{}.submit]: a generator needs one", generator.name));
    }
    if !is_blocking && fetch.is_none() && !generator.has("fetch") {
        let why = format!("there is a poll and no [{}.fetch]: the piece would never be got", generator.name);
        faults.at(&generator.span, why);
    }
    let mut names = Vec::new();
    for section in submit.iter().chain(&poll).chain(&poll_one) {
        extracted_names(section, &mut names);
    }
    let (poll_spec, find_spec) = read_lists(poll, find, submit.as_ref(), &names, faults);
    let poll_one = poll_one.and_then(|section| {
        let span = section.span.clone();
        let spec = read_poll(Verb::PollOne, section, &names, faults);
        if spec.is_some() && poll_spec.as_ref().is_some_and(|poll| poll.batch.is_none()) {
            faults.at(&span, "poll asks about one job already: remove poll_one, or give poll `items` and `key`");
        }
        spec
    });
    let submit = submit.and_then(|section| read_submit(section, is_blocking, faults));
    let fetch = fetch.and_then(|section| read_fetch(section, &names, faults));
    let cancel = cancel.and_then(|mut section| {
        let known = known_names(Verb::Cancel, false, &names);
        let call = read_call(Verb::Cancel, &mut section, &known, Some(30), faults);
        section.finish(faults);
        call
    });
    Some(Verbs { submit: submit?, poll: poll_spec, poll_one, find: find_spec, fetch, cancel })
}

fn read_lists(
    poll: Option<Section<'_, '_>>,
    find: Option<Section<'_, '_>>,
    submit: Option<&Section<'_, '_>>,
    names: &[String],
    faults: &mut Faults<'_>,
) -> (Option<PollSpec>, Option<FindSpec>) {
    let find = find.and_then(|mut find| match (find.text("like", faults), &poll) {
        (None, _) => Some(find),
        (Some(like), Some(poll)) if like.value == "poll" => Some(find.falling_back_on(poll)),
        (Some(like), _) => {
            faults.at(&like.span, format!("like is {:?}, and a search can only be like \"poll\"", like.value));
            None
        }
    });
    let find = find.and_then(|section| read_find(section, submit, faults));
    (poll.and_then(|section| read_poll(Verb::Poll, section, names, faults)), find)
}

/// The names under `extract`, before anything is compiled: templates of other verbs may use them.
fn extracted_names(section: &Section<'_, '_>, names: &mut Vec<String>) {
    let extract = section.entries().find(|(key, _)| key.value == "extract");
    if let Some((_, node)) = extract
        && let DeValue::Table(table) = node.get_ref()
    {
        names.extend(table.keys().map(|key| key.get_ref().to_string()));
    }
}

fn read_submit(mut section: Section<'_, '_>, is_blocking: bool, faults: &mut Faults<'_>) -> Option<SubmitSpec> {
    let verb = if is_blocking { Verb::Run } else { Verb::Submit };
    let known = known_names(verb, false, &[]);
    let call = read_call(verb, &mut section, &known, (!is_blocking).then_some(30), faults);
    let reference = section.text("ref", faults);
    let has_content = section.has("content");
    let piece = read_piece(&mut section, is_blocking, faults);
    let vars = read_vars(&mut section, faults);
    let span = section.span.clone();
    let yields = if is_blocking {
        if let Some(reference) = reference {
            faults.at(&reference.span, "a blocking command has no reference: remove ref, or add a poll");
        }
        piece.map(Yields::Piece)
    } else {
        if has_content {
            faults
                .at(&span, "this generator is polled, so its piece is fetched: move content to fetch, or remove poll");
        }
        if reference.is_none() && !section.has("ref") {
            let why = format!(
                "{} is missing: write \"{{key}}\" if the generator takes our key for its own, or where the output says it",
                section.path("ref")
            );
            faults.at(&span, why);
        }
        reference.and_then(|reference| read_ref(&reference, &section.path("ref"), faults)).map(Yields::Reference)
    };
    section.finish(faults);
    Some(SubmitSpec { call: call?, yields: yields?, vars })
}

fn read_ref(reference: &Placed<String>, path: &str, faults: &mut Faults<'_>) -> Option<RefSource> {
    if Extractor::is_form(&reference.value) {
        return compile_extractor(reference, path, faults).map(RefSource::Extract);
    }
    let template = match Template::compile(&reference.value, &KnownNames::new(["key", "task"])) {
        Ok(template) => template,
        Err(error) => {
            faults.at(&reference.span, format!("ref: {error}"));
            return None;
        }
    };
    if !template.names().any(|name| name == "key") {
        let why = "ref would be the same for every attempt: write {key} in it, or an extractor (`json:/…`, `re:…`)";
        faults.at(&reference.span, why);
    }
    Some(RefSource::Template(template))
}

fn read_fetch(mut section: Section<'_, '_>, names: &[String], faults: &mut Faults<'_>) -> Option<FetchSpec> {
    let known = known_names(Verb::Fetch, false, names);
    let call = read_call(Verb::Fetch, &mut section, &known, Some(30), faults);
    let piece = read_piece(&mut section, true, faults);
    section.finish(faults);
    Some(FetchSpec { call: call?, piece: piece? })
}

fn read_piece(section: &mut Section<'_, '_>, is_needed: bool, faults: &mut Faults<'_>) -> Option<PieceSpec> {
    let html = extractor(section, "html", faults);
    let images = extractor(section, "images", faults);
    let score = extractor(section, "score", faults);
    let content =
        if is_needed { needed_extractor(section, "content", faults) } else { extractor(section, "content", faults) };
    Some(PieceSpec { content: content?, html, images, score })
}

fn read_poll(verb: Verb, mut section: Section<'_, '_>, names: &[String], faults: &mut Faults<'_>) -> Option<PollSpec> {
    let is_batch = verb == Verb::Poll && ["items", "key", "batch"].iter().any(|key| section.has(key));
    let known = known_names(verb, is_batch, names);
    let call = read_call(verb, &mut section, &known, Some(10), faults);
    let batch = if is_batch { read_batch(&mut section, call.as_ref(), faults) } else { None };
    let state = needed_extractor(&mut section, "state", faults);
    let error = extractor(&mut section, "error", faults);
    let progress = extractor(&mut section, "progress", faults);
    let vars = read_vars(&mut section, faults);
    section.finish(faults);
    if is_batch && batch.is_none() {
        return None;
    }
    Some(PollSpec { call: call?, batch, job: StateSpec { state: state?, error, progress, vars } })
}

fn read_batch(section: &mut Section<'_, '_>, call: Option<&CallSpec>, faults: &mut Faults<'_>) -> Option<BatchSpec> {
    let items = needed_extractor(section, "items", faults);
    let key = needed_extractor(section, "key", faults);
    let page_rows = section.number("batch", 1..=100_000, faults);
    let max_pages = section.number("max_pages", 1..=10_000, faults).unwrap_or(10);
    let order = section.text("order", faults);
    let created = extractor(section, "created", faults);
    if let Some(order) = order.as_ref().filter(|order| order.value != "newest") {
        faults
            .at(&order.span, format!("order is {:?}; only \"newest\" says anything: write it or nothing", order.value));
    }
    if order.is_some() != created.is_some() {
        let why = format!("[{}] needs order = \"newest\" and created together, or neither", section.name);
        faults.at(&section.span, why);
    }
    let uses = |name: &str| call.is_some_and(|call| call.command.names().any(|used| used == name));
    let (has_limit, has_offset) = (uses(PAGE_NAMES[0]), uses(PAGE_NAMES[1]));
    if call.is_some() && page_rows.is_some() != (has_limit || has_offset) {
        let why = format!(
            "[{}] needs `batch` (the rows of a page) and {{batch_limit}} in run together, or neither",
            section.name
        );
        faults.at(&section.span, why);
    }
    Some(BatchSpec {
        page_rows,
        has_pages: has_offset,
        max_pages,
        items: items?,
        key: key?,
        created_newest_first: created,
    })
}

fn read_find(
    mut section: Section<'_, '_>,
    submit: Option<&Section<'_, '_>>,
    faults: &mut Faults<'_>,
) -> Option<FindSpec> {
    let known = known_names(Verb::Find, true, &[]);
    let call = read_call(Verb::Find, &mut section, &known, Some(10), faults);
    let batch = read_batch(&mut section, call.as_ref(), faults);
    let field = needed_extractor(&mut section, "match", faults);
    let mark_source = section.text("mark", faults);
    if mark_source.is_none() && !section.has("mark") {
        faults.at(&section.span, format!("{} is missing: write it as submit writes it", section.path("mark")));
    }
    let mark = mark_source.as_ref().and_then(|source| read_mark(source, faults));
    if let Some(source) = &mark_source
        && let Some(submit) = submit
        && !is_always_written(&source.value, submit)
    {
        let why = format!(
            "submit does not always write the mark {:?}: jobs would never be found and be paid again; \
             put it into an argument of submit.run outside of nested arrays, or into stdin",
            source.value
        );
        faults.at(&source.span, why);
    }
    section.finish(faults);
    let call = call?;
    let is_per_job = call.command.names().any(|name| name != "creator" && !PAGE_NAMES.contains(&name));
    Some(FindSpec { call, batch: batch?, field: field?, mark: mark?, is_per_job })
}

fn read_mark(source: &Placed<String>, faults: &mut Faults<'_>) -> Option<Mark> {
    let template = Template::compile(&source.value, &KnownNames::new(["key"]));
    let mark = match &template {
        Ok(template) => template.around("key"),
        Err(error) => {
            faults.at(&source.span, format!("mark: {error}"));
            return None;
        }
    };
    match mark {
        Some((before, after)) => Some(Mark { before: before.to_owned(), after: after.to_owned() }),
        None => {
            let why = "mark needs text before and after one {key}, for example \"[ref:{key}]\"";
            faults.at(&source.span, why);
            None
        }
    }
}

/// Whether every submit writes the mark: an argument that can drop out does not count.
fn is_always_written(mark: &str, submit: &Section<'_, '_>) -> bool {
    submit.entries().any(|(key, node)| match (key.value.as_str(), node.get_ref()) {
        ("stdin", DeValue::String(text)) => text.contains(mark),
        ("run", DeValue::Array(args)) => {
            args.iter().any(|arg| arg.get_ref().as_str().is_some_and(|text| text.contains(mark)))
        }
        _ => false,
    })
}

fn read_call(
    verb: Verb,
    section: &mut Section<'_, '_>,
    known: &KnownNames,
    default_timeout_s: Option<u64>,
    faults: &mut Faults<'_>,
) -> Option<CallSpec> {
    let Command { command, timeout, rules } = read_command(verb, section, known, default_timeout_s, faults)?;
    Some(CallSpec { verb, command, timeout, rules })
}

/// What is called, whoever's verb it is.
pub(super) struct Command {
    pub(super) command: CommandTemplate,
    pub(super) timeout: Duration,
    pub(super) rules: Vec<Rule>,
}

/// What every verb has: `run`, `stdin`, `timeout`, `rules`. Without a default time limit the verb has none.
pub(super) fn read_command<V: Ruled>(
    verb: V,
    section: &mut Section<'_, '_>,
    known: &KnownNames,
    default_timeout_s: Option<u64>,
    faults: &mut Faults<'_>,
) -> Option<Command> {
    let args = read_args(section, faults);
    let stdin = section.text("stdin", faults);
    let timeout = section.span_of_time("timeout", faults);
    if let Some(timeout) = &timeout {
        if default_timeout_s.is_none() {
            faults.at(&timeout.span, "the task's own time_limit ends a blocking run: remove timeout");
        } else if timeout.value > MAX_TIMEOUT {
            faults.at(&timeout.span, format!("{} is longer than an hour", section.path("timeout")));
        }
    }
    let rules = read_rules(verb, section, faults);
    let args = args?;
    let sources: Vec<ArgSource> = args.iter().map(|arg| arg.value.clone()).collect();
    let stdin_text = stdin.as_ref().map(|text| text.value.as_str());
    match CommandTemplate::compile(&sources, stdin_text, known) {
        Ok(command) => {
            let default = Duration::from_secs(default_timeout_s.unwrap_or(30));
            Some(Command { command, timeout: timeout.map_or(default, |span| span.value), rules })
        }
        Err(found) => {
            for (at, error) in found {
                let place = match at {
                    Some(at) => args.get(at).map(|arg| arg.span.clone()),
                    None => stdin.as_ref().map(|text| text.span.clone()),
                };
                let key = if at.is_some() { "run" } else { "stdin" };
                faults.at(&place.unwrap_or(section.span.clone()), format!("{}: {error}", section.path(key)));
            }
            None
        }
    }
}

fn read_args(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Vec<Placed<ArgSource>>> {
    let name = section.path("run");
    let Some(node) = section.node("run") else {
        faults.at(&section.span, format!("{name} is missing: write the program and its arguments as an array"));
        return None;
    };
    let Some(array) = node.get_ref().as_array() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), "an array of arguments (there is no shell)"));
        return None;
    };
    let mut args = Vec::new();
    for node in array {
        let value = match node.get_ref() {
            DeValue::Array(group) => {
                let texts = group.iter().filter_map(|node| text_of(node, &name, faults)).map(|text| text.value);
                ArgSource::Group(texts.collect())
            }
            _ => match text_of(node, &name, faults) {
                Some(text) => ArgSource::One(text.value),
                None => continue,
            },
        };
        args.push(Placed { value, span: node.span() });
    }
    Some(args)
}

pub(super) fn extractor(
    section: &mut Section<'_, '_>,
    key: &'static str,
    faults: &mut Faults<'_>,
) -> Option<Extractor> {
    let source = section.text(key, faults)?;
    compile_extractor(&source, &section.path(key), faults)
}

fn needed_extractor(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<Extractor> {
    if section.node(key).is_none() {
        let why = format!("{} is missing: say where it is (`json:/pointer`, `re:…` or `text`)", section.path(key));
        faults.at(&section.span, why);
        return None;
    }
    extractor(section, key, faults)
}

fn compile_extractor(source: &Placed<String>, path: &str, faults: &mut Faults<'_>) -> Option<Extractor> {
    Extractor::compile(&source.value).map_err(|error| faults.at(&source.span, format!("{path}: {error}"))).ok()
}

/// `extract = { name = "json:/…" }`: values that later templates use as `{name}`.
fn read_vars(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> BTreeMap<String, Extractor> {
    let Some(section) = section.section("extract", faults) else { return BTreeMap::new() };
    let mut vars = BTreeMap::new();
    for (name, node) in section.entries() {
        if let Some(why) = bad_var_name(&name.value) {
            faults.at(&Range::clone(&name.span), format!("{:?} cannot be extracted: {why}", name.value));
        }
        let path = section.path(&name.value);
        if let Some(extractor) =
            text_of(node, &path, faults).and_then(|source| compile_extractor(&source, &path, faults))
        {
            vars.insert(name.value, extractor);
        }
    }
    vars
}

fn bad_var_name(name: &str) -> Option<&'static str> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) || !name.bytes().all(is_word) {
        return Some("a name has a-z, 0-9 and `_`, and begins with a letter");
    }
    let is_taken = TASK_NAMES.contains(&name) || PAGE_NAMES.contains(&name) || name == REF_NAME;
    is_taken.then_some("the name has a meaning of its own")
}
