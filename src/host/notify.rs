//! Tells the service manager how the daemon is: ready, reloading, stopping, what it does, that it lives.
//!
//! The protocol is sd_notify(3); without `NOTIFY_SOCKET` everything here does nothing, so nobody need ask first. It must
//! not decide when the daemon lives: who feeds the watchdog has asked every actor before. The surprise: a start and a
//! stop have time limits of the service manager's too, and both are extended only while they really go on.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// How often more time is asked for, and how much: the next asking comes well before it is over.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: Duration = Duration::from_secs(20);
/// The longest status that is sent: it stands on one line of `systemctl status`.
const MAX_STATUS: usize = 512;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    is_managed: bool,
    watchdog: Option<Duration>,
    has_failed: AtomicBool,
}

impl Notifier {
    /// As the environment says.
    pub fn from_env() -> Self {
        let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Self { is_managed, watchdog: sd_notify::watchdog_enabled(), has_failed: AtomicBool::new(false) }
    }

    /// Whether anybody listens.
    pub fn is_managed(&self) -> bool {
        self.is_managed
    }

    /// Within how long the watchdog must be fed, if there is one.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_managed)
    }

    /// The daemon serves; also the end of a reload.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(line(status))]);
    }

    /// The configuration is being read again. [`Self::ready`] ends it, whatever came of it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                self.send(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration again")])
            }
            Err(error) => self.complain(&error),
        }
    }

    /// The daemon ends.
    pub fn stopping(&self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(line(status))]);
    }

    /// What `systemctl status` shows.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(line(status))]);
    }

    /// Everybody answered.
    pub fn feed_watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Asks for more time, again and again, as long as the work of a start or a stop goes on.
    pub async fn while_extending<T>(&self, work: impl Future<Output = T>) -> T {
        if !self.is_managed {
            return work.await;
        }
        tokio::pin!(work);
        loop {
            let by = u32::try_from(EXTEND_BY.as_micros()).unwrap_or(u32::MAX);
            self.send(&[NotifyState::ExtendTimeoutUsec(by)]);
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(EXTEND_EVERY) => {}
            }
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if !self.is_managed {
            return;
        }
        match sd_notify::notify(states) {
            Ok(()) => self.has_failed.store(false, Ordering::Relaxed),
            Err(error) => self.complain(&error),
        }
    }

    /// Once: the service manager notices a silent daemon by itself.
    fn complain(&self, error: &std::io::Error) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            log::warn!("the service manager cannot be told how the daemon is: {error}");
        }
    }
}

/// The first line, bounded: a line break would begin another assignment of the protocol.
fn line(status: &str) -> &str {
    let line = status.lines().next().unwrap_or_default();
    let end = (0..=line.len().min(MAX_STATUS)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_bounded_line() {
        assert_eq!(line("2 running\nREADY=1"), "2 running");
        assert_eq!(line(""), "");
        let long = "ä".repeat(MAX_STATUS);
        assert!(line(&long).len() <= MAX_STATUS && line(&long).starts_with("ää"));
    }

    #[tokio::test]
    async fn without_a_service_manager_nothing_is_told_and_work_is_only_awaited() {
        let nobody = Notifier::default();
        nobody.ready("x");
        assert_eq!(nobody.while_extending(async { 7 }).await, 7);
        assert_eq!(nobody.watchdog(), None);
    }
}
