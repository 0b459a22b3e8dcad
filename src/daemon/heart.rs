//! The daemon's pulse for the service manager: the status that people see, and the watchdog, which is fed only when every
//! actor and the control thread have answered.
//!
//! It lives on the actors' thread on purpose: when that thread hangs, nothing here runs, and the service manager starts a
//! new daemon. The watchdog must not wait for any disk, because one that stalls is no reason for a restart: what the status
//! says is put together beside it. The surprise: whether a generator could be called is looked up rarely, since that means
//! files and programs.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use log::Level;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::server_thread::ServerPulse;
use crate::actors::World;
use crate::actors::supervisor::{Child, DaemonStatus, GetStatus, SupervisorActor};
use crate::events::Kind;
use crate::host::notify::Notifier;
use crate::store::query::Queries;
use crate::task::TaskState;
use crate::tell;

/// The longest time between two beats, and how long an answer is waited for. Both are shorter under a short watchdog: who is
/// silent is to be named before the service manager ends this daemon for it.
const LONGEST_BEAT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How often generators are asked whether they could be called.
const FAULTS_EVERY: Duration = Duration::from_secs(30);

/// What the status says besides the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What the operator should know until it is mended: a refused reload.
    pub refused_reload: Option<String>,
    /// Settings that were changed since the start and count from the next one.
    pub needs_restart: Vec<String>,
    /// The daemon ends; what it is at.
    pub stopping: Option<String>,
}

/// How often everybody is asked, and how long an answer may take.
struct Rhythm {
    pause: Duration,
    patience: Duration,
}

impl Rhythm {
    /// A pause and what is waited after it end before `watchdog`, counted from when it was last fed.
    fn under(watchdog: Option<Duration>) -> Self {
        let at_most = |longest: Duration, part: u32| watchdog.map_or(longest, |within| (within / part).min(longest));
        Self { pause: at_most(LONGEST_BEAT, 4), patience: at_most(LONGEST_WAIT, 2) }
    }

    /// The supervisor gives up a child before it is given up itself: else it would be the one that is named.
    fn patience_with_a_child(&self) -> Duration {
        self.patience * 2 / 3
    }
}

/// See the module.
#[derive(Clone)]
pub struct Heart {
    /// Whom it tells.
    pub notifier: Arc<Notifier>,
    /// Whom it asks.
    pub supervisor: Addr<SupervisorActor>,
    /// The control thread.
    pub server: ServerPulse,
    /// Where the numbers are.
    pub world: World,
    /// What else there is to say.
    pub notice: watch::Receiver<Notice>,
}

impl Heart {
    /// Beats until the system ends. Without a service manager nobody listens, so it does not begin.
    pub fn start(self) {
        if self.notifier.is_managed() {
            actix::spawn(self.beat());
        }
    }

    async fn beat(self) {
        let rhythm = Rhythm::under(self.notifier.watchdog());
        let pause = rhythm.pause;
        let mut is_silence_told = false;
        let (latest, heard) = watch::channel(None);
        let told = self.clone();
        // What the status says is read from files and the database, which may take their time; the watchdog may not.
        actix::spawn(async move { told.tell(heard, pause).await });
        loop {
            match self.everybody(&rhythm).await {
                Ok(status) => {
                    self.notifier.feed_watchdog();
                    is_silence_told = false;
                    latest.send_replace(Some(status));
                }
                // Whoever is late, and no more than that, is asked again before the service manager acts.
                Err(_) if is_silence_told => {
                    sleep(pause / 4).await;
                    continue;
                }
                Err(silent) => {
                    is_silence_told = true;
                    tell!(
                        Level::Error,
                        Kind::ActorSilent,
                        "{silent} does not answer: the watchdog is not fed, and the service manager will start a new daemon"
                    );
                    continue;
                }
            }
            sleep(pause).await;
        }
    }

    /// Says how everybody was at the last beat, whenever that is something new.
    async fn tell(self, mut heard: watch::Receiver<Option<DaemonStatus>>, pause: Duration) {
        let (mut told, mut faulty, mut faults_at) = (String::new(), Vec::new(), Instant::now());
        while heard.changed().await.is_ok() {
            let Some(status) = heard.borrow_and_update().clone() else { continue };
            if Instant::now() >= faults_at {
                faults_at = Instant::now() + FAULTS_EVERY;
                faulty = self.faulty_generators().await;
            }
            let text = self.text(&status, &faulty).await;
            if text != told {
                self.notifier.status(&text);
                told = text;
            }
            sleep(pause).await;
        }
    }

