//! Plain children: runs that end with the daemon, on threads of the daemon that do what the runner does.
//!
//! Allowed only for generators that are free to repeat. The surprise: they use the same directories and locks as
//! detached runs, so a daemon that finds one again sees at once that nobody is left of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::exec::{Environment, STOPPING};
use super::super::run::Stopped;
use super::super::run::runner::{self, Host};
use crate::task::AttemptKey;

/// How much longer than the grace the end of all children is waited for.
const JOIN_MARGIN: Duration = Duration::from_secs(8);
const JOIN_LOOK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct State {
    is_stopping: bool,
    children: HashMap<AttemptKey, Child>,
}

struct Child {
    /// The child is ended when this is dropped.
    hold: PipeWriter,
    thread: JoinHandle<()>,
}

/// The plain children of one generator.
#[derive(Clone, Default)]
pub(super) struct PlainChildren {
    state: Arc<Mutex<State>>,
}

/// What a plain child needs.
pub(super) struct PlainRun {
    pub key: AttemptKey,
    pub dir: PathBuf,
    pub lock: File,
    pub env: Environment,
}

impl PlainChildren {
    /// Whether this daemon runs it.
    pub fn has(&self, key: &AttemptKey) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).children.contains_key(key)
    }

    /// Starts the run and waits until its command runs or cannot. `ended` is called from the thread at its end.
    pub fn start(&self, run: PlainRun, ended: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let (hang_up, hold) = io::pipe().map_err(|error| format!("no pipe could be made: {error}"))?;
        let (say, said) = mpsc::channel();
        let key = run.key.clone();
        let children = self.clone();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopping {
            return Err(STOPPING.to_owned());
        }
        let work = move || {
            let PlainRun { key, dir, lock, env } = run;
            let host = Host { ends: Some((hang_up.as_fd(), Stopped::Interrupted)), ..Host::default() };
            let ran = runner::run(&dir, &env, &lock, host, &mut |word| drop(say.send(word.map_err(str::to_owned))));
            drop(lock);
            if let Err(error) = ran {
                let _ = say.send(Err(error.to_string()));
            }
            children.state.lock().unwrap_or_else(PoisonError::into_inner).children.remove(&key);
            ended();
        };
        let thread = thread::Builder::new().name("plain-run".into()).spawn(work);
        let thread = thread.map_err(|error| format!("no thread could be made for the run: {error}"))?;
        // Put in while the lock is held: the thread takes itself out, and that must come after.
        state.children.insert(key, Child { hold, thread });
        drop(state);
        said.recv().unwrap_or_else(|_| Err("the run's thread broke off".to_owned()))
    }

    /// Ends all children, waits for that, and lets no new one start.
    pub fn interrupt(&self, grace: Duration) {
        let children: Vec<Child> = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_stopping = true;
            state.children.drain().map(|(_, child)| child).collect()
        };
        let (holds, threads): (Vec<_>, Vec<_>) = children.into_iter().map(|child| (child.hold, child.thread)).unzip();
        drop(holds);
        let deadline = Instant::now() + grace + JOIN_MARGIN;
        // A join has no time limit, and a full disk can hold an ending up for long.
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(JOIN_LOOK);
        }
    }
}
