//! Migrations that die at any step, and one without room for its copy.

use std::fs;
use std::path::Path;

use contentd::store::sqlite::{self, OpenError, migrate, upkeep};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::*;

/// A database as contentd 0.1.0 left it, with tasks, pieces and a job under way.
fn first_form(path: &Path) {
    let dump = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/database-0.1.0.sql")).unwrap();
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA journal_mode = WAL").unwrap();
    connection
        .batch_execute(&format!("BEGIN; {dump} PRAGMA application_id = {}; COMMIT", migrate::APPLICATION_ID))
        .unwrap();
}

/// What must be the same in both forms.
fn rows(path: &Path) -> Vec<String> {
    let columns =
        "id || state || attempt || coalesce(wake_at, '') || updated_at || topic || coalesce(requirements, '')";
    let mut rows = texts(path, &format!("SELECT {columns} AS text FROM tasks ORDER BY seq"));
    rows.extend(texts(path, "SELECT task_id || number || key || state AS text FROM attempts ORDER BY key"));
    rows.extend(texts(path, "SELECT id || task_id || event || to_state AS text FROM events ORDER BY id"));
    rows.extend(texts(path, "SELECT id || content_hash || content AS text FROM contents ORDER BY id"));
    rows.extend(texts(path, "SELECT id || content_id || status AS text FROM publish_pool ORDER BY id"));
    rows
}

#[test]
fn a_migration_that_dies_at_any_step_is_completed_by_the_next_start_with_every_row() {
    if let Some((step, place)) = child() {
        let opened = sqlite::open_in_steps(&place.join("contentd.db"), 1, &mut dying(Some(step), &mut Vec::new()));
        drop(opened.unwrap());
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    let database = whole.path().join("contentd.db");
    first_form(&database);
    let judgement = sound(&database);
    assert!(judgement.needs_migration && judgement.version == "20261123000000", "{judgement:?}");
    let expected = rows(&database);
    assert_eq!(expected.len(), 50);
    let mut steps = Vec::new();
    let opened = sqlite::open_in_steps(&database, 1, &mut dying(None, &mut steps)).unwrap();
    let cuts = cut_logs(&database, &expected);
    drop(opened);
    assert!(!sound(&database).needs_migration);
    let kept = whole.path().join(format!("contentd.db.before-{}", upkeep::newest_version()));
    assert_eq!((sound(&kept).version, rows(&kept)), ("20261123000000".to_owned(), expected.clone()), "the way back");
    for (number, step) in steps.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("contentd.db");
        first_form(&database);
        die(
            "migrations::a_migration_that_dies_at_any_step_is_completed_by_the_next_start_with_every_row",
            place.path(),
            number,
        );
        sound(&database);
        assert_eq!(rows(&database), expected, "after a death at {step:?}");
        drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("{step}: {error}")));
        assert!(!sound(&database).needs_migration, "{step}");
        assert_eq!(rows(&database), expected, "completed after a death at {step:?}");
        let kept = place.path().join(kept.file_name().unwrap());
        assert_eq!(rows(&kept), expected, "{step}");
    }
    assert!(steps.len() >= 7, "{steps:?}");
    tally::tell(
        "migrations",
        &format!(
            "{} steps of a migration at which it died, and {cuts} logs of it that were cut: completed each time",
            steps.len()
        ),
    );
}

/// A loss of power at each page of the log that the migration wrote, and in the middle of one.
fn cut_logs(database: &Path, expected: &[String]) -> usize {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;
    let (file, log) = (fs::read(database).unwrap(), fs::read(database.with_extension("db-wal")).unwrap());
    let frames = (log.len() - HEADER) / FRAME;
    let mut cuts: Vec<usize> = (0..=frames).map(|frame| HEADER + frame * FRAME).collect();
    cuts.extend([1, HEADER - 1, HEADER + FRAME / 2, log.len() - 1]);
    for cut in &cuts {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("contentd.db");
        fs::write(&database, &file).unwrap();
        fs::write(place.path().join("contentd.db-wal"), &log[..*cut]).unwrap();
        drop(sqlite::open(&database, 1).unwrap_or_else(|error| panic!("log of {cut} bytes: {error}")));
        assert!(!sound(&database).needs_migration);
        assert_eq!(rows(&database), expected, "log of {cut} bytes");
    }
    cuts.len()
}

#[test]
fn a_migration_without_room_for_its_copy_is_refused_with_the_bytes_intact() {
    let place = tempfile::tempdir().unwrap();
    let database = place.path().join("contentd.db");
    first_form(&database);
    let before = fs::read(&database).unwrap();
    // A directory where the copy is written to: it cannot be made.
    fs::create_dir(place.path().join(format!("contentd.db.before-{}.part", upkeep::newest_version()))).unwrap();
    let refused = sqlite::open(&database, 1).err().expect("it is refused");
    assert!(matches!(refused, OpenError::Migration { .. }), "{refused}");
    assert_eq!(fs::read(&database).unwrap(), before);
}
