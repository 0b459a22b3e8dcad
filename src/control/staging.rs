//! Batches larger than a message, put aside in parts until they are committed.
//!
//! In memory only, bounded a user, in all and in time: a part that is lost is sent again, and the keys in its entries make that
//! safe. No part is ever seen by another user. The surprise: what is counted is memory and not the message, because an entry of
//! twenty bytes on the wire is one of hundreds here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::api::{ApiError, StageParams, StageReply, Submission};

/// How long parts are kept after the last one came.
pub const STAGED_FOR: Duration = Duration::from_secs(600);
/// How many bytes of memory one user may have staged.
pub const STAGED_BYTES: usize = 256 << 20;
/// How many all users together may.
pub const STAGED_IN_ALL: usize = 512 << 20;
/// What an allocation costs beside its contents.
const ALLOCATION: usize = 16;
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

    /// Puts a part aside.
    pub fn put(&self, uid: u32, params: StageParams) -> Result<StageReply, ApiError> {
        let StageParams { batch, part, tasks } = params;
        if batch.is_empty() || batch.chars().count() > BATCH_NAME_CHARS {
            return Err(ApiError::invalid("batch", &batch, "a random name of 1 to 100 characters"));
        }
        if part >= MAX_PARTS {
            return Err(ApiError::invalid("part", &part.to_string(), "a number below 10000"));
        }
        let mut batches = self.batches();
        let bytes = weight_of(&tasks);
        let used = |counts: &dyn Fn(u32) -> bool| -> usize {
            let counted = batches.iter().filter(|((owner, _), _)| counts(*owner));
            counted.flat_map(|(_, staged)| staged.parts.values().map(|(_, bytes)| *bytes)).sum()
        };
        if used(&|owner| owner == uid).saturating_add(bytes) > STAGED_BYTES {
            return Err(ApiError::invalid(
                "batch",
                &batch,
                "at most 256 MiB of memory put aside (an entry takes some hundred bytes and its texts); submit in several batches",
            ));
        }
        if used(&|_| true).saturating_add(bytes) > STAGED_IN_ALL {
            let cure = "a smaller batch, or the same in ten minutes: all users together have 512 MiB put aside by now";
            return Err(ApiError::invalid("batch", &batch, cure));
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

/// What entries take in memory, with the room that their list has beyond them.
fn weight_of(tasks: &Vec<Submission>) -> usize {
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map_or(0, |text| text.len() + ALLOCATION);
    let texts = |task: &Submission| {
        let Submission {
            account,
            topic,
            requirements,
            keywords,
            category,
            tone,
            time_limit,
            generator,
            key,
            delay,
            ..
        } = task;
        let plain =
            [Some(topic), requirements.as_ref(), category.as_ref(), tone.as_ref(), generator.as_ref(), key.as_ref()];
        let numbers = [Some(account), time_limit.as_ref(), delay.as_ref()];
        let words = keywords.as_ref().map_or(0, |words| {
            let each: usize = words.iter().map(|word| text(Some(word))).sum();
            words.capacity() * size_of::<String>() + ALLOCATION + each
        });
        let plain: usize = plain.into_iter().map(|one| text(one.map(String::as_str))).sum();
        plain + numbers.into_iter().map(|one| text(one.map(|one| one.as_str()))).sum::<usize>() + words
    };
    tasks.capacity() * size_of::<Submission>() + tasks.iter().map(texts).sum::<usize>()
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
        staging.put(7, part("b", 1, "second")).expect("it fits");
        assert_eq!(staging.parts(7, "b", 2), Err(ApiError::BatchIncomplete { batch: "b".into(), missing_part: 0 }));
        staging.put(7, part("b", 0, "old")).expect("it fits");
        let reply = staging.put(7, part("b", 0, "first")).expect("a part may be sent again");
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
        // Twenty-four bytes each on the wire: 5 % of what they are counted as.
        let empty = |entries: usize| {
            let entry = || Submission { account: "1".into(), ..Submission::default() };
            let tasks: Vec<Submission> = std::iter::repeat_with(entry).take(entries).collect();
            StageParams { batch: entries.to_string(), part: 0, tasks }
        };
        let each = size_of::<Submission>() + 1 + ALLOCATION;
        assert!(each >= 250, "an entry has grown small: {each}");
        let most = STAGED_BYTES / each - 9;
        staging.put(7, empty(most)).expect("it fits");
        assert!(matches!(staging.put(7, empty(20)), Err(ApiError::InvalidField { .. })));
        staging.put(8, part("b", 0, "x")).expect("another user has room");
        staging.put(9, empty(most)).expect("and another one");
        let full = staging.put(10, empty(most / 2));
        assert!(matches!(full, Err(ApiError::InvalidField { .. })), "but not all of them together");
    }

    #[test]
    fn every_text_of_an_entry_is_counted() {
        let long = || "x".repeat(1_000);
        let text = |text: String| Some(text);
        let full = Submission {
            account: long().as_str().into(),
            topic: long(),
            requirements: text(long()),
            keywords: Some(vec![long()]),
            category: text(long()),
            tone: text(long()),
            time_limit: Some(long().as_str().into()),
            generator: text(long()),
            key: text(long()),
            delay: Some(long().as_str().into()),
            ..Submission::default()
        };
        assert!(weight_of(&vec![full]) >= 10_000);
    }
}
