//! The rows of the floors: what contentd's own rows hold, written with as few bound values as the tables allow.

use contentd::store::sqlite::update::update;
use contentd::task::{AttemptKey, Entropy, TaskId};
use diesel::dsl::{And, Eq};
use diesel::prelude::*;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::client::{PIECE, REQUIREMENTS, TOPIC};

diesel::table! {
    tasks (seq) {
        seq -> BigInt,
        id -> Text,
        account_id -> BigInt,
        generator -> Text,
        state -> Text,
        priority -> BigInt,
        auto_approve -> Bool,
        attempt -> BigInt,
        retry_count -> BigInt,
        max_retries -> BigInt,
        time_limit_s -> BigInt,
        created_at -> BigInt,
        queued_at -> BigInt,
        submitted_at -> Nullable<BigInt>,
        started_at -> Nullable<BigInt>,
        completed_at -> Nullable<BigInt>,
        wake_at -> Nullable<BigInt>,
        updated_at -> BigInt,
        content_id -> Nullable<BigInt>,
        submitted_by -> Text,
        keywords -> Text,
        topic -> Text,
        requirements -> Nullable<Text>,
    }
}

diesel::table! {
    attempts (task_id, number) {
        task_id -> Text,
        number -> BigInt,
        generator -> Text,
        key -> Text,
        state -> Text,
        external_ref -> Nullable<Text>,
        generator_state -> Nullable<Text>,
        intended_at -> BigInt,
        accepted_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        deadline_at -> Nullable<BigInt>,
        deadline_boot_id -> Nullable<Text>,
        deadline_boot_ms -> Nullable<BigInt>,
        sends -> BigInt,
        empty_sweeps -> BigInt,
        missing -> BigInt,
        bad_fetches -> BigInt,
        bad_answers -> BigInt,
        unchanged_since -> Nullable<BigInt>,
        is_ready -> Bool,
        is_resend_due -> Bool,
        is_cancel_refused -> Bool,
        polls -> BigInt,
        vars -> Text,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        task_id -> Text,
        at -> BigInt,
        event -> Text,
        from_state -> Nullable<Text>,
        to_state -> Text,
        attempt -> BigInt,
        attempt_from -> Nullable<Text>,
        attempt_to -> Nullable<Text>,
        who -> Text,
    }
}

diesel::table! {
    contents (id) {
        id -> BigInt,
        task_id -> Text,
        account_id -> BigInt,
        version -> BigInt,
        title -> Text,
        summary -> Text,
        images -> Text,
        word_count -> BigInt,
        review_status -> Text,
        review_reason -> Nullable<Text>,
        reviewed_by -> Nullable<Text>,
        publish_status -> Text,
        content_hash -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        content -> Text,
        html_content -> Text,
    }
}

diesel::table! {
    publish_pool (id) {
        id -> BigInt,
        content_id -> BigInt,
        account_id -> BigInt,
        priority -> BigInt,
        scheduled_at -> BigInt,
        status -> Text,
        retry_count -> BigInt,
        created_at -> BigInt,
    }
}

/// The name that every row of a floor has for its generator.
pub const GENERATOR: &str = "held";
const SUBMITTER: &str = "0:root";
const CONTENTD: &str = "contentd";

/// A task to come: its id and the key of its attempt.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The task's.
    pub id: TaskId,
    /// Its first attempt's.
    pub key: AttemptKey,
    /// Milliseconds since 1970.
    pub now: i64,
}

impl Fresh {
    /// With ids as contentd makes them.
    pub fn new() -> Self {
        let entropy = contentd::host::OsEntropy;
        Self { id: entropy.task_id(), key: entropy.attempt_key(), now: jiff::Timestamp::now().as_millisecond() }
    }

