//! Topics as files and commands write them: batch entries (JSON lines, CSV), or one topic a line.
//!
//! Everything here is somebody else's text. What an entry may say is what a submit may say, without what is the schedule's:
//! for whom, under which key, and when.

use super::api::checked::is_no_line;
use super::api::schedules::{no_account, topic_of};
use super::batch;
use crate::render::sha256_hex;
use crate::schedule::{Topic, limits};
use crate::task::limits::TOPIC_CHARS;

/// How many faults are told of a text.
const TOLD: usize = 3;

/// The entries of a file, by its name's ending and its beginning; a text that is neither has one topic a line.
pub fn entries(name: &str, contents: &[u8]) -> Result<Vec<Topic>, String> {
    let is_lines = std::path::Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
    if is_lines {
        return lines(contents);
    }
    parsed(name, contents)
}

/// What a command printed: JSON lines where it begins with one, else one topic a line.
pub fn printed(output: &[u8]) -> Result<Vec<Topic>, String> {
    if output.trim_ascii_start().starts_with(b"{") { parsed("output.jsonl", output) } else { lines(output) }
}

/// By what a topic is remembered.
pub fn digest(topic: &Topic) -> String {
    sha256_hex(serde_json::to_string(topic).unwrap_or_default().as_bytes())
}

fn parsed(name: &str, contents: &[u8]) -> Result<Vec<Topic>, String> {
    if contents.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let entries = batch::parse(name, contents, &no_account()).map_err(|faults| told(&faults))?;
    bounded(entries.len())?;
    let topics = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| topic_of(entry).map_err(|why| format!("{name}: entry {}: {why}", index + 1)));
    topics.collect()
}

fn lines(text: &[u8]) -> Result<Vec<Topic>, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text =
        std::str::from_utf8(text).map_err(|error| format!("byte {}: the text is not UTF-8", error.valid_up_to()))?;
    let mut topics = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Nobody is there to mend a line when a schedule fires, and all that a command printed may be lost with one.
        let topic = line.replace(is_no_line, " ");
        let topic = topic.trim();
        if topic.is_empty() {
            continue;
        }
        if topic.chars().count() > TOPIC_CHARS {
            return Err(format!("line {}: a topic has at most {TOPIC_CHARS} characters", index + 1));
        }
        topics.push(Topic { topic: topic.to_owned(), ..Topic::default() });
    }
    bounded(topics.len())?;
    Ok(topics)
}

fn bounded(count: usize) -> Result<(), String> {
    if count > limits::FILE { Err(format!("{count} topics, and {} may be", limits::FILE)) } else { Ok(()) }
}

fn told(faults: &[String]) -> String {
    let more = faults.len().saturating_sub(TOLD);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", faults.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(topics: Result<Vec<Topic>, String>) -> Vec<String> {
        topics.expect("right").into_iter().map(|topic| topic.topic).collect()
    }

    #[test]
    fn lines_tables_and_objects_are_read() {
        assert_eq!(names(printed(b"\n one \r\n\ntwo\n")), ["one", "two"]);
        assert_eq!(names(printed(b"{\"topic\": \"one\", \"tone\": \"dry\"}\n{\"topic\": \"two\"}\n")), ["one", "two"]);
        assert_eq!(names(printed(b"")), [""; 0]);
        assert_eq!(names(entries("/t/x.csv", b"topic,priority\none,3\ntwo,\n")), ["one", "two"]);
        assert_eq!(names(entries("/t/x.jsonl", b"{\"topic\": \"one\"}\n")), ["one"]);
        assert_eq!(names(entries("/t/x.txt", "一\n{\"no\": 1}\n".as_bytes())), ["一", "{\"no\": 1}"]);
        assert_eq!(names(entries("/t/x.csv", b" \n")), [""; 0]);
        assert_eq!(names(printed(b"tab\there\n\x1b[31mred\x0cside\n\x07\n")), ["tab\there", "[31mred side"]);
        for (name, text, fault) in [
            ("/t/x.csv", &b"account,topic\nblog,one\n"[..], "entry 1: account"),
            ("/t/x.csv", b"topic,key\none,k\n", "entry 1: key and delay"),
            ("/t/x.csv", b"topic,prio\none,k\n", "prio: no such field"),
            ("/t/x.jsonl", b"[1]\n", "a JSON object"),
            ("/t/x.txt", b"\xff\xfe\n", "not UTF-8"),
            ("/t/x.txt", &[b'x'; 1_001], "line 1: a topic has at most 1000 characters"),
            ("/t/x.jsonl", b"{\"topic\": \"two\\nlines\"}\n", "one line without control characters"),
        ] {
            let why = entries(name, text).expect_err(name);
            assert!(why.contains(fault), "{why}");
        }
    }

    #[test]
    fn a_digest_is_of_all_that_an_entry_says() {
        let all = entries(
            "x.jsonl",
            b"{\"topic\":\"t\"}\n{\"topic\":\"t\",\"tone\":\"dry\"}\n{\"tone\":\"dry\",\"topic\":\" t \"}\n",
        );
        let digests: Vec<String> = all.expect("right").iter().map(digest).collect();
        assert_ne!(digests[0], digests[1]);
        assert_eq!(digests[1], digests[2], "whatever the order of its fields");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = printed(&bytes);
            let _ = entries("x.csv", &bytes);
            let _ = entries("x.txt", &bytes);
        }
    }
}
