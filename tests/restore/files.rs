//! The file itself: what is restored, what is refused, and a restore that dies at any step.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use contentd::store::restored::{RestoreMark, SETTING};
use contentd::store::sqlite::restore::{self, RestoreError};
use contentd::store::sqlite::{self, OpenError};
use contentd::task::Timestamp;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::daemon::{Daemon, Setup};
use super::*;

fn mark(at: i64) -> RestoreMark {
    let (file, who) = ("b".into(), "0:root".into());
    RestoreMark {
        at: Timestamp(at),
        file,
        who,
        is_nothing_since: false,
        is_done: false,
        earlier_doubt: None,
        witnesses: Vec::new(),
    }
}

#[test]
fn a_name_alone_takes_no_databases_place() {
    let place = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(place.path());
    let stray = place.path().join("contentd.db.restored-1");
    fs::copy(&file, &stray).unwrap();
    let before = fs::read(&database).unwrap();
    let refused = sqlite::open(&database, 1).err().expect("it is refused").to_string();
    assert!(refused.contains(stray.to_str().unwrap()) && refused.contains("move that file away"), "{refused}");
    let refused = restore::restore(&database, &file, &mark(7), "T1", &mut |_| {}).unwrap_err();
    assert!(matches!(&refused, RestoreError::Decided { copy, .. } if *copy == stray), "{refused}");
    // One whose restore was done before: a copy of a database that was restored once.
    let json = RestoreMark { is_done: true, ..mark(1) }.to_json().unwrap();
    run_sql(&stray, &format!("INSERT INTO settings VALUES ('{SETTING}', '{json}')"));
    assert!(matches!(sqlite::open(&database, 1), Err(OpenError::NoRestore { .. })));
    assert_eq!(fs::read(&database).unwrap(), before);
    fs::rename(&stray, place.path().join("contentd.db.restored-")).unwrap();
    drop(sqlite::open(&database, 1).expect("a name without a time is nobody's"));
    assert_eq!(which(&database), "old");
}

#[test]
fn what_fails_after_the_decision_says_that_it_was_decided_and_the_next_start_completes_it() {
    let place = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(place.path());
    // What stands in the way of the last steps, as a disk may.
    let stone = place.path().join("contentd.db-shm");
    fs::create_dir(&stone).unwrap();
    let error = restore::restore(&database, &file, &mark(7), "T1", &mut |_| {}).unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, RestoreError::Decided { .. }), "{told}");
    assert!(told.contains("contentd.db.restored-T1") && !told.contains("nothing was restored"), "{told}");
    fs::remove_dir(&stone).unwrap();
    drop(sqlite::open(&database, 1).unwrap());
    assert_eq!(which(&database), "new");
    assert_eq!(which(&place.path().join("contentd.db.before-restore-T1")), "old");
}

#[test]
fn what_cannot_be_restored_is_refused_and_the_database_is_as_it_was() {
    let mut daemon = Daemon::with(Setup::default());
    let good = backup(&daemon, "good.db");
    let live = restore_with(&daemon, &good, &[]).exits(1);
    assert!(live.err.contains(&format!("in use by process {}", daemon.pid())), "{live:?}");
    assert!(daemon.terminate().success());
    let before = fs::read(daemon.database()).unwrap();
    let bad = |name: &str, bytes: &[u8]| daemon.write_file(name, "").tap(|path| fs::write(path, bytes).unwrap());
    let bytes = fs::read(&good).unwrap();
    let cases = [
        (bad("text.db", b"not a database at all, but long enough to be looked at by SQLite as if it were one of its own files, so that it says no"), "not a database"),
        (bad("cut.db", &bytes[..bytes.len() / 2 / 4096 * 4096]), ""),
        (bad("empty.db", b""), "nothing is in it"),
        (daemon.database(), "the database itself"),
        (PathBuf::from("/nowhere/x.db"), "/nowhere/x.db"),
        (bad("newer.db", &bytes).tap(|path| run_sql(path, "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")), "newer contentd"),
        (bad("broken.db", &bytes).tap(|path| run_sql(path, "UPDATE state_counts SET count = 5; INSERT INTO state_counts VALUES ('pending', 5) ON CONFLICT DO UPDATE SET count = 5")), "is not sound"),
    ];
    for (file, words) in cases {
        let ran = restore_with(&daemon, &file, &[]).exits(1);
        assert!(ran.err.contains(words), "{}: {ran:?}", file.display());
        assert_eq!(fs::read(daemon.database()).unwrap(), before, "{}", file.display());
        let left: Vec<_> = fs::read_dir(daemon.dir()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(
            !left
                .iter()
                .any(|name| name.to_string_lossy().contains(".rest")
                    || name.to_string_lossy().contains("before-restore")),
            "{left:?}"
        );
    }
}

fn run_sql(path: &Path, sql: &str) {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
}

/// A database whose last writes stand in its log only, and a backup with another text in it.
fn old_and_new(place: &Path) -> (PathBuf, PathBuf) {
    let (database, file) = (place.join("contentd.db"), place.join("backup.db"));
    let put = |opened: &mut sqlite::Opened, value: &str| {
        let sql = format!("INSERT OR REPLACE INTO settings VALUES ('which', '{value}')");
        opened.backend.connection().batch_execute(&sql).unwrap();
    };
    let mut opened = sqlite::open(&file, 1).unwrap();
    put(&mut opened, "new");
    drop(opened);
    let made = place.join("made.db");
    let mut opened = sqlite::open(&made, 1).unwrap();
    put(&mut opened, "older");
    opened.backend.connection().batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    put(&mut opened, "old");
    // As a death leaves it.
    fs::copy(&made, &database).unwrap();
    fs::copy(place.join("made.db-wal"), place.join("contentd.db-wal")).unwrap();
    (database, file)
}

fn which(path: &Path) -> String {
    texts(path, "SELECT value AS text FROM settings WHERE name = 'which'").pop().unwrap()
}

/// After a death: the old one or the new one, whole; the old one is kept whole beside a new one; and a restore ends well.
fn old_or_new(place: &Path, what: &str) -> bool {
    let database = place.join("contentd.db");
    drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("{what}: {error}")));
    sound(&database);
    let is_new = which(&database) == "new";
    if is_new {
        let stored = texts(&database, &format!("SELECT value AS text FROM settings WHERE name = '{SETTING}'"));
        assert_eq!(RestoreMark::parse(Some(&stored[0])).unwrap().unwrap(), mark(7), "{what}: it is marked");
        assert_eq!(fs::metadata(&database).unwrap().mode() & 0o777, 0o600);
        let kept = place.join("contentd.db.before-restore-T1");
        sound(&kept);
        assert_eq!(which(&kept), "old", "{what}: the old one is kept with its log");
    } else {
        assert_eq!(which(&database), "old", "{what}");
    }
    restore::restore(&database, &place.join("backup.db"), &mark(8), "T2", &mut |_| {}).unwrap();
    assert_eq!(which(&database), "new", "{what}: it is restored after all");
    is_new
}

