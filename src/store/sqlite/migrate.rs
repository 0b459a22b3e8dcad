//! The form of the database: looked at before a byte is changed, then brought up to date.
//!
//! A database that is somebody else's, or of a newer contentd, is refused by a read-only look. The look does not use the
//! header alone, because the newest pages may stand in the write-ahead log.

use std::cell::RefCell;

use diesel::connection::BoxableConnection;
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::restore::Steps;

/// Every migration, carried in the binary.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// "cntd" in the header of the file; the first migration writes it.
pub const APPLICATION_ID: i64 = 0x636e_7464;

/// What a look at a database showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing in it: ours to fill.
    Empty,
    /// Ours, of this version or an older one.
    Ours,
    /// Another program's; its application id.
    Foreign(i64),
    /// Ours, of a newer version: its newest migration and ours.
    Newer {
        /// The newest migration that the database has and we do not know.
        theirs: String,
        /// The newest that we know.
        ours: String,
    },
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

fn number(connection: &mut SqliteConnection, sql: &str) -> QueryResult<i64> {
    Ok(diesel::sql_query(sql).get_result::<Number>(connection)?.number)
}

/// The versions that this program knows, oldest first.
pub(super) fn known_versions() -> Vec<String> {
    let migrations = MigrationSource::<Sqlite>::migrations(&MIGRATIONS).unwrap_or_default();
    let mut versions: Vec<String> = migrations.iter().map(|migration| migration.name().version().to_string()).collect();
    versions.sort_unstable();
    versions
}

/// Looks without writing.
pub fn look(connection: &mut SqliteConnection) -> QueryResult<Look> {
    let id = number(connection, "SELECT application_id AS number FROM pragma_application_id")?;
    let tables = number(connection, "SELECT count(*) AS number FROM sqlite_schema")?;
    // A start that was cut before the first migration leaves Diesel's own, empty table of migrations.
    let foreign = "SELECT count(*) AS number FROM sqlite_schema \
                   WHERE tbl_name <> '__diesel_schema_migrations' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    if id == 0 && (tables == 0 || number(connection, foreign)? == 0) {
        return Ok(Look::Empty);
    }
    if id != APPLICATION_ID {
        return Ok(Look::Foreign(id));
    }
    let applied = diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version DESC");
    let applied: Vec<Version> = applied.load(connection)?;
    let known = known_versions();
    let unknown = applied.into_iter().find(|applied| !known.contains(&applied.version));
    Ok(match unknown {
        Some(unknown) => Look::Newer { theirs: unknown.version, ours: known.last().cloned().unwrap_or_default() },
        None => Look::Ours,
    })
}

/// The newest migration that a database of ours has.
pub(super) fn version_of(connection: &mut SqliteConnection) -> QueryResult<Option<String>> {
    let newest = diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version DESC LIMIT 1");
    Ok(newest.get_result::<Version>(connection).optional()?.map(|row| row.version))
}

/// What a start reads, before it writes a byte: damage there is then met while the file is as it was. Damage in what only a
/// request reads is told to that request; `upkeep` looks at all of it.
const NEEDED: [&str; 5] = [
    "SELECT count(value) AS number FROM settings",
    "SELECT count(count) AS number FROM state_counts",
    "SELECT count(pending) AS number FROM lanes",
    "SELECT count(name) AS number FROM accounts",
    "SELECT count(length(tasks.topic) + length(attempts.key)) AS number FROM tasks \
     JOIN attempts ON attempts.task_id = tasks.id AND attempts.number = tasks.attempt \
     WHERE tasks.state IN ('submitting', 'submitted', 'processing', 'cancelling')",
];

/// Reads what a start needs of a database of ours, and throws it away.
pub fn read_what_a_start_needs(connection: &mut SqliteConnection) -> QueryResult<()> {
    for sql in NEEDED {
        match number(connection, sql) {
            Ok(_) => {}
            // An older version may not have it yet.
            Err(error) if error.to_string().starts_with("no such") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Brings the database up to date; each migration is one transaction.
pub fn migrate(connection: &mut SqliteConnection) -> Result<(), String> {
    migrate_in_steps(connection, &mut |_| {})
}

/// The same, told before and after each migration and inside its transaction.
pub(super) fn migrate_in_steps(connection: &mut SqliteConnection, steps: Steps<'_>) -> Result<(), String> {
    let pending = connection.pending_migrations(MIGRATIONS).map_err(|error| error.to_string())?;
    let steps = RefCell::new(steps);
    for migration in &pending {
        steps.borrow_mut()("migrating");
        let watched = Watched { migration: migration.as_ref(), steps: &steps };
        connection.run_migration(&watched).map_err(|error| format!("{}: {error}", migration.name()))?;
        steps.borrow_mut()("migrated");
    }
    Ok(())
}

/// A migration that tells where it stands inside its transaction.
struct Watched<'a, 'b> {
    migration: &'a dyn Migration<Sqlite>,
    steps: &'a RefCell<Steps<'b>>,
}

impl Migration<Sqlite> for Watched<'_, '_> {
    fn run(&self, connection: &mut dyn BoxableConnection<Sqlite>) -> diesel::migration::Result<()> {
        self.steps.borrow_mut()("in the transaction of a migration");
        self.migration.run(connection)?;
        self.steps.borrow_mut()("before the commit of a migration");
        Ok(())
    }

    fn revert(&self, connection: &mut dyn BoxableConnection<Sqlite>) -> diesel::migration::Result<()> {
        self.migration.revert(connection)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self.migration.metadata()
    }

    fn name(&self) -> &dyn MigrationName {
        self.migration.name()
    }
}