    /// So many.
    pub fn some(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::new()).collect()
    }

    /// The task's row and the row of its audit trail.
    pub fn insert(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let task = (
            tasks::id.eq(self.id.as_str()),
            tasks::account_id.eq(1),
            tasks::generator.eq(GENERATOR),
            tasks::state.eq("pending"),
            tasks::priority.eq(5),
            tasks::auto_approve.eq(true),
            tasks::attempt.eq(0),
            tasks::retry_count.eq(0),
            tasks::max_retries.eq(3),
            tasks::time_limit_s.eq(1_800),
            tasks::created_at.eq(self.now),
            tasks::queued_at.eq(self.now),
            tasks::updated_at.eq(self.now),
            tasks::submitted_by.eq(SUBMITTER),
            tasks::keywords.eq("[]"),
            tasks::topic.eq(TOPIC),
            tasks::requirements.eq(REQUIREMENTS),
        );
        diesel::insert_into(tasks::table).values(task).execute(connection)?;
        let event = (
            events::task_id.eq(self.id.as_str()),
            events::at.eq(self.now),
            events::event.eq("submitted"),
            events::to_state.eq("pending"),
            events::attempt.eq(0),
            events::who.eq(SUBMITTER),
        );
        diesel::insert_into(events::table).values(event).execute(connection).map(drop)
    }

    /// What a claim writes: the attempt, the task's move, the audit row.
    pub fn claim(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let attempt = (
            attempts::task_id.eq(self.id.as_str()),
            attempts::number.eq(1),
            attempts::generator.eq(GENERATOR),
            attempts::key.eq(self.key.0.as_str()),
            attempts::state.eq("intended"),
            attempts::intended_at.eq(self.now),
            attempts::sends.eq(1),
            (attempts::empty_sweeps.eq(0), attempts::missing.eq(0), attempts::bad_fetches.eq(0)),
            attempts::bad_answers.eq(0),
            (attempts::is_ready.eq(false), attempts::is_resend_due.eq(false), attempts::is_cancel_refused.eq(false)),
            attempts::polls.eq(0),
            attempts::vars.eq("{}"),
        );
        diesel::insert_into(attempts::table).values(attempt).execute(connection)?;
        let changes = (
            tasks::state.eq("submitting"),
            tasks::attempt.eq(1),
            tasks::wake_at.eq(self.now + 60_000),
            tasks::updated_at.eq(self.now),
        );
        self.change(connection, changes)?;
        self.audit(connection, ["claimed", "pending", "submitting"], [None, Some("intended")])
    }

    /// What an answered submit writes.
    pub fn accept(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let attempt = (
            attempts::state.eq("accepted"),
            attempts::external_ref.eq(self.key.0.as_str()),
            attempts::accepted_at.eq(self.now),
            attempts::deadline_at.eq(self.now + 1_800_000),
            attempts::deadline_boot_id.eq("b2f1c2f0-7a5e-4b0e-9c57-0d6f0c8f6b11"),
            attempts::deadline_boot_ms.eq(1_800_000),
        );
        update(attempts::table, attempt, self.attempt()).execute(connection)?;
        let task = (tasks::state.eq("submitted"), tasks::submitted_at.eq(self.now), tasks::wake_at.eq(self.now + 10));
        self.change(connection, task)?;
        self.audit(connection, ["accepted", "submitting", "submitted"], [Some("intended"), Some("accepted")])
    }

    /// What a poll writes that finds the job at work.
    pub fn begin(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let attempt =
            (attempts::generator_state.eq("processing"), attempts::unchanged_since.eq(self.now), attempts::polls.eq(1));
        update(attempts::table, attempt, self.attempt()).execute(connection)?;
        let task = (tasks::state.eq("processing"), tasks::started_at.eq(self.now), tasks::wake_at.eq(self.now + 20));
        self.change(connection, task)?;
        self.audit(connection, ["started", "submitted", "processing"], [None, None])
    }

    /// What a poll writes that finds it done: no move yet.
    pub fn note_end(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let attempt = (
            attempts::generator_state.eq("completed"),
            attempts::unchanged_since.eq(self.now),
            attempts::polls.eq(2),
            attempts::is_ready.eq(true),
        );
        update(attempts::table, attempt, self.attempt()).execute(connection)?;
        self.change(connection, (tasks::wake_at.eq(self.now), tasks::updated_at.eq(self.now)))
    }

    /// What a piece writes: its record, its place in the pool, the ends of attempt and task, the audit row.
    pub fn complete(&self, connection: &mut SqliteConnection, from: &'static str) -> QueryResult<()> {
        let html = format!("<p>{PIECE}</p>\n");
        let content = (
            contents::task_id.eq(self.id.as_str()),
            contents::account_id.eq(1),
            contents::version.eq(1),
            contents::title.eq(TOPIC),
            contents::summary.eq(PIECE),
            contents::images.eq("[]"),
            contents::word_count.eq(31),
            (contents::review_status.eq("approved"), contents::review_reason.eq("approved automatically")),
            contents::reviewed_by.eq(CONTENTD),
            contents::publish_status.eq("pooled"),
            contents::content_hash.eq(format!("{0}{0}", self.key.0)),
            (contents::created_at.eq(self.now), contents::updated_at.eq(self.now)),
            (contents::content.eq(PIECE), contents::html_content.eq(html)),
        );
        let insert = diesel::insert_into(contents::table).values(content).returning(contents::id);
        let content_id: i64 = insert.get_result(connection)?;
        let entry = (
            publish_pool::content_id.eq(content_id),
            publish_pool::account_id.eq(1),
            publish_pool::priority.eq(5),
            publish_pool::scheduled_at.eq(self.now),
            publish_pool::status.eq("pending"),
            publish_pool::retry_count.eq(0),
            publish_pool::created_at.eq(self.now),
        );
        diesel::insert_into(publish_pool::table).values(entry).execute(connection)?;
        let attempt = (attempts::state.eq("ended_completed"), attempts::ended_at.eq(self.now));
        update(attempts::table, attempt, self.attempt()).execute(connection)?;
        let task = (
            tasks::state.eq("completed"),
            tasks::completed_at.eq(self.now),
            tasks::wake_at.eq(None::<i64>),
            tasks::content_id.eq(content_id),
        );
        self.change(connection, task)?;
        self.audit(connection, ["completed", from, "completed"], [Some("accepted"), Some("ended_completed")])
    }

    /// Where the attempt's row is found.
    fn attempt(&self) -> And<Eq<attempts::task_id, &str>, Eq<attempts::number, i64>> {
        attempts::task_id.eq(self.id.as_str()).and(attempts::number.eq(1))
    }

    /// Changes the task's row, found by its id alone. Prepared once, as contentd's own updates are: Diesel's would be prepared anew
    /// at each call, which no floor needs to do.
    fn change<C>(&self, connection: &mut SqliteConnection, changes: C) -> QueryResult<()>
    where
        C: AsChangeset<Target = tasks::table> + QueryId,
        C::Changeset: QueryFragment<Sqlite>,
    {
        update(tasks::table, changes, tasks::id.eq(self.id.as_str())).execute(connection).map(drop)
    }

    /// An audit row: the event with the task's states before and after, and the attempt's.
    pub fn audit(
        &self,
        connection: &mut SqliteConnection,
        [event, from, to]: [&str; 3],
        [attempt_from, attempt_to]: [Option<&str>; 2],
    ) -> QueryResult<()> {
        let event = (
            events::task_id.eq(self.id.as_str()),
            events::at.eq(self.now),
            events::event.eq(event),
            events::from_state.eq(from),
            events::to_state.eq(to),
            events::attempt.eq(1),
            events::attempt_from.eq(attempt_from),
            events::attempt_to.eq(attempt_to),
            events::who.eq(CONTENTD),
        );
        diesel::insert_into(events::table).values(event).execute(connection).map(drop)
    }
}
