//! What must hold of versions of pieces, of pieces that are written again, and of accounts' defaults.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::{BY_HAND, Count, ask};
use crate::finding::Finding;

const ASKED: &[&str] = &[
    "SELECT coalesce((SELECT id FROM tasks t WHERE t.id = c.task_id), 'content ' || c.id) AS subject, 'content ' || c.id || \
     ' is version ' || c.version || ' of ' || c.newest || ' and ' || c.review_status AS found \
     FROM (SELECT id, task_id, version, review_status, max(version) OVER (PARTITION BY task_id) AS newest FROM contents) c \
     WHERE CASE WHEN c.version = c.newest THEN c.review_status = 'superseded' \
     ELSE c.review_status NOT IN ('superseded', 'approved') END",
    "SELECT coalesce((SELECT id FROM tasks t WHERE t.id = c.task_id), 'content ' || min(c.id)) AS subject, \
     'contents ' || group_concat(c.id, ', ') || ' are versions of one piece and in the publish pool together' AS found \
     FROM contents c JOIN publish_pool p ON p.content_id = c.id AND p.status NOT IN ('removed', 'published') \
     GROUP BY c.task_id HAVING count(*) > 1",
    "SELECT t.id AS subject, 'is to write content ' || c.id || ' again and does not name it' AS found \
     FROM contents c JOIN tasks t ON t.id = c.rewritten_by WHERE t.rewrites IS NOT c.task_id",
    "SELECT 'account ' || id AS subject, 'has a priority of ' || json_extract(defaults, '$.priority') || \
     ' for its submits' AS found FROM accounts \
     WHERE coalesce(json_extract(defaults, '$.priority') NOT BETWEEN 1 AND 10, 0)",
];

/// The promises that the rows do not keep. A database that a start has yet to bring to this form promises none of it.
pub(super) fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let is_there =
        "SELECT 'columns' AS name, count(*) AS count FROM pragma_table_info('contents') WHERE name = 'findings'";
    if diesel::sql_query(is_there).get_result::<Count>(connection)?.count == 0 {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for sql in ASKED {
        findings.extend(ask(connection, sql, BY_HAND)?);
    }
    Ok(findings)
}