    /// How everybody is, or who did not say.
    async fn everybody(&self, rhythm: &Rhythm) -> Result<DaemonStatus, String> {
        let asked =
            timeout(rhythm.patience, self.supervisor.send(GetStatus { within: rhythm.patience_with_a_child() }));
        let (answered, is_served) = futures_util::join!(asked, self.server.is_felt(rhythm.patience));
        let Ok(Ok(status)) = answered else { return Err("the supervisor".to_owned()) };
        let silent = status.silent();
        // A child that is rebuilt, or a server that has finished its work, is not silent but away.
        let is_stopping = self.notice.borrow().stopping.is_some();
        match silent.first() {
            Some(child) if !is_stopping => Err(name_of(*child)),
            None if !is_served && !is_stopping => Err("the control thread".to_owned()),
            _ => Ok(status),
        }
    }

    async fn text(&self, status: &DaemonStatus, faulty: &[String]) -> String {
        let notice = self.notice.borrow().clone();
        if let Some(stopping) = notice.stopping {
            return stopping;
        }
        let generators = Arc::clone(&self.world.generators.borrow());
        let known = generators.iter().map(|generator| generator.name.clone()).collect();
        let numbers = move |queries: &dyn Queries| Ok((queries.counts()?, queries.unfinished_elsewhere(&known)?));
        let (counts, lost) = self.world.store.read(numbers).await.unwrap_or_default();
        let count = |state: TaskState| counts.get(&state).copied().unwrap_or(0);
        let states = TaskState::ALL.iter().filter(|state| !state.is_final() && count(**state) > 0);
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.world.store.trouble());
        parts.extend(notice.refused_reload);
        if generators.iter().next().is_none() {
            parts.push("no generator configured yet".to_owned());
        }
        let unfinished: Vec<String> = states.map(|state| format!("{} {state}", count(*state))).collect();
        parts.push(if unfinished.is_empty() { "nothing to do".to_owned() } else { unfinished.join(", ") });
        let queue = status.queue.as_ref();
        let breakers = queue.into_iter().flat_map(|queue| &queue.breakers);
        // One that is not configured any more concerns nobody until it comes back.
        for breaker in breakers.filter(|breaker| generators.get(&breaker.generator).is_some()) {
            parts.push(format!("{} gets no new jobs ({})", breaker.generator, breaker.trip));
        }
        parts.extend(faulty.iter().map(|name| format!("{name} cannot run")));
        parts.extend(lost.keys().map(|name| format!("{name} is not configured and has unfinished tasks")));
        if let Some(queue) = queue.filter(|queue| !queue.pauses.is_empty()) {
            parts.push(format!("{} paused", queue.pauses.len()));
        }
        parts.join("; ")
    }

    async fn faulty_generators(&self) -> Vec<String> {
        let generators = Arc::clone(&self.world.generators.borrow());
        let looks = generators.iter().map(|generator| async {
            let is_faulty = !generator.faults().await.is_empty();
            is_faulty.then(|| generator.name.to_string())
        });
        join_all(looks).await.into_iter().flatten().collect()
    }
}

fn name_of(child: Child) -> String {
    match child {
        Child::Queue => "the queue".to_owned(),
        Child::Poller => "the poller".to_owned(),
        Child::ResultHandler => "the result handler".to_owned(),
        Child::Schedules => "the schedules".to_owned(),
        Child::Images => "the fetcher of images".to_owned(),
        Child::Publisher => "the publisher".to_owned(),
        Child::Notice => "who tells somebody".to_owned(),
        Child::Worker(number) => format!("worker {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_named_before_the_watchdog_ends_the_daemon() {
        for seconds in [1, 3, 5, 10, 30, 600] {
            let watchdog = Duration::from_secs(seconds);
            let rhythm = Rhythm::under(Some(watchdog));
            // Silence that begins right after an answer is seen after a pause; a quarter is left for the journal.
            assert!(rhythm.pause + rhythm.patience <= watchdog * 3 / 4, "{seconds} s");
            assert!(rhythm.patience_with_a_child() < rhythm.patience, "{seconds} s");
        }
        assert_eq!(Rhythm::under(None).pause, LONGEST_BEAT);
    }
}
