//! Processes, and nothing but processes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is run, by everybody.
pub const ECHO: &str = "/bin/echo";

/// Runs a program to its end, with nothing on its standard streams.
pub fn once(program: &str, arguments: &[&str]) -> std::io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(drop)
}

/// `count` times `each` processes one after the other, on `threads` threads at once; how long all of it took.
pub fn many(count: usize, each: usize, threads: usize, argument: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let share = |thread: usize| count / threads + usize::from(thread < count % threads);
        let work = |count: usize| move || (0..count * each).try_for_each(|_| once(ECHO, &[argument]));
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(share(thread)))).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread that starts processes panicked")))
        })
    })?;
    Ok(began.elapsed())
}
