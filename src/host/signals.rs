//! Signals, on a thread of their own: SIGTERM and SIGINT drain, SIGHUP reloads, a second SIGTERM or SIGINT ends at once.
//!
//! The surprise: a second one within a second is the first once more. `timeout` and terminals signal the process and its group, and
//! nobody who wants to hurry it does so that fast.

use std::io;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Drain and exit.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// Two requests to stop so close to each other are one.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a request to stop comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// Drain.
    InOrder,
    /// It was heard already.
    Heard,
    /// End, and wait for nobody.
    AtOnce,
}

/// Judges a request to stop; `first` is when the first one came.
fn judge(first: &mut Option<Instant>, now: Instant) -> Stop {
    let first = match first {
        None => {
            *first = Some(now);
            return Stop::InOrder;
        }
        Some(first) => *first,
    };
    if now.duration_since(first) < AT_ONCE { Stop::Heard } else { Stop::AtOnce }
}

/// Registers the signals; to be called before any other thread starts. The second request to stop does not wait for
/// anybody: the process ends with 128 + the signal's number, and what was acknowledged is on disk.
pub fn listen() -> io::Result<mpsc::UnboundedReceiver<Asked>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut first_stop = None;
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A daemon that is gone needs no reload.
                let _ = tell.send(Asked::Reload);
                continue;
            }
            match judge(&mut first_stop, Instant::now()) {
                Stop::InOrder => drop(tell.send(Asked::Stop)),
                Stop::Heard => {}
                Stop::AtOnce => {
                    log::warn!("a second request to stop: ending at once");
                    std::process::exit(128 + signal);
                }
            }
        }
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_request_at_once_is_the_first_once_more() {
        let (mut first, began) = (None, Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        let judged = [0, 0, 999, 1_000, 1_001].map(|ms| judge(&mut first, after(ms)));
        assert_eq!(judged, [Stop::InOrder, Stop::Heard, Stop::Heard, Stop::AtOnce, Stop::AtOnce]);
    }
}
