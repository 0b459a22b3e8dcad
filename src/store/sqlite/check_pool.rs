//! What the publish pool of a sound database holds, asked of its rows in SQL of its own. Part of [`super::check`].

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

const SETTLE: &str = "look at the publisher whether the piece is out; `contentctl pool show ID` says who had it";
const BY_HAND: &str = "stop the daemon, keep a copy of the file, and restore the last backup: `contentd restore FILE`";

const PROMISES: &[(&str, &str)] = &[
    (
        "SELECT 'pool entry ' || p.id AS subject, 'is ' || p.status || ' at fence ' || p.fence || \
         ', and no handing out has this number' AS found FROM publish_pool p LEFT JOIN handouts h \
         ON h.pool_id = p.id AND h.fence = p.fence WHERE p.status = 'publishing' AND h.pool_id IS NULL",
        SETTLE,
    ),
    (
        "SELECT 'pool entry ' || h.pool_id AS subject, 'was handed out at fence ' || h.fence || ', and is at ' || p.fence \
         AS found FROM handouts h JOIN publish_pool p ON p.id = h.pool_id WHERE h.fence > p.fence",
        BY_HAND,
    ),
    (
        "SELECT 'pool entry ' || p.id AS subject, 'is published, and where its content ' || p.content_id || \
         ' went is not known' AS found FROM publish_pool p LEFT JOIN publications o ON o.content_id = p.content_id \
         WHERE p.status = 'published' AND (o.content_id IS NULL OR p.published_at IS NULL)",
        BY_HAND,
    ),
    (
        "SELECT 'content ' || o.content_id AS subject, 'went out, and its publish status is ' || c.publish_status AS found \
         FROM publications o JOIN contents c ON c.id = o.content_id WHERE c.publish_status <> 'published'",
        BY_HAND,
    ),
    (
        "SELECT 'pool entry ' || h.pool_id AS subject, 'was said to be published ' || count(*) || ' times' AS found \
         FROM handouts h WHERE h.outcome IN ('pool_published', 'pool_settled_published') GROUP BY h.pool_id HAVING count(*) > 1",
        SETTLE,
    ),
];

/// Of a database whose keys follow from a seed.
const OF_KEYS: &[(&str, &str)] = &[(
    "SELECT 'the setting publish_seed' AS subject, 'is not there, and nothing can be handed out without it' AS found \
     WHERE NOT EXISTS (SELECT 1 FROM settings WHERE name = 'publish_seed' AND length(value) >= 32)",
    BY_HAND,
)];

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn is_there(connection: &mut SqliteConnection, count: &str) -> QueryResult<bool> {
    let known: Count = diesel::sql_query(count).get_result(connection)?;
    Ok(known.count > 0)
}

/// What is to be asked; nothing of a database of an older version, which hands nothing out.
pub(super) fn promises(connection: &mut SqliteConnection) -> QueryResult<Vec<(&'static str, &'static str)>> {
    let hands_out =
        "SELECT count(*) = 2 AS count FROM sqlite_schema WHERE type = 'table' AND name IN ('handouts', 'publications')";
    let has_seed = "SELECT count(*) AS count FROM pragma_table_info('publish_pool') WHERE name = 'may_be_out'";
    let mut asked = Vec::new();
    if is_there(connection, hands_out)? {
        asked.extend_from_slice(PROMISES);
    }
    if is_there(connection, has_seed)? {
        asked.extend_from_slice(OF_KEYS);
    }
    Ok(asked)
}
