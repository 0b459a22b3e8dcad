//! Connections: how they are set up, and what SQLite's failures mean to the daemon.
//!
//! The surprise: Diesel hands on SQLite's message but not its code, so the fatal ones are known by their fixed texts
//! (`sqlite3ErrStr` in SQLite's main.c). A test provokes what can be provoked.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error as PoolError};
use diesel::result::Error;
use diesel::sqlite::SqliteConnection;

use crate::store::DbError;

/// How long a statement waits for a lock. Readers never wait in WAL mode and there is one writer, so this covers only a
/// backup tool or a person's shell; much longer would freeze the committing thread behind them.
const BUSY_TIMEOUT_MS: u32 = 2_000;

/// What a failure means.
pub fn db_error(error: Error) -> DbError {
    let text = match &error {
        Error::DatabaseError(_, information) => information.message().to_owned(),
        other => other.to_string(),
    };
    match text.as_str() {
        "database or disk is full" => DbError::StorageFull(text),
        // After a failed fsync nobody knows what the disk holds; a broken page stays broken.
        "database disk image is malformed" => DbError::Fatal(format!(
            "{text}; stop the daemon, then restore a backup, or copy what is readable with `sqlite3 FILE .recover`"
        )),
        "disk I/O error" | "file is not a database" | "locking protocol" => DbError::Fatal(text),
        "database is locked" => DbError::Refused(
            "it is locked by another program, a shell or a backup tool: end that, and try again".to_owned(),
        ),
        _ => DbError::Refused(text),
    }
}

/// A row, or none.
pub fn optional<T>(result: QueryResult<T>) -> Result<Option<T>, DbError> {
    result.optional().map_err(db_error)
}

/// Lets every statement wait for a lock instead of failing at once.
pub fn wait_for_locks(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(&format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}"))
}

/// Sets up the writing connection.
pub fn prepare_writer(connection: &mut SqliteConnection) -> QueryResult<()> {
    // One statement a call, in this order: the wait must hold before the journal's mode changes.
    wait_for_locks(connection)?;
    connection.batch_execute("PRAGMA journal_mode = WAL")?;
    connection.batch_execute("PRAGMA synchronous = FULL")?;
    connection.batch_execute("PRAGMA foreign_keys = ON")?;
    connection.batch_execute("PRAGMA trusted_schema = OFF")
}

/// Sets up a reading connection of the pool.
#[derive(Debug)]
pub struct ReaderSetup;

impl CustomizeConnection<SqliteConnection, PoolError> for ReaderSetup {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), PoolError> {
        let set_up = |connection: &mut SqliteConnection| {
            wait_for_locks(connection)?;
            connection.batch_execute("PRAGMA trusted_schema = OFF")?;
            connection.batch_execute("PRAGMA query_only = ON")
        };
        set_up(connection).map_err(PoolError::QueryError)
    }
}

#[cfg(test)]
mod tests {
    use diesel::result::DatabaseErrorKind;

    use super::*;

    #[derive(diesel::QueryableByName)]
    struct Setting {
        #[diesel(sql_type = diesel::sql_types::Text)]
        compile_options: String,
    }

    /// `.cargo/config.toml` asks for it, and says what it costs not to have it. Which of fsync and fdatasync is called is no option
    /// that SQLite tells; it is read there together with these.
    #[test]
    fn sqlite_is_compiled_as_the_configuration_asks() {
        let mut connection = SqliteConnection::establish(":memory:").expect("a database in memory");
        let options: Vec<Setting> =
            diesel::sql_query("PRAGMA compile_options").load(&mut connection).expect("it tells");
        let has = |name: &str| options.iter().any(|option| option.compile_options == name);
        assert!(has("ENABLE_QPSG") && has("DEFAULT_MEMSTATUS=0"), "this build does not read .cargo/config.toml");
    }

    fn failure(text: &str) -> Error {
        Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text.to_owned()))
    }

    #[test]
    fn a_full_disk_refuses_and_a_broken_one_is_fatal() {
        assert!(matches!(db_error(failure("database or disk is full")), DbError::StorageFull(_)));
        assert!(matches!(db_error(failure("disk I/O error")), DbError::Fatal(_)));
        assert!(matches!(db_error(failure("database disk image is malformed")), DbError::Fatal(_)));
        assert!(matches!(db_error(failure("database is locked")), DbError::Refused(_)));
        assert!(matches!(db_error(Error::NotFound), DbError::Refused(_)));
    }
}
