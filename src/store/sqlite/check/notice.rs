//! What the tables of alarms and messages must hold: that each hook was told the beginning before the end, in order.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::{BY_HAND, Count, ask};
use crate::finding::Finding;

const HAS_TABLES: &str =
    "SELECT 'deliveries' AS name, count(*) AS count FROM sqlite_schema WHERE type = 'table' AND name = 'deliveries'";

const PROMISES: &[&str] = &[
    "SELECT 'alarm ' || alarm AS subject, 'its message ' || id || ' says that it is over after ' || before AS found FROM \
     (SELECT id, seq, alarm, kind, lag(kind) OVER (PARTITION BY alarm ORDER BY seq) AS before FROM notices \
     WHERE kind <> 'test') WHERE kind = 'resolved' AND before = 'resolved'",
    "SELECT 'alarm ' || a.name AS subject, 'it counts as told, and its last message says ' || n.kind AS found FROM alarms a \
     JOIN notices n ON n.seq = (SELECT max(seq) FROM notices o WHERE o.alarm = a.name AND o.kind <> 'test') \
     WHERE a.is_told AND n.kind <> 'firing'",
    "SELECT 'hook ' || l.hook AS subject, 'delivery ' || l.id || ' is delivered, and ' || e.id || ' before it waits' AS found \
     FROM deliveries e INDEXED BY deliveries_waiting CROSS JOIN deliveries l ON l.hook = e.hook AND l.id > e.id \
     WHERE e.state = 'waiting' AND l.state = 'delivered'",
];

/// The promises that the rows do not keep. A database of an older form has no such tables and breaks none.
pub(super) fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    if diesel::sql_query(HAS_TABLES).get_result::<Count>(connection)?.count == 0 {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for sql in PROMISES {
        findings.extend(ask(connection, sql, BY_HAND)?);
    }
    Ok(findings)
}
