//! Rows of the table `attempts`. A deadline is three columns, all set or none, which the table checks.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::super::schema::attempts;
use super::{json, millis, narrowed, parsed, time, unreadable};
use crate::store::DbError;
use crate::task::{Attempt, AttemptKey, TaskId, Timestamp};

/// An attempt as it lies in its table; also what is inserted.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = attempts, treat_none_as_default_value = false)]
pub struct AttemptRow {
    task_id: String,
    number: i64,
    generator: String,
    key: String,
    state: String,
    external_ref: Option<String>,
    generator_state: Option<String>,
    intended_at: i64,
    accepted_at: Option<i64>,
    ended_at: Option<i64>,
    deadline_at: Option<i64>,
    deadline_boot_id: Option<String>,
    deadline_boot_ms: Option<i64>,
    sends: i64,
    quiet_since: Option<i64>,
    empty_sweeps: i64,
    missing: i64,
    bad_fetches: i64,
    bad_answers: i64,
    unchanged_since: Option<i64>,
    is_ready: bool,
    is_resend_due: bool,
    is_cancel_refused: bool,
    free_ends: i64,
    unavailable_submits: i64,
    extensions: i64,
    polls: i64,
    watch_until: Option<i64>,
    vars: String,
    error: Option<String>,
    raw_output: Option<String>,
}

impl AttemptRow {
    /// The row of `attempt`, at its task's generator.
    pub fn of(attempt: &Attempt, generator: String) -> Result<Self, DbError> {
        let deadline = attempt.deadline.as_ref();
        Ok(Self {
            task_id: attempt.task_id.0.clone(),
            number: attempt.number.into(),
            generator,
            key: attempt.key.0.clone(),
            state: attempt.state.as_str().to_owned(),
            external_ref: attempt.external_ref.clone(),
            generator_state: attempt.generator_state.clone(),
            intended_at: attempt.intended_at.0,
            accepted_at: millis(attempt.accepted_at),
            ended_at: millis(attempt.ended_at),
            deadline_at: deadline.map(|deadline| deadline.at.0),
            deadline_boot_id: deadline.map(|deadline| deadline.boot_id.0.clone()),
            deadline_boot_ms: deadline.map(|deadline| deadline.boot_ms),
            sends: attempt.sends.into(),
            quiet_since: millis(attempt.quiet_since),
            empty_sweeps: attempt.empty_sweeps.into(),
            missing: attempt.missing.into(),
            bad_fetches: attempt.bad_fetches.into(),
            bad_answers: attempt.bad_answers.into(),
            unchanged_since: millis(attempt.unchanged_since),
            is_ready: attempt.is_ready,
            is_resend_due: attempt.is_resend_due,
            is_cancel_refused: attempt.is_cancel_refused,
            free_ends: attempt.free_ends.into(),
            unavailable_submits: attempt.unavailable_submits.into(),
            extensions: attempt.extensions.into(),
            polls: attempt.polls.into(),
            watch_until: millis(attempt.watch_until),
            vars: json("vars", &attempt.vars)?,
            error: attempt.error.clone(),
            raw_output: attempt.raw_output.clone(),
        })
    }

    /// As the core knows it.
    pub fn into_record(self) -> Result<Attempt, DbError> {
        let row = format_args!("attempt {} of task {}", self.number, self.task_id).to_string();
        let vars: BTreeMap<String, String> =
            serde_json::from_str(&self.vars).map_err(|error| unreadable(&row, "vars", error))?;
        Ok(Attempt {
            number: narrowed(&row, "number", self.number)?,
            key: AttemptKey(self.key),
            state: parsed(&row, "state", &self.state)?,
            external_ref: self.external_ref,
            generator_state: self.generator_state,
            vars,
            intended_at: Timestamp(self.intended_at),
            accepted_at: time(self.accepted_at),
            ended_at: time(self.ended_at),
            deadline: Attempt::deadline_of(self.deadline_at, self.deadline_boot_id, self.deadline_boot_ms),
            sends: narrowed(&row, "sends", self.sends)?,
            quiet_since: time(self.quiet_since),
            empty_sweeps: narrowed(&row, "empty_sweeps", self.empty_sweeps)?,
            missing: narrowed(&row, "missing", self.missing)?,
            bad_fetches: narrowed(&row, "bad_fetches", self.bad_fetches)?,
            bad_answers: narrowed(&row, "bad_answers", self.bad_answers)?,
            unchanged_since: time(self.unchanged_since),
            is_ready: self.is_ready,
            is_resend_due: self.is_resend_due,
            is_cancel_refused: self.is_cancel_refused,
            free_ends: narrowed(&row, "free_ends", self.free_ends)?,
            unavailable_submits: narrowed(&row, "unavailable_submits", self.unavailable_submits)?,
            extensions: narrowed(&row, "extensions", self.extensions)?,
            polls: narrowed(&row, "polls", self.polls)?,
            watch_until: time(self.watch_until),
            error: self.error,
            raw_output: self.raw_output,
            task_id: TaskId(self.task_id),
        })
    }
}

