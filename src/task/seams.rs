//! The seams through which the world comes in: time and randomness. A simulation gives its own.

use super::ids::{AttemptKey, TaskId};
use super::time::Now;

/// Both clocks of a machine.
pub trait Clock: Send + Sync + 'static {
    /// Reads both.
    fn now(&self) -> Now;
}

/// Randomness and the ids that are made of it.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with randomness; an attempt's key is a secret in a mark, so it must be unguessable.
    fn fill(&self, bytes: &mut [u8]);

    /// A fresh task id.
    fn task_id(&self) -> TaskId {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        TaskId::from_random(bytes)
    }

    /// A fresh attempt key.
    fn attempt_key(&self) -> AttemptKey {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        AttemptKey::from_random(bytes)
    }

    /// A number in 0..1 for jitter.
    fn draw(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}
