//! The sums that triggers keep of each lane are those of its tasks.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::{BY_HAND, Count, ask};
use crate::finding::Finding;

const SUMS: &str = "SELECT 'lane ' || l.generator || ' of account ' || l.account_id AS subject, \
     'its sums of tasks that are kept, of their ends, times and words are not those of its tasks' AS found FROM lanes l \
     LEFT JOIN (SELECT t.generator, t.account_id, count(*) AS kept, sum(t.retry_count) AS retries, \
     sum(t.state = 'completed') AS completed, sum(t.state = 'failed') AS failed, sum(t.state = 'timeout') AS timed_out, \
     sum(t.state = 'cancelled') AS cancelled, sum(t.state = 'completed' AND t.submitted_at IS NOT NULL) AS timed, \
     sum((t.state = 'completed') * coalesce(max(t.completed_at - t.submitted_at, 0), 0)) AS duration_ms, \
     sum((t.state = 'completed') * coalesce(max(t.submitted_at - t.created_at, 0), 0)) AS wait_ms, \
     sum((t.state = 'completed') * coalesce(c.word_count, 0)) AS words \
     FROM tasks t LEFT JOIN contents c ON c.id = t.content_id GROUP BY t.generator, t.account_id) r \
     ON r.generator = l.generator AND r.account_id = l.account_id \
     WHERE (l.kept, l.retries, l.completed, l.failed, l.timed_out, l.cancelled) <> (coalesce(r.kept, 0), \
     coalesce(r.retries, 0), coalesce(r.completed, 0), coalesce(r.failed, 0), coalesce(r.timed_out, 0), coalesce(r.cancelled, 0)) \
     OR (l.timed, l.duration_ms, l.wait_ms, l.words) <> (coalesce(r.timed, 0), coalesce(r.duration_ms, 0), \
     coalesce(r.wait_ms, 0), coalesce(r.words, 0))";

/// The lanes whose sums are wrong. A database that a start has yet to bring to this form keeps none.
pub(super) fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let are_there = "SELECT 'columns' AS name, count(*) AS count FROM pragma_table_info('lanes') WHERE name = 'kept'";
    if diesel::sql_query(are_there).get_result::<Count>(connection)?.count == 0 {
        return Ok(Vec::new());
    }
    ask(connection, SUMS, BY_HAND)
}
