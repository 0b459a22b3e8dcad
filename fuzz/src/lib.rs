//! What is fuzzed: everything that reads bytes of somebody else's. The corpora lie in `corpus/TARGET`; an input that once
//! found a flaw stays there.

mod files;
mod messages;
mod outputs;
mod texts;

#[allow(dead_code)]
#[path = "../../tests/hostile/cases.rs"]
mod cases;
#[path = "../../tests/support/fake_backend.rs"]
#[allow(dead_code, missing_docs)]
mod fake_backend;
#[path = "../../tests/hostile/oracle.rs"]
#[allow(dead_code)]
mod oracle;

/// Takes any bytes, and panics where a promise does not hold.
pub type Target = fn(&[u8]);

/// Each target by its name.
pub const TARGETS: [(&str, Target); 10] = [
    ("frames", messages::frames),
    ("calls", messages::calls),
    ("handover", files::handover),
    ("runs", files::runs),
    ("logs", files::logs),
    ("config", texts::config),
    ("template", texts::template),
    ("batch", texts::batch),
    ("words", texts::words),
    ("output", outputs::output),
];

/// The bytes before and after the first byte like this one; nothing after it where there is none.
fn cut(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(found) => (&bytes[..found], &bytes[found + 1..]),
        None => (bytes, &[]),
    }
}
