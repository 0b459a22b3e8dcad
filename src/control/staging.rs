//! Batches larger than a message, put aside in parts until they are committed.
//!
//! In memory only, bounded a user and in time: a part that is lost is sent again, and the keys in its entries make that
//! safe. No part is ever seen by another user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::api::{ApiError, StageParams, StageReply, Submission};

/// How long parts are kept after the last one came.
pub const STAGED_FOR: Duration = Duration::from_secs(600);
/// How many bytes of messages one user may have staged.
pub const STAGED_BYTES: usize = 256 << 20;
/// How many parts a batch may have.
pub const MAX_PARTS: u32 = 10_000;
const BATCH_NAME_CHARS: usize = 100;

/// One part's entries.
pub type StagedPart = Arc<Vec<Submission>>;

#[derive(Default)]
struct StagedBatch {
    parts: BTreeMap<u32, (StagedPart, usize)>,
    touched: Option<Instant>,
}

/// What is put aside. Cheap to clone.
#[derive(Clone, Default)]
pub struct Staging {
    batches: Arc<Mutex<BTreeMap<(u32, String), StagedBatch>>>,
}

impl Staging {
    fn batches(&self) -> MutexGuard<'_, BTreeMap<(u32, String), StagedBatch>> {
        // Every change under this lock is whole before the next begins, so a poisoned one holds no half of anything.
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.retain(|_, batch| batch.touched.is_none_or(|touched| touched.elapsed() < STAGED_FOR));
        batches
    }

    /// Puts a part aside; `bytes` is the length of its message.
    pub fn put(&self, uid: u32, params: StageParams, bytes: usize) -> Result<StageReply, ApiError> {
        let StageParams { batch, part, tasks } = params;
        if batch.is_empty() || batch.chars().count() > BATCH_NAME_CHARS {
            return Err(ApiError::invalid("batch", &batch, "a random name of 1 to 100 characters"));
        }
        if part >= MAX_PARTS {
            return Err(ApiError::invalid("part", &part.to_string(), "a number below 10000"));
        }
        let mut batches = self.batches();
        let used: usize = batches
            .iter()
            .filter(|((owner, _), _)| *owner == uid)
            .flat_map(|(_, staged)| staged.parts.values().map(|(_, bytes)| *bytes))
            .sum();
        if used.saturating_add(bytes) > STAGED_BYTES {
            return Err(ApiError::invalid("batch", &batch, "at most 256 MiB put aside; submit in several batches"));
        }
        let staged = batches.entry((uid, batch)).or_default();
        staged.touched = Some(Instant::now());
        staged.parts.insert(part, (Arc::new(tasks), bytes));
        let count: usize = staged.parts.values().map(|(tasks, _)| tasks.len()).sum();
        Ok(StageReply { staged: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    /// Every part of a batch in order.
    pub fn parts(&self, uid: u32, batch: &str, parts: u32) -> Result<Vec<StagedPart>, ApiError> {
        if parts == 0 || parts > MAX_PARTS {
            return Err(ApiError::invalid("parts", &parts.to_string(), "a number from 1 to 10000"));
        }
        let batches = self.batches();
        let missing = |missing_part| ApiError::BatchIncomplete { batch: batch.to_owned(), missing_part };
        let staged = batches.get(&(uid, batch.to_owned())).ok_or_else(|| missing(0))?;
        if let Some((last, _)) = staged.parts.last_key_value().filter(|(last, _)| **last >= parts) {
            let cure = format!("all of the batch: part {last} was staged too");
            return Err(ApiError::invalid("parts", &parts.to_string(), cure));
        }
        (0..parts)
            .map(|part| staged.parts.get(&part).map(|(tasks, _)| Arc::clone(tasks)).ok_or_else(|| missing(part)))
            .collect()
    }

    /// The batch is committed.
    pub fn forget(&self, uid: u32, batch: &str) {
        self.batches().remove(&(uid, batch.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(batch: &str, part: u32, topic: &str) -> StageParams {
        let task = Submission { account: "1".into(), topic: topic.to_owned(), ..Submission::default() };
        StageParams { batch: batch.to_owned(), part, tasks: vec![task] }
    }

    #[test]
    fn parts_are_joined_in_order_and_belong_to_their_user() {
        let staging = Staging::default();
        staging.put(7, part("b", 1, "second"), 10).expect("it fits");
        assert_eq!(staging.parts(7, "b", 2), Err(ApiError::BatchIncomplete { batch: "b".into(), missing_part: 0 }));
        staging.put(7, part("b", 0, "old"), 10).expect("it fits");
        let reply = staging.put(7, part("b", 0, "first"), 10).expect("a part may be sent again");
        assert_eq!(reply.staged, 2);
        let parts = staging.parts(7, "b", 2).expect("all are there");
        let topics: Vec<&str> = parts.iter().flat_map(|part| part.iter()).map(|task| task.topic.as_str()).collect();
        assert_eq!(topics, ["first", "second"]);
        assert!(staging.parts(8, "b", 2).is_err(), "another user's");
        assert!(matches!(staging.parts(7, "b", 1), Err(ApiError::InvalidField { .. })), "one part too many");
        staging.forget(7, "b");
        assert!(staging.parts(7, "b", 2).is_err());
    }

    #[test]
    fn one_user_cannot_fill_the_memory() {
        let staging = Staging::default();
        staging.put(7, part("a", 0, "x"), STAGED_BYTES - 5).expect("it fits");
        assert!(matches!(staging.put(7, part("b", 0, "x"), 6), Err(ApiError::InvalidField { .. })));
        staging.put(8, part("b", 0, "x"), 6).expect("another user has room");
    }
}
