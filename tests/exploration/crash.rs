//! The place where a run is cut: before and after every commit, and before and after every call of a generator.
//!
//! A crash point that fires never returns, and neither does any later one of the same life: what the dying life would
//! still have done does not happen. The driver of the exploration sees [`Crash::is_dead`] and drops the whole system.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use contentd::store::write::{Write, WriteError, Written};
use contentd::store::{InlineWriter, Writer};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

/// One life of the daemon, as far as its death is concerned.
pub struct Crash {
    passed: AtomicU64,
    cut_at: u64,
    dead: AtomicBool,
    died: Notify,
    label: Mutex<&'static str>,
}

impl Crash {
    /// A life that ends at crash point `cut_at`; 0 is a life without end.
    pub fn at(cut_at: u64) -> Arc<Self> {
        Arc::new(Self {
            passed: AtomicU64::new(0),
            cut_at,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            label: Mutex::new(""),
        })
    }

    /// How many crash points were passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Where it died.
    pub fn label(&self) -> &'static str {
        *self.label.lock().unwrap()
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Resolves at death.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// A point at which the process may die.
    pub async fn point(&self, label: &'static str) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        let number = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if number == self.cut_at {
            *self.label.lock().unwrap() = label;
            self.dead.store(true, Ordering::Relaxed);
            self.died.notify_waiters();
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A writer with a crash point on both sides of each commit.
pub struct CrashingWriter {
    pub inner: Arc<InlineWriter>,
    pub crash: Arc<Crash>,
}

impl Writer for CrashingWriter {
    fn write(&self, write: Write) -> BoxFuture<'static, Result<Written, WriteError>> {
        let (inner, crash) = (Arc::clone(&self.inner), Arc::clone(&self.crash));
        Box::pin(async move {
            crash.point("before a commit").await;
            let written = inner.write(write).await;
            crash.point("after a commit").await;
            written
        })
    }
}
