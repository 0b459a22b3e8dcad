//! Signals, on a thread of their own: SIGTERM and SIGINT drain, SIGHUP reloads, a second SIGTERM or SIGINT ends at once.

use std::io;

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

/// Registers the signals; to be called before any other thread starts. The second request to stop does not wait for
/// anybody: the process ends with 128 + the signal's number, and what was acknowledged is on disk.
pub fn listen() -> io::Result<mpsc::UnboundedReceiver<Asked>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A daemon that is gone needs no reload.
                let _ = tell.send(Asked::Reload);
                continue;
            }
            if is_stopping {
                log::warn!("a second request to stop: ending at once");
                std::process::exit(128 + signal);
            }
            is_stopping = true;
            let _ = tell.send(Asked::Stop);
        }
    })?;
    Ok(told)
}
