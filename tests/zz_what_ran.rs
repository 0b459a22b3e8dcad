//! The last lines of `cargo test`: what was counted, and what was not included, so that nobody takes a part for the whole.
//!
//! Not a test. The name sorts behind every other test file, cargo runs them in that order, and the library has no doc-tests
//! that would come after; `scripts/test` runs it by itself, after the mutations. With other flags (`--list`, a filter) it keeps
//! quiet, because then somebody asked for a part.

#[path = "support/tally.rs"]
mod tally;

fn main() {
    if std::env::args().len() > 1 {
        return;
    }
    for (part, line) in tally::all() {
        println!("{part}: {line}");
    }
    tally::clear();
    if cfg!(feature = "real-generator") {
        println!("Included: everything, the tests with the real generator too.");
    } else {
        println!("Not included: the tests with the real generator (node, Redis). `scripts/test` runs everything.");
    }
}
