//! Jobs as generators had them: how long past ones took, and since when the oldest is with them.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel::sqlite::SqliteConnection;

use super::super::connection::db_error;
use super::super::fixed::Asked;
use crate::store::DbError;
use crate::task::learning::PastJob;
use crate::task::{GeneratorName, Timestamp};

#[derive(QueryableByName)]
struct Span {
    #[diesel(sql_type = BigInt)]
    accepted_at: i64,
    #[diesel(sql_type = BigInt)]
    ended_at: i64,
}

/// Bound: generator, limit.
const PAST: &str = "SELECT accepted_at, ended_at FROM attempts \
     WHERE generator = ? AND state = 'ended_completed' AND accepted_at IS NOT NULL AND ended_at IS NOT NULL \
     ORDER BY ended_at DESC, task_id, number LIMIT ?";

pub fn past(connection: &mut SqliteConnection, generator: &GeneratorName, limit: u32) -> Result<Vec<PastJob>, DbError> {
    let asked = Asked::new(PAST).text(generator.as_str()).number(i64::from(limit));
    let spans: Vec<Span> = asked.load(connection).map_err(db_error)?;
    let job = |Span { accepted_at, ended_at }| {
        let accepted_at = Timestamp(accepted_at);
        PastJob { accepted_at, took: Timestamp(ended_at).since(accepted_at) }
    };
    Ok(spans.into_iter().map(job).collect())
}

#[derive(QueryableByName)]
struct Oldest {
    #[diesel(sql_type = Nullable<BigInt>)]
    accepted_at: Option<i64>,
}

/// The attempts that may be alive are few: their own index leads, and the tasks are looked up. Bound: generator, a time.
const OLDEST: &str = "SELECT min(a.accepted_at) AS accepted_at \
     FROM attempts a CROSS JOIN tasks t ON t.id = a.task_id AND t.attempt = a.number \
     WHERE a.state IN ('intended', 'accepted', 'unknown') AND a.generator = ? AND a.accepted_at >= ? \
     AND t.state IN ('submitted', 'processing')";

pub fn oldest(
    connection: &mut SqliteConnection,
    generator: &GeneratorName,
    since: Timestamp,
) -> Result<Option<Timestamp>, DbError> {
    let asked = Asked::new(OLDEST).text(generator.as_str()).number(since.0);
    let oldest: Oldest = asked.get_result(connection).map_err(db_error)?;
    Ok(oldest.accepted_at.map(Timestamp))
}