#[test]
fn a_restore_that_dies_at_any_step_leaves_the_old_database_or_the_new_one() {
    if let Some((step, place)) = child() {
        let (database, file) = (place.join("contentd.db"), place.join("backup.db"));
        restore::restore(&database, &file, &mark(7), "T1", &mut dying(Some(step), &mut Vec::new())).unwrap();
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    let (database, file) = old_and_new(whole.path());
    let mut steps = Vec::new();
    restore::restore(&database, &file, &mark(7), "T1", &mut dying(None, &mut steps)).unwrap();
    let itself = restore::restore(&database, &database, &mark(7), "T1", &mut |_| {});
    assert!(matches!(itself, Err(RestoreError::Itself(_))));
    let (mut old, mut new) = (0, 0);
    for (number, step) in steps.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        old_and_new(place.path());
        die("files::a_restore_that_dies_at_any_step_leaves_the_old_database_or_the_new_one", place.path(), number);
        if old_or_new(place.path(), step) { new += 1 } else { old += 1 }
    }
    assert!(old >= 3 && new >= 5, "{old} left the old one, {new} the new one: {steps:?}");
    let kills = number_of("CONTENTD_RESTORE_KILLS", 25);
    let (random_old, random_new) = kill_the_program(kills);
    tally::tell(
        "restores",
        &format!(
            "{} steps of a restore at which it died, and {kills} deaths of the program at any instant: {} times the old database, \
             {} times the new one, never none or half",
            steps.len(),
            old + random_old,
            new + random_new
        ),
    );
}

/// The real program, killed at instants spread over the time it takes.
fn kill_the_program(kills: usize) -> (usize, usize) {
    let command = |place: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contentd"));
        command.arg("restore").arg(place.join("backup.db")).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.env("DATABASE_URL", place.join("contentd.db")).env("HOME", place).current_dir(place);
        command
    };
    let whole = tempfile::tempdir().unwrap();
    old_and_new(whole.path());
    let began = Instant::now();
    assert!(command(whole.path()).status().unwrap().success());
    let lasts = began.elapsed();
    let (mut old, mut new) = (0, 0);
    for number in 0..kills {
        let place = tempfile::tempdir().unwrap();
        let (database, _) = old_and_new(place.path());
        let mut child = command(place.path()).spawn().unwrap();
        std::thread::sleep(lasts * u32::try_from(number).unwrap() / u32::try_from(kills).unwrap());
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        drop(sqlite::open(&database, 1).unwrap());
        sound(&database);
        match which(&database).as_str() {
            "old" => old += 1,
            "new" => new += 1,
            other => panic!("{other}"),
        }
    }
    (old, new)
}

trait Tap: Sized {
    fn tap(self, deed: impl FnOnce(&Self)) -> Self {
        deed(&self);
        self
    }
}

impl Tap for PathBuf {}
