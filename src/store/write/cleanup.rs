//! A cleanup goes through finished tasks from the oldest on, in slices.
//!
//! Each slice goes on behind the last task that the one before has looked at. The surprise: it is bounded by what it looks at, too,
//! because tasks whose pieces wait for a review stay, and there may be ten thousands of them one behind the other.

use super::{DbError, Rows, WriteError, Written};
use crate::task::{TaskId, Timestamp};

/// How many finished tasks one slice looks at.
pub const MOST_LOOKED_AT: usize = 500;

/// Where a finished task stands among the others: by when it became final, then by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FinishedPlace {
    /// When it became final.
    pub completed_at: Timestamp,
    /// Its number.
    pub seq: i64,
}

/// A finished task as a cleanup sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishedTask {
    /// Its id.
    pub id: TaskId,
    /// Where it stands.
    pub place: FinishedPlace,
    /// Its piece waits for a review: whoever reviews it may have it written again, for which the task is needed.
    pub is_kept: bool,
}

/// What one slice deletes, and where the next one goes on; nowhere where nothing follows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slice {
    /// Tasks to delete, oldest first.
    pub tasks: Vec<TaskId>,
    /// The last task that was looked at.
    pub next: Option<FinishedPlace>,
}

impl Slice {
    /// Takes what goes of finished tasks in their order, at most `limit`. It asks for one task more than it looks at.
    pub fn of(finished: impl Iterator<Item = Result<FinishedTask, DbError>>, limit: u32) -> Result<Self, DbError> {
        let (mut tasks, mut last) = (Vec::new(), None);
        for (looked_at, task) in finished.enumerate() {
            if tasks.len() == limit as usize || looked_at == MOST_LOOKED_AT {
                return Ok(Self { tasks, next: last });
            }
            let FinishedTask { id, place, is_kept } = task?;
            last = Some(place);
            if !is_kept {
                tasks.push(id);
            }
        }
        Ok(Self { tasks, next: None })
    }
}

/// Deletes one slice.
pub(super) fn carry_out(
    rows: &mut dyn Rows,
    finished_before: Timestamp,
    after: Option<FinishedPlace>,
    limit: u32,
) -> Result<Written, WriteError> {
    let Slice { tasks, next } = rows.finished_before(finished_before, after, limit)?;
    for id in &tasks {
        rows.delete_task(id)?;
    }
    Ok(Written::Cleaned { tasks, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_where_it_has_looked_at_enough() {
        let place = |seq: i64| FinishedPlace { completed_at: Timestamp(7), seq };
        let finished = |count: usize, is_kept: bool| {
            (0..count as i64)
                .map(move |seq| Ok(FinishedTask { id: TaskId(format!("task-{seq}")), place: place(seq), is_kept }))
        };
        let of = |count, is_kept, limit| {
            let slice = Slice::of(finished(count, is_kept), limit).expect("nothing fails");
            (slice.tasks.len(), slice.next)
        };
        assert_eq!(of(20, false, 20), (20, None));
        assert_eq!(of(21, false, 20), (20, Some(place(19))));
        assert_eq!(of(MOST_LOOKED_AT, true, 20), (0, None));
        assert_eq!(of(MOST_LOOKED_AT + 1, true, 20), (0, Some(place(MOST_LOOKED_AT as i64 - 1))));
        // Nothing behind the end is asked for: each row costs a look for its pieces.
        let mut asked = 0;
        let counted = finished(90, false).inspect(|_| asked += 1);
        assert!(Slice::of(counted, 20).is_ok() && asked == 21, "{asked}");
    }
}
