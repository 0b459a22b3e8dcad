//! A run that the service manager started for a connection: the unit contentd-run@.service.
//!
//! It must not start anything before the message was judged whole. The surprise: SIGTERM comes to this process alone
//! (KillMode=mixed). It ends the command and still writes how it ended, so that the daemon learns of a
//! `systemctl stop 'contentd-run@*'` at once and knows it from a crash.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use contentd::generator::access::Access;
use contentd::generator::run::handover::{self, Handover, Order};
use contentd::generator::run::runner::{self, Host};
use contentd::generator::run::{STARTED, Stopped};
use rustix::net::{SendFlags, send, sockopt};
use sd_notify::NotifyState;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// How long the daemon's message is waited for: it is sent as soon as there is a connection.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer; the daemon reads no more.
const MAX_ANSWER: usize = 500;

/// Runs what is asked for on standard input.
pub fn run() -> ExitCode {
    // Before anything is started: the first process of a namespace gets no signal that it does not wait for.
    let signals = match Signals::new([SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}")),
    };
    let stdin = io::stdin();
    let connection = stdin.as_fd();
    let received = sockopt::set_socket_timeout(connection, sockopt::Timeout::Recv, Some(MESSAGE_PATIENCE))
        .map_err(|error| io::Error::from(error).into())
        .and_then(|()| handover::receive(connection));
    let Handover { order, lock, environment } = match received {
        Ok(handover) => handover,
        Err(error) => return refuse(&error.to_string()),
    };
    tell_who_we_are(&order);
    let ends = match on_sigterm(signals, order.directory.clone()) {
        Ok(ends) => ends,
        Err(error) => return refuse(&format!("cannot wait for SIGTERM: {error}")),
    };
    let host = Host {
        ends: Some((ends.as_fd(), Stopped::Terminated)),
        access: Access::Shared,
        is_init: std::process::id() == 1,
    };
    let ran = runner::run(&order.directory, &environment, &lock, host, &mut |started| match started {
        Ok(()) => answer(connection, STARTED),
        Err(why) => answer(connection, why),
    });
    // Before the answer: who reads it must find the lock free.
    drop(lock);
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

/// Hangs up as soon as SIGTERM has come. The service manager is asked for as much time as the command's end may take.
fn on_sigterm(mut signals: Signals, directory: PathBuf) -> io::Result<PipeReader> {
    let (ends, hold) = io::pipe()?;
    std::thread::Builder::new().name("sigterm".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let longest = u32::try_from(runner::longest_end(&directory).as_micros()).unwrap_or(u32::MAX);
            // Without a service manager nobody limits the time.
            let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(longest)]);
        }
        drop(hold);
    })?;
    Ok(ends)
}

/// Lets people find the unit of a task: `systemctl status 'contentd-run@*'` shows the task, and the journal has a record
/// of both with the task's field.
fn tell_who_we_are(order: &Order) {
    let Order { directory, task, generator } = order;
    let status = format!("{task}, generator {generator}");
    let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
    if !connected_to_journal() {
        return;
    }
    let Ok(journal) = JournalLog::new() else { return };
    let journal = journal.with_extra_fields([("TASK_ID", task.as_str()), ("GENERATOR", generator.as_str())]);
    if journal.install().is_ok() {
        log::set_max_level(log::LevelFilter::Info);
        let key = directory.file_name().unwrap_or_default();
        log::info!("run {} of task {task}, generator {generator}", key.display());
    }
}

/// To the daemon, if it is still there, and to the journal of the unit.
fn refuse(why: &str) -> ExitCode {
    eprintln!("contentd-run: {why}");
    answer(io::stdin().as_fd(), why);
    ExitCode::FAILURE
}

fn answer(connection: BorrowedFd<'_>, line: &str) {
    let line = line.replace('\n', " ");
    let line = &line[..line.floor_char_boundary(MAX_ANSWER)];
    let _ = send(connection, line.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}
