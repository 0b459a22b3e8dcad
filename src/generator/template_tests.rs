//! Tests of templates: what is refused, what is dropped, and that nothing is expanded twice.

use super::*;
use proptest::prelude::*;

fn known() -> KnownNames {
    KnownNames::new(["key", "ref", "topic", "requirements", "tone", "creator"])
}

fn one(text: &str) -> ArgSource {
    ArgSource::One(text.to_owned())
}

fn command(args: &[ArgSource]) -> CommandTemplate {
    CommandTemplate::compile(args, None, &known()).expect("a good template")
}

fn values<'a>(pairs: &[(&'a str, &'a str)]) -> Values<'a> {
    let mut values = Values::default();
    for (name, value) in pairs {
        values.set(*name, *value);
    }
    values
}

fn argv(args: &[ArgSource], pairs: &[(&str, &str)]) -> Result<Vec<String>, RenderError> {
    command(args).render(&values(pairs), Path::new("/d")).map(|rendered| rendered.argv)
}

#[test]
fn variables_defaults_and_braces() {
    let args = [one("gen"), one("--t={topic}"), one("{{{tone|plain}}}")];
    assert_eq!(argv(&args, &[("topic", "a b")]).unwrap(), ["gen", "--t=a b", "{plain}"]);
    assert_eq!(argv(&args, &[("topic", ""), ("tone", "{topic}")]).unwrap(), ["gen", "--t=", "{{topic}}"]);
}

#[test]
fn a_group_drops_out_when_a_variable_in_it_is_empty() {
    let args = [one("gen"), ArgSource::Group(vec!["--tone".into(), "x{tone}".into()])];
    assert_eq!(argv(&args, &[]).unwrap(), ["gen"]);
    assert_eq!(argv(&args, &[("tone", "dry")]).unwrap(), ["gen", "--tone", "xdry"]);
    let with_default = [one("gen"), ArgSource::Group(vec!["{tone|dry}".into()])];
    assert_eq!(argv(&with_default, &[]).unwrap(), ["gen", "dry"]);
}

#[test]
fn a_value_is_never_taken_for_an_option() {
    let fault = argv(&[one("gen"), one("{topic}")], &[("topic", "--evil")]).unwrap_err();
    assert_eq!(fault, RenderError::LooksLikeOption { field: "topic".into(), start: "--evil".into() });
    let cure = fault.to_string();
    assert!(
        cure.contains("`--OPTION={topic}`") && !cure.contains("generator"),
        "publishers have templates too: {cure}"
    );
    // The first variable may be empty and the second one evil.
    assert!(argv(&[one("gen"), one("{tone}{topic}")], &[("topic", "-x")]).is_err());
    assert_eq!(argv(&[one("gen"), one("--"), one("{topic}")], &[("topic", "-x")]).unwrap(), ["gen", "--", "-x"]);
    assert_eq!(argv(&[one("gen"), one("-t={topic}")], &[("topic", "-x")]).unwrap(), ["gen", "-t=-x"]);
    // A value that is `--` opens no way.
    assert!(argv(&[one("gen"), one("{tone}"), one("{topic}")], &[("tone", "--"), ("topic", "-x")]).is_err());
}

#[test]
fn what_cannot_travel_names_the_field_the_size_and_the_limit() {
    let long = "x".repeat(MAX_ARG_BYTES);
    let args = [one("gen"), one("{requirements}")];
    assert!(argv(&args, &[("requirements", &long)]).is_ok());
    let fault = argv(&[one("gen"), one("-r={topic}{requirements}")], &[("topic", "t"), ("requirements", &long)]);
    let text = fault.unwrap_err().to_string();
    assert!(text.starts_with("requirements makes an argument of 131075 bytes"), "{text}");
    assert!(text.contains("131071") && text.contains("{file:requirements}") && text.contains("stdin"), "{text}");
    let fault = argv(&args, &[("requirements", "a\0b")]).unwrap_err();
    assert_eq!(fault, RenderError::Nul { field: "requirements".into() });
}

#[test]
fn a_file_carries_what_an_argument_cannot() {
    let long = "x\0".repeat(MAX_ARG_BYTES);
    let command = command(&[one("gen"), one("--file={file:requirements}"), one("{file:requirements}")]);
    let rendered = command.render(&values(&[("requirements", &long)]), Path::new("/state/k.d")).unwrap();
    assert_eq!(rendered.argv[1..], ["--file=/state/k.d/requirements", "/state/k.d/requirements"]);
    assert_eq!(rendered.files, [PrivateFile { path: "/state/k.d/requirements".into(), contents: long }]);
}

#[test]
fn standard_input_is_a_template_of_its_own() {
    let command = CommandTemplate::compile(&[one("gen")], Some("{topic}\n"), &known()).unwrap();
    let rendered = command.render(&values(&[("topic", "-t")]), Path::new("/d")).unwrap();
    assert_eq!(rendered.stdin.as_deref(), Some("-t\n"));
    let faults = CommandTemplate::compile(&[one("gen")], Some("{file:topic}"), &known()).unwrap_err();
    assert_eq!(faults, [(None, TemplateError::FileInText { name: "topic".into() })]);
}

#[test]
fn what_every_call_needs_is_never_an_empty_argument() {
    let fault = argv(&[one("gen"), one("--id={ref}")], &[]).unwrap_err();
    assert_eq!(fault, RenderError::Missing { field: "ref".into() });
}

#[test]
fn faults_are_found_when_compiling() {
    let fault = |text: &str| Template::compile(text, &known()).unwrap_err();
    assert!(matches!(fault("a {topic"), TemplateError::Unclosed { .. }));
    assert!(matches!(fault("a } b"), TemplateError::StrayBrace { .. }));
    assert!(matches!(fault("{topic|{tone}}"), TemplateError::StrayBrace { .. }));
    assert!(matches!(fault("{topics}"), TemplateError::UnknownVariable { .. }));
    assert!(matches!(fault("{}"), TemplateError::UnknownVariable { .. }));
    let no_program = |args: &[ArgSource]| CommandTemplate::compile(args, None, &known()).unwrap_err();
    assert_eq!(no_program(&[]), [(Some(0), TemplateError::NoProgram)]);
    assert_eq!(no_program(&[one("{topic}")]), [(Some(0), TemplateError::NoProgram)]);
    assert_eq!(no_program(&[one("")]), [(Some(0), TemplateError::NoProgram)]);
    assert_eq!(command(&[one("{creator}")]).program("/opt/gen"), "/opt/gen");
}

proptest! {
    #[test]
    fn a_value_is_never_expanded_again(topic in "[^\0]{0,40}", tone in "[^\0-]{1,40}") {
        let out = argv(&[one("gen"), one("={topic}={tone}=")], &[("topic", &topic), ("tone", &tone)]).unwrap();
        prop_assert_eq!(&out[1], &format!("={topic}={tone}="));
    }

    #[test]
    fn compiling_never_panics(source in "[{}|:a-z\0\\-é]{0,30}") {
        let _ = Template::compile(&source, &known());
    }

    #[test]
    fn any_text_can_be_written_with_doubled_braces(text in "[^\0]{0,40}") {
        let doubled = text.replace('{', "{{").replace('}', "}}");
        let template = Template::compile(&doubled, &known()).unwrap();
        prop_assert_eq!(template.render(&Values::default()).unwrap(), text);
    }
}