/// What may change of an attempt: everything but whose it is, its number, its key and when it was intended.
#[derive(AsChangeset)]
#[diesel(table_name = attempts, treat_none_as_null = true)]
pub struct AttemptChanges<'a> {
    state: &'static str,
    external_ref: Option<&'a str>,
    accepted_at: Option<i64>,
    ended_at: Option<i64>,
    #[diesel(embed)]
    notes: AttemptNotes<'a>,
}

impl<'a> AttemptChanges<'a> {
    /// All that `attempt` says now.
    pub fn of(attempt: &'a Attempt) -> Result<Self, DbError> {
        Ok(Self {
            state: attempt.state.as_str(),
            external_ref: attempt.external_ref.as_deref(),
            accepted_at: millis(attempt.accepted_at),
            ended_at: millis(attempt.ended_at),
            notes: AttemptNotes::of(attempt)?,
        })
    }
}

/// What may change of an attempt while it stands where it stands. No index has any of it, nor its condition: SQLite rewrites each of
/// which a statement names a column.
#[derive(AsChangeset)]
#[diesel(table_name = attempts, treat_none_as_null = true)]
pub struct AttemptNotes<'a> {
    generator_state: Option<&'a str>,
    deadline_at: Option<i64>,
    deadline_boot_id: Option<&'a str>,
    deadline_boot_ms: Option<i64>,
    sends: i64,
    quiet_since: Option<i64>,
    empty_sweeps: i64,
    missing: i64,
    bad_fetches: i64,
    bad_answers: i64,
    unchanged_since: Option<i64>,
    is_ready: bool,
    is_resend_due: bool,
    is_cancel_refused: bool,
    free_ends: i64,
    unavailable_submits: i64,
    extensions: i64,
    polls: i64,
    watch_until: Option<i64>,
    vars: String,
    error: Option<&'a str>,
    raw_output: Option<&'a str>,
}

impl<'a> AttemptNotes<'a> {
    /// Whether the rest is as it was.
    pub fn are_all(attempt: &Attempt, before: &Attempt) -> bool {
        attempt.state == before.state
            && attempt.external_ref == before.external_ref
            && attempt.accepted_at == before.accepted_at
            && attempt.ended_at == before.ended_at
    }

    /// What `attempt` says of it now.
    pub fn of(attempt: &'a Attempt) -> Result<Self, DbError> {
        let deadline = attempt.deadline.as_ref();
        Ok(Self {
            generator_state: attempt.generator_state.as_deref(),
            deadline_at: deadline.map(|deadline| deadline.at.0),
            deadline_boot_id: deadline.map(|deadline| deadline.boot_id.0.as_str()),
            deadline_boot_ms: deadline.map(|deadline| deadline.boot_ms),
            sends: attempt.sends.into(),
            quiet_since: millis(attempt.quiet_since),
            empty_sweeps: attempt.empty_sweeps.into(),
            missing: attempt.missing.into(),
            bad_fetches: attempt.bad_fetches.into(),
            bad_answers: attempt.bad_answers.into(),
            unchanged_since: millis(attempt.unchanged_since),
            is_ready: attempt.is_ready,
            is_resend_due: attempt.is_resend_due,
            is_cancel_refused: attempt.is_cancel_refused,
            free_ends: attempt.free_ends.into(),
            unavailable_submits: attempt.unavailable_submits.into(),
            extensions: attempt.extensions.into(),
            polls: attempt.polls.into(),
            watch_until: millis(attempt.watch_until),
            vars: json("vars", &attempt.vars)?,
            error: attempt.error.as_deref(),
            raw_output: attempt.raw_output.as_deref(),
        })
    }
}
