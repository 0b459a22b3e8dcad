//! Databases of many tasks with their history, as a daemon would have made them over months.
//!
//! Made with SQL, through the tables, indexes and counting triggers of contentd's own migrations, because a million tasks one by one
//! would take longer than what is measured on them. The surprise: the guard is taken out meanwhile, since it lets a task begin as
//! pending only; every start of a daemon puts it in again. Small ones are held against contentd's own check of a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use contentd::store::Backend;
use contentd::store::sqlite::{self, check};
use contentd::store::write::Write;
use contentd::task::Timestamp;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use crate::Bench;

/// Rows of a transaction.
const SLICE: usize = 50_000;
/// Databases of at most so many tasks are checked after they are made.
const CHECKED: usize = 20_000;
/// What the tasks of a database are.
#[derive(Clone, Copy)]
pub enum Kind {
    /// 97 % are completed, 2 % failed, and 1 % wait in line at the generator `mark`.
    History,
    /// All wait in line at the generator `mark`, before whatever is submitted.
    Waiting,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Waiting => "waiting",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::History => include_str!("history.sql"),
            Self::Waiting => include_str!("waiting.sql"),
        }
    }
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// A database of `tasks` tasks of the account `bench`. Made once, and kept for the run of this program.
pub fn made(bench: &Bench, kind: Kind, tasks: usize) -> anyhow::Result<PathBuf> {
    let path = bench.work.join(format!("{}-{tasks}-of-{}", kind.name(), std::process::id())).join("contentd.db");
    if path.exists() {
        return Ok(path);
    }
    forget_old_ones(&bench.work)?;
    let began = Instant::now();
    eprintln!("  making a database of {tasks} tasks");
    make(&path, kind, tasks).with_context(|| format!("{} could not be made", path.display()))?;
    if tasks <= CHECKED {
        let judged = check::judge(&path)?;
        ensure!(judged.is_sound(), "{} is not sound: {:?}", path.display(), judged.findings);
    }
    eprintln!("  made in {:.1} s, {} MB", began.elapsed().as_secs_f64(), fs::metadata(&path)?.len() >> 20);
    Ok(path)
}

/// Of programs that have ended.
fn forget_old_ones(work: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(work)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_made = [Kind::History, Kind::Waiting].iter().any(|kind| name.starts_with(kind.name()));
        let owner = name.split("-of-").nth(1).filter(|_| is_made);
        let is_old = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_old {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn make(path: &Path, kind: Kind, tasks: usize) -> anyhow::Result<()> {
    let mut backend = sqlite::open(path, 1)?.backend;
    let account = Write::AddAccount { name: "bench".into(), external_id: None, now: Timestamp(0) };
    for answer in backend.commit(&[account])? {
        answer?;
    }
    let connection = backend.connection();
    connection.batch_execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA foreign_keys = OFF")?;
    take_out_the_guard(connection)?;
    let now = jiff::Timestamp::now().as_millisecond();
    for first in (0..tasks).step_by(SLICE) {
        let last = (first + SLICE).min(tasks);
        let sql = kind.sql().replace("$FIRST", &(first + 1).to_string()).replace("$LAST", &last.to_string());
        let sql = sql.replace("$NOW", &now.to_string()).replace("$ALL", &tasks.to_string());
        connection.batch_execute(&format!("BEGIN IMMEDIATE; {sql} COMMIT;"))?;
    }
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop(backend);
    // On the disk before anything is measured.
    Ok(fs::File::open(path)?.sync_all()?)
}

fn take_out_the_guard(connection: &mut SqliteConnection) -> QueryResult<()> {
    let guard = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'guard\\_%' ESCAPE '\\'";
    for trigger in diesel::sql_query(guard).load::<Name>(connection)? {
        connection.batch_execute(&format!("DROP TRIGGER \"{}\"", trigger.name))?;
    }
    Ok(())
}
