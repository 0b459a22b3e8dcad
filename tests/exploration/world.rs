//! Virtual time and seeded randomness.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use contentd::task::{BootId, Clock, Entropy, Now, Timestamp};
use tokio::time::Instant;

use super::crash::Crash;

const FIRST_MS: i64 = 1_800_000_000_000;

/// When it began, and how it dies; none between lives.
type Life = Option<(Instant, Arc<Crash>)>;

/// A clock that runs on the paused time of one life and goes on in the next.
#[derive(Clone)]
pub struct SimClock {
    first: i64,
    base: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
    boot_began: Arc<AtomicI64>,
    life: Arc<Mutex<Life>>,
}

impl SimClock {
    pub fn new() -> Self {
        Self::beginning_at(FIRST_MS)
    }

    /// A clock whose first life begins at this moment, in milliseconds since 1970.
    pub fn beginning_at(first: i64) -> Self {
        let base = || Arc::new(AtomicI64::new(first));
        Self { first, base: base(), boot: Arc::default(), boot_began: base(), life: Arc::default() }
    }

    /// A life begins: its paused time counts from here.
    pub fn begin_life(&self, crash: &Arc<Crash>) {
        *self.life.lock().unwrap() = Some((Instant::now(), Arc::clone(crash)));
    }

    /// It ends, while its paused time can still be read.
    pub fn end_life(&self) {
        let now = self.now().utc.0;
        *self.life.lock().unwrap() = None;
        self.base.store(now, Ordering::Relaxed);
    }

    /// Nobody lives for a while.
    pub fn pass_dead(&self, ms: i64) {
        self.base.fetch_add(ms, Ordering::Relaxed);
    }

    /// Between two lives the machine starts anew: another boot, whose clock begins at 0.
    pub fn begin_boot(&self) {
        self.boot.fetch_add(1, Ordering::Relaxed);
        self.boot_began.store(self.base.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// When the first life began.
    pub fn first_began_at(&self) -> i64 {
        self.first
    }

    pub fn life_began_at(&self) -> i64 {
        self.base.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = self.life.lock().unwrap().as_ref().map_or(0, |(began, crash)| {
            crash.count_reading();
            began.elapsed().as_millis()
        });
        let ms = self.base.load(Ordering::Relaxed) + i64::try_from(elapsed).unwrap();
        let boot_id = BootId(format!("boot {}", self.boot.load(Ordering::Relaxed)));
        Now { utc: Timestamp(ms), boot_id, boot_ms: ms - self.boot_began.load(Ordering::Relaxed) }
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct SimEntropy(AtomicU64);

impl SimEntropy {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03))
    }

    fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True in `percent` of the cases.
    pub fn chance(&self, percent: u32) -> bool {
        percent > 0 && self.below(100) < percent
    }

    pub fn below(&self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound.max(1))).unwrap()
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}
