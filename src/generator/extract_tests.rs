//! Tests of extraction, on tidy, noisy and hostile outputs.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn find(extractor: &str, output: &str) -> Result<Value, Miss> {
    Extractor::compile(extractor).expect("a good extractor").value(Source::Output(&Output::new(output.as_bytes())))
}

#[test]
fn the_last_whole_json_at_the_start_of_a_line_counts() {
    let noisy = "banner {\n[info] start\n{\"a\":1}\nlog {\"a\":9}\n{\"a\": 2,\n \"b\": [\n{\"a\":3}\n]}\n{\"a\":4} tail\n{\"a\":";
    assert_eq!(find("json:/a", noisy), Ok(json!(2)));
    assert_eq!(find("json:/b/0/a", noisy), Ok(json!(3)));
    assert_eq!(find("json:", "\u{1b}[32m[1]\u{1b}[39m  \r\n"), Ok(json!([1])));
    assert_eq!(find("json:/a", "no json"), Err(Miss::NoJson));
    assert_eq!(find("json:/a", "{\"a\":null}"), Err(Miss::NothingAt("/a".into())));
    assert_eq!(find("json:/a~1b", "{\"a/b\":1}"), Ok(json!(1)));
}

#[test]
fn regular_expressions_take_the_last_the_first_or_all() {
    let text = "id: 1\nid: 2\nid: 3\n";
    assert_eq!(find(r"re:(?m)^id: (\d)$", text), Ok(json!("3")));
    assert_eq!(find(r"first:re:(?m)^id: (\d)$", text), Ok(json!("1")));
    assert_eq!(find(r"re*:(?m)^id: (\d)$", text), Ok(json!(["1", "2", "3"])));
    assert_eq!(find(r"re*:(x)", text), Ok(json!([])));
    assert!(matches!(find(r"re:(x)", text), Err(Miss::NoMatch(_))));
    assert_eq!(find("text", "\u{1b}[1mall\u{1b}[0m\n"), Ok(json!("all\n")));
}

#[test]
fn numbers_and_texts_are_read_leniently() {
    let output = Output::new(br#"{"n": 7, "s": "7.5", "o": {"a": 1}, "e": " ", "big": "inf"}"#);
    let from = Source::Output(&output);
    let get = |pointer: &str| Extractor::compile(&format!("json:/{pointer}")).unwrap();
    assert_eq!(get("n").text(from), Ok("7".into()));
    assert_eq!(get("s").number(from), Some(7.5));
    assert_eq!(get("n").number(from), Some(7.0));
    assert_eq!(get("big").number(from), None);
    assert_eq!(get("o").note(from), Some(r#"{"a":1}"#.into()));
    assert!(matches!(get("o").text(from), Err(Miss::WrongKind { .. })));
    assert_eq!(get("e").filled_text(from), Err(Miss::Empty));
}

#[test]
fn items_are_searched_like_outputs() {
    let list = Extractor::compile("re*:(?m)^(.+)$").unwrap();
    let output = Output::new(b"41 RUNNING\n42 DONE\n");
    let items = list.items(Source::Output(&output)).unwrap();
    let state = Extractor::compile(r"re:^\d+ (\S+)$").unwrap();
    assert_eq!(state.text(Source::Item(&items[1])), Ok("DONE".into()));
    let pointer = Extractor::compile("json:/id").unwrap();
    assert_eq!(pointer.text(Source::Item(&json!({"id": 5}))), Ok("5".into()));
    assert!(Extractor::compile("json:").unwrap().items(Source::Output(&Output::new(b"{}"))).is_err());
}

#[test]
fn bad_extractors_are_refused() {
    assert!(matches!(Extractor::compile("jsn:/a"), Err(ExtractError::UnknownForm(_))));
    assert!(matches!(Extractor::compile("json:a"), Err(ExtractError::BadPointer(_))));
    assert!(matches!(Extractor::compile("json:/a~2"), Err(ExtractError::BadPointer(_))));
    assert!(matches!(Extractor::compile("re:(a"), Err(ExtractError::BadRegex(_))));
    assert!(matches!(Extractor::compile("re:a{1000}{1000}(b)"), Err(ExtractError::BadRegex(_))));
    assert_eq!(Extractor::compile("re:a").err(), Some(ExtractError::NoGroup));
}

/// Outputs that would cost a pass for each line give up after a bounded amount of work. The test is that it ends at
/// all: without the budget this is billions of steps.
#[test]
fn an_output_made_of_openings_is_given_up() {
    let size = 256 << 10;
    for line in ["[\n", "{\"a\":\n", "[[[[\n", "{\"a\":[\n"] {
        let text = line.repeat(size / line.len());
        assert_eq!(find("json:", &text), Err(Miss::NoJson));
    }
    let escapes = "\u{1b}]".repeat(size / 2);
    assert_eq!(Output::new(escapes.as_bytes()).text().len(), size / 2);
}

proptest! {
    #[test]
    fn nothing_panics_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let output = Output::new(&bytes);
        for form in ["json:/a", "json:", "text", "re:(a.)", "first:re:(?s)(.)$", "re*:(?m)^(.*)$"] {
            let _ = Extractor::compile(form).unwrap().value(Source::Output(&output));
        }
    }

    #[test]
    fn nothing_panics_on_almost_json(text in "([\\[\\]{},:\"a1\n \u{1b}m]|null){0,60}") {
        let _ = find("json:/a", &text);
    }

    #[test]
    fn json_is_found_after_any_noise(noise in "[^\\[{\0]{0,60}", n in any::<i32>()) {
        let text = format!("{noise}\n{{\"n\": {n}}}\n{}", noise.replace('\u{1b}', ""));
        prop_assert_eq!(find("json:/n", &text), Ok(json!(n)));
    }

    #[test]
    fn compiling_never_panics(source in "(json:|re:|re\\*:|first:re:|text)[/~a-z()\\[\\\\0-9*+{}]{0,20}") {
        let _ = Extractor::compile(&source);
    }
}
