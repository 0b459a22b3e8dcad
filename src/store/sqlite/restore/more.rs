//! What the database that was replaced had, and the restored one has not: what a person looks for, and where.
//!
//! Both are only read. Nobody has them open right after a restore; what cannot be read is not compared, for the restore is done.

use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::super::{check, read_only_uri};
use super::KEPT;

/// How much of it there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, QueryableByName)]
pub struct More {
    /// Tasks.
    #[diesel(sql_type = BigInt)]
    pub tasks: i64,
    /// Content records: pieces and versions of them.
    #[diesel(sql_type = BigInt)]
    pub pieces: i64,
    /// Pieces that are out, and are not as the restored database has it.
    #[diesel(sql_type = BigInt)]
    pub published: i64,
}

const MORE: &str = "SELECT \
     (SELECT count(*) FROM main.tasks t WHERE NOT EXISTS (SELECT 1 FROM restored.tasks r WHERE r.id = t.id)) AS tasks, \
     (SELECT count(*) FROM main.contents c WHERE NOT EXISTS (SELECT 1 FROM restored.contents r WHERE r.id = c.id)) AS pieces, \
     (SELECT count(*) FROM main.publish_pool p WHERE p.status = 'published' AND NOT EXISTS \
     (SELECT 1 FROM restored.publish_pool r WHERE r.id = p.id AND r.status = 'published')) AS published";

/// The databases that restores have replaced and that lie beside this one, the last of them last.
pub fn kept_beside(database: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else { return Vec::new() };
    let begins = format!("{}{KEPT}", name.to_string_lossy());
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // What lies beside them is theirs: a log, its index.
        name.strip_prefix(&begins).is_some_and(|stamp| stamp.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut kept: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_kept).collect();
    kept.sort();
    kept
}

/// Compares them; none where one of them cannot be read.
pub fn more_in(kept: &Path, restored: &Path) -> Option<More> {
    let mut connection = check::open(kept).ok()?;
    let restored = format!("{}&immutable=1", read_only_uri(restored));
    diesel::sql_query("ATTACH ? AS restored").bind::<Text, _>(restored).execute(&mut connection).ok()?;
    diesel::sql_query(MORE).get_result(&mut connection).ok()
}
