//! The stand-in for the paid model, as a program: for tests that run the real generator outside a test of Rust's.
//!
//! It writes its address to the file of its first argument and serves until it is killed. It costs nothing and needs no network.

#[path = "../tests/support/llm_stub.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod llm_stub;

fn main() -> std::io::Result<()> {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: llm-stub FILE, which its address is written to");
        std::process::exit(2);
    };
    let stub = llm_stub::LlmStub::start()?;
    std::fs::write(file, stub.root_url())?;
    loop {
        std::thread::park();
    }
}
