//! Starts the runner of a detached run.
//!
//! It must not be told secrets in arguments: the environment carries them. The surprise: the runner is *not* given a
//! process group here, because a group's leader cannot begin a session; it does that itself as its first act. Should a
//! signal to the daemon's group hit it before, nothing has been started and the lock is free.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::exec::Environment;
use super::super::patience::WORD;

/// Starts `runner` for the run in `dir`, whose `lock` it takes over, and waits until it has said how that went (or has
/// died, or ten seconds have passed). What it said is for people: a look at the directory is the truth.
pub fn launch(runner: &Path, dir: &Path, env: &Environment, lock: File) -> Result<(Child, String), String> {
    let mut command = Command::new(runner);
    command.arg(dir).current_dir("/").env_clear().envs(&env.0);
    command.stdin(lock).stdout(Stdio::piped()).stderr(Stdio::null());
    let spawned = command.spawn();
    // With the command goes our copy of the lock: from here on only the run's own processes hold it.
    drop(command);
    let mut child = spawned.map_err(|error| {
        format!("the runner {} could not be started ({error}): install contentd-run beside contentd", runner.display())
    })?;
    let mut said = String::new();
    if let Some(mut word) = child.stdout.take() {
        let patience = Timespec::try_from(WORD).ok();
        let mut fds = [PollFd::new(&word, PollFlags::IN)];
        if poll(&mut fds, patience.as_ref()).is_ok_and(|ready| ready > 0) {
            let mut buffer = [0; 512];
            let count = word.read(&mut buffer).unwrap_or(0);
            said = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        }
    }
    Ok((child, said))
}
