//! The last line of `cargo test`: what it did not include, so that nobody takes a part for the whole.
//!
//! Not a test. The name sorts behind every other test file, cargo runs them in that order, and the library has no doc-tests
//! that would come after. With other flags (`--list`, a filter) it keeps quiet, because then somebody asked for a part.

fn main() {
    if std::env::args().len() > 1 {
        return;
    }
    if cfg!(feature = "real-generator") {
        println!("Included: everything, the tests with the real generator too.");
    } else {
        println!("Not included: the tests with the real generator (node, Redis). `scripts/test` runs everything.");
    }
}
