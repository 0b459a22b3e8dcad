//! What the tables of schedules must hold, asked of the rows.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::{BY_HAND, Count, Finding, ask};

const PROMISES: &[(&str, &str)] = &[
    (
        "SELECT 'schedule ' || schedule_id AS subject, 'fire ' || id || ' was due at ' || due_at || ' and has the key ' || key \
         AS found FROM schedule_fires WHERE kind = 'due' AND key <> 'schedule/' || schedule_id || '/' || due_at",
        BY_HAND,
    ),
    (
        "SELECT 'schedule ' || schedule_id AS subject, 'fire ' || id || ' is ' || state || ' and has ' || \
         json_array_length(tasks) || ' tasks' AS found FROM schedule_fires \
         WHERE (state = 'fired') <> (json_array_length(tasks) > 0)",
        BY_HAND,
    ),
    (
        "SELECT t.id AS subject, 'is of fire ' || f.id || ' (' || f.key || ') and has the key ' || coalesce(t.key, 'none') AS found \
         FROM schedule_fires f, json_each(f.tasks) j JOIN tasks t ON t.id = j.value \
         WHERE t.key IS NULL OR substr(t.key, 1, length(f.key) + 1) <> f.key || '/'",
        BY_HAND,
    ),
    (
        "SELECT 'schedule ' || id AS subject, 'has taken ' || cursor || ' topics of a list of ' || \
         json_array_length(source, '$.topics') AS found FROM schedules \
         WHERE json_extract(source, '$.kind') = 'list' AND cursor > json_array_length(source, '$.topics')",
        BY_HAND,
    ),
    (
        "SELECT 'schedule ' || s.id AS subject, 'is for account ' || j.value || ', which is not there' AS found \
         FROM schedules s, json_each(s.accounts) j WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = j.value)",
        "`contentctl schedule remove ID`, and add it anew without the account",
    ),
];

/// The promises that the rows do not keep. An older database does not have the tables yet.
pub(super) fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let tables =
        "SELECT '' AS name, count(*) AS count FROM sqlite_schema WHERE type = 'table' AND name = 'schedule_fires'";
    if diesel::sql_query(tables).get_result::<Count>(connection)?.count == 0 {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for (sql, cure) in PROMISES {
        findings.extend(ask(connection, sql, cure)?);
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;

    use super::super::promises;
    use crate::store::sqlite;

    #[test]
    fn what_the_program_would_never_write_is_found_and_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut opened = sqlite::open(&dir.path().join("contentd.db"), 1).expect("it is made");
        let connection = opened.backend.connection();
        let rows = "INSERT INTO accounts (id, name, is_enabled, created_at) VALUES (1, 'blog', 1, 0);
            INSERT INTO schedules VALUES (1, 's', '{}', '[1]', 1, '{}', '{}', 1, 5, NULL, '1:x', 0, 0,
                '{\"kind\": \"list\", \"topics\": [{\"topic\": \"t\"}]}');
            INSERT INTO schedule_fires VALUES (1, 1, 'schedule/1/5', 5, 'due', 'fired', 0, 0, NULL, 5, 6, NULL, 'contentd',
                '[\"task-gone\"]', '[]');";
        connection.batch_execute(rows).expect("inserted");
        assert!(promises(connection).expect("asked").is_empty());
        for (sql, told) in [
            ("UPDATE schedule_fires SET due_at = 6", "was due at 6 and has the key schedule/1/5"),
            ("UPDATE schedule_fires SET tasks = '[]'", "is fired and has 0 tasks"),
            ("UPDATE schedules SET cursor = 2", "has taken 2 topics of a list of 1"),
            ("UPDATE schedules SET accounts = '[1, 7]'", "is for account 7"),
        ] {
            connection.batch_execute("SAVEPOINT broken").expect("begun");
            connection.batch_execute(sql).expect("written");
            let findings = promises(connection).expect("asked");
            assert!(findings.iter().any(|finding| finding.found.contains(told)), "{sql}: {findings:?}");
            connection.batch_execute("ROLLBACK TO broken").expect("undone");
        }
    }
}
