//! What is opened and what is refused, with the path, the reason and the cure, and the bytes as they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use contentd::store::sqlite::{self, OpenError};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::common::open;

fn refused(path: &Path) -> OpenError {
    match sqlite::open(path, 1) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directory_and_files_are_ours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/content 100%?#.db");
    let _opened = open(&path);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    assert!(path.exists(), "no character of the path has a meaning");
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    let opened = open(&path);
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = refused(name);
        assert!(
            matches!(&error, OpenError::InUse { owner, .. } if *owner == std::process::id().to_string()),
            "{error}"
        );
    }
    drop(opened);
    open(&path);
}

#[test]
fn the_lock_of_a_dead_owner_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    fs::write(directory.path().join("contentd.db.lock"), "4194304 a longer line than ours\n").unwrap();
    let _opened = open(&path);
    let lock = fs::read_to_string(directory.path().join("contentd.db.lock")).unwrap();
    assert_eq!(lock, format!("{}\na database was opened here\n", std::process::id()));
}

#[test]
fn a_newer_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    let mut opened = open(&path);
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959'); CREATE TABLE novelty (x);";
    opened.backend.connection().batch_execute(newer).unwrap();
    drop(opened);
    let before = fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(
        matches!(&error, OpenError::Newer { theirs, ours, .. } if theirs == "99991231235959" && *ours == sqlite::upkeep::newest_version()),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("named.db", "PRAGMA application_id = 77; CREATE TABLE tasks (id)"),
        ("nameless.db", "CREATE TABLE tasks (id)"),
    ] {
        let path = directory.path().join(name);
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute(sql).unwrap();
        drop(connection);
        let before = fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn what_is_no_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "not a database at all\n".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    let error = refused(directory.path());
    assert!(matches!(error, OpenError::BadPath { .. }), "{error}");
}

#[test]
fn a_damaged_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    drop(open(&path));
    let whole = fs::read(&path).unwrap();
    let cut = &whole[..whole.len() / 2 / 4096 * 4096];
    fs::write(&path, cut).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), cut);
}

#[test]
fn a_path_that_cannot_be_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file.join("contentd.db"));
    assert!(matches!(error, OpenError::Unusable { action: "making its directory", .. }), "{error}");
    let error = refused(&directory.path().join("no/such/contentd.db"));
    assert!(matches!(error, OpenError::NoDirectory { .. }) && error.to_string().contains("mkdir -p"), "{error}");
    assert!(!directory.path().join("no").exists(), "a mistyped path leaves nothing behind");
    let error = refused(Path::new("/proc/contentd.db"));
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

#[test]
fn a_start_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    fs::write(&path, "").unwrap();
    drop(open(&path));
    let path = directory.path().join("other.db");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let begun = "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";
    connection.batch_execute(begun).unwrap();
    drop(connection);
    open(&path);
}

#[test]
fn a_full_disk_refuses_and_comes_back() {
    use contentd::store::write::Write;
    use contentd::store::{Backend, DbError};

    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(&directory.path().join("contentd.db"));
    let put = |value: usize| [Write::PutSetting { name: "big".into(), value: Some("x".repeat(value)) }];
    opened.backend.connection().batch_execute("PRAGMA max_page_count = 60").unwrap();
    opened.backend.commit(&put(10)).unwrap();
    let full = opened.backend.commit(&put(1_000_000));
    assert!(matches!(full, Err(DbError::StorageFull(_))), "{full:?}");
    opened.backend.connection().batch_execute("PRAGMA max_page_count = 6000").unwrap();
    opened.backend.commit(&put(1_000_000)).expect("there is room again");
}
