//! The migrations: up, down and up again, empty and filled by the program's own writes.

use contentd::store::query::{Page, Queries, TaskFilter};
use contentd::store::sqlite::migrate::{Look, MIGRATIONS, look, migrate};
use contentd::task::content::ReviewState;
use contentd::task::outcome::SubmitAnswer;
use contentd::task::{ContentId, Event, TaskState};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use diesel_migrations::MigrationHarness;

use super::common::*;

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

/// Every table, index and trigger as it was written.
fn form(connection: &mut SqliteConnection) -> Vec<String> {
    let form = "SELECT coalesce(sql, name) AS text FROM sqlite_schema \
                WHERE name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' AND tbl_name <> 'sqlite_sequence' \
                AND tbl_name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' ORDER BY text";
    diesel::sql_query(form).load::<Text>(connection).unwrap().into_iter().map(|row| row.text).collect()
}

#[test]
fn up_down_and_up_on_an_empty_database() {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    assert_eq!(look(&mut connection).unwrap(), Look::Empty);
    migrate(&mut connection).unwrap();
    assert_eq!(look(&mut connection).unwrap(), Look::Ours);
    let first = form(&mut connection);
    connection.revert_all_migrations(MIGRATIONS).unwrap();
    assert_eq!(form(&mut connection), [""; 0]);
    assert_eq!(look(&mut connection).unwrap(), Look::Empty);
    migrate(&mut connection).unwrap();
    assert_eq!(form(&mut connection), first);
}

#[test]
fn down_and_up_on_a_filled_database() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), claimed(task(2, ada), START)]);
    side.complete(&id(1), START + 10);
    let mut backend = side.into_backend();
    let guarded = form(backend.connection());
    backend.connection().revert_all_migrations(MIGRATIONS).unwrap();
    assert_eq!(form(backend.connection()), [""; 0]);
    drop(backend);
    let mut opened = open(&directory.path().join("contentd.db"));
    assert_eq!(form(opened.backend.connection()), guarded);
    let mut side = Side::of(opened.backend, opened.queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada))]);
    side.complete(&id(1), START + 10);
}

#[test]
fn a_filled_database_opens_again_as_it_was() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), claimed(task(2, ada), START)]);
    side.complete(&id(1), START + 10);
    let before = side.queries.tasks(&TaskFilter::default(), Page::first(9)).unwrap();
    drop(side);
    let opened = open(&directory.path().join("contentd.db"));
    let side = Side::of(opened.backend, opened.queries);
    assert_eq!(side.queries.tasks(&TaskFilter::default(), Page::first(9)).unwrap(), before);
    assert_eq!(side.queries.counts().unwrap()[&TaskState::Submitting], 1);
}

#[test]
fn the_schema_of_diesel_has_the_columns_of_the_migrations() {
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/schema.rs")).unwrap();
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    migrate(&mut connection).unwrap();
    let tables = "SELECT name AS text FROM sqlite_schema WHERE type = 'table' \
                  AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_\\_diesel%' ESCAPE '\\'";
    let tables = diesel::sql_query(tables).load::<Text>(&mut connection).unwrap();
    assert_eq!(schema.matches("diesel::table!").count(), tables.len());
    for table in tables {
        let columns = format!("SELECT name AS text FROM pragma_table_info('{}') ORDER BY cid", table.text);
        let columns = diesel::sql_query(columns).load::<Text>(&mut connection).unwrap();
        let columns: Vec<&str> = columns.iter().map(|row| row.text.as_str()).collect();
        let begin = schema.find(&format!("    {} (", table.text)).expect("the table stands in the schema");
        let body = schema[begin..].lines().skip(1).take_while(|line| line.contains("->"));
        let theirs: Vec<&str> = body.map(|line| line.split("->").next().unwrap_or_default().trim()).collect();
        assert_eq!(theirs, columns, "{}", table.text);
    }
}

/// An older contentd counted all that costs nothing in one column.
#[test]
fn what_an_older_database_counted_in_one_is_told_apart() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit((1..=3).map(|n| claimed(task(n, ada), START)).collect());
    side.change(&id(1), START + 1, Event::SubmitAnswered(SubmitAnswer::Unavailable("nobody".into())));
    side.change(&id(2), START + 1, Event::SubmitAnswered(SubmitAnswer::Ambiguous("killed".into())));
    side.change(&id(3), START + 1, accepted("job"));
    let mut backend = side.into_backend();
    let mut revert = || backend.connection().revert_last_migration(MIGRATIONS).unwrap().to_string();
    while revert() != "20261127000001" {}
    backend.connection().batch_execute("UPDATE attempts SET free_ends = 40").unwrap();
    drop(backend);
    let opened = open(&directory.path().join("contentd.db"));
    let counted = |number| {
        let attempt = opened.queries.attempts(&id(number)).unwrap().remove(0);
        (attempt.free_ends, attempt.unavailable_submits, attempt.extensions)
    };
    assert_eq!([1, 2, 3].map(counted), [(0, 40, 0), (0, 0, 40), (40, 0, 0)]);
}

/// An older contentd could approve two pieces of one task: only the newer one goes out.
#[test]
fn two_approved_pieces_of_an_older_database_make_way() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    side.submit(vec![new(task(1, ada)), new(task(2, ada))]);
    side.complete(&id(1), START + 10);
    side.complete(&id(2), START + 20);
    let mut backend = side.into_backend();
    let mut revert = || backend.connection().revert_last_migration(MIGRATIONS).unwrap().to_string();
    while revert() != "20261126000002" {}
    let second = "INSERT INTO contents (task_id, account_id, version, title, summary, images, word_count, review_status, \
         publish_status, content_hash, created_at, updated_at, content, html_content) SELECT task_id, account_id, 2, title, \
         summary, images, word_count, review_status, publish_status, 'h', created_at, updated_at, content, html_content \
         FROM contents; \
         INSERT INTO publish_pool (content_id, account_id, priority, scheduled_at, status, retry_count, created_at) \
         SELECT id, account_id, 5, 1, 'pending', 0, 1 FROM contents WHERE version = 2; \
         UPDATE publish_pool SET status = 'published', published_at = 1 WHERE content_id = 2; \
         UPDATE contents SET publish_status = 'published' WHERE id = 2; \
         UPDATE tasks SET content_id = content_id + 2";
    backend.connection().batch_execute(second).unwrap();
    drop(backend);
    let path = directory.path().join("contentd.db");
    let opened = open(&path);
    let record = |number| opened.queries.content(ContentId(number)).unwrap().unwrap().record;
    assert_eq!(record(1).review_status, ReviewState::Superseded, "it waited for a publisher");
    assert_eq!(record(2).review_status, ReviewState::Approved, "what is out is out");
    assert!([3, 4].map(record).iter().all(|new| new.review_status == ReviewState::Approved));
    assert_eq!(contentd::store::sqlite::check::judge(&path).unwrap().findings, []);
}
