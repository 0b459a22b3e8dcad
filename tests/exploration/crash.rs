//! The place where a run is cut: before and after every commit, and before and after every call of a generator.
//!
//! Most cuts kill the daemon; some let its machine go down with it, and some only ask for its end, as SIGTERM does: then it
//! goes on until it has drained.
//!
//! A crash point that fires never returns, and neither does any later one of the same life: what the dying life would
//! still have done does not happen. The driver of the exploration sees [`Crash::is_dead`] and drops the whole system.
//! A life that never comes to an end is cut too, and is told apart: that is a fault and no crash.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::world::SimEntropy;

/// No life that goes well passes so many points, or reads the clock so often.
const MOST_POINTS: u64 = 20_000;
const MOST_READINGS: u64 = 400_000;

/// How a life ends at its cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The daemon is killed; what it started lives on.
    Killed,
    /// The machine goes down: no process is left, and there is another boot.
    MachineDown,
    /// It is told to stop, and drains.
    Drained,
}

impl End {
    /// Half of all cuts kill; which do is the schedule's own, so that a replay ends as the first run did.
    pub fn of(schedule: u64) -> Self {
        match SimEntropy::new(schedule).below(4) {
            0 => Self::MachineDown,
            1 => Self::Drained,
            _ => Self::Killed,
        }
    }
}

/// One life of the daemon, as far as its death is concerned.
pub struct Crash {
    passed: AtomicU64,
    readings: AtomicU64,
    cut_at: AtomicU64,
    end: End,
    drain_asked: AtomicBool,
    dead: AtomicBool,
    ran_away: AtomicBool,
    died: Notify,
    told: Notify,
    label: Mutex<&'static str>,
}

impl Crash {
    /// A life that ends so at crash point `cut_at`; 0 is a life without end.
    pub fn at(cut_at: u64, end: End) -> Arc<Self> {
        Arc::new(Self {
            passed: AtomicU64::new(0),
            readings: AtomicU64::new(0),
            cut_at: AtomicU64::new(cut_at),
            end,
            drain_asked: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            ran_away: AtomicBool::new(false),
            died: Notify::new(),
            told: Notify::new(),
            label: Mutex::new(""),
        })
    }

    /// From now on it ends at the so-many-th crash point.
    #[allow(dead_code, reason = "not every test arms its lives when they have begun")]
    pub fn arm(&self, points: u64) {
        self.cut_at.store(self.passed() + points, Ordering::Relaxed);
    }

    /// How many crash points were passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Where it died.
    pub fn label(&self) -> &'static str {
        *self.label.lock().unwrap()
    }

    /// How it has ended; none where it came to its rest.
    pub fn ended(&self) -> Option<End> {
        (self.is_dead() || self.is_drain_asked()).then_some(self.end)
    }

    pub fn is_drain_asked(&self) -> bool {
        self.drain_asked.load(Ordering::Relaxed)
    }

    /// Resolves when the daemon is told to stop.
    pub async fn drain_asked(&self) {
        while !self.is_drain_asked() {
            self.told.notified().await;
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether it was cut because it would not have ended.
    pub fn ran_away(&self) -> bool {
        self.ran_away.load(Ordering::Relaxed)
    }

    /// Resolves at death.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    fn die(&self, label: &'static str) {
        *self.label.lock().unwrap() = label;
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_waiters();
        self.died.notify_one();
    }

    fn run_away(&self) {
        self.ran_away.store(true, Ordering::Relaxed);
        self.die("it ran away");
    }

    /// The clock was read.
    pub fn count_reading(&self) {
        if self.readings.fetch_add(1, Ordering::Relaxed) == MOST_READINGS {
            self.run_away();
        }
    }

    /// A point at which the process may die.
    pub async fn point(&self, label: &'static str) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        let number = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        let is_cut = number == self.cut_at.load(Ordering::Relaxed);
        if is_cut && self.end == End::Drained {
            *self.label.lock().unwrap() = label;
            self.drain_asked.store(true, Ordering::Relaxed);
            self.told.notify_one();
            return;
        } else if is_cut {
            self.die(label);
        } else if number == MOST_POINTS {
            self.run_away();
        } else {
            return;
        }
        std::future::pending::<()>().await;
    }
}
