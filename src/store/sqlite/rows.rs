//! The row operations of a write, on the one writing connection. SQL only: what may follow what is judged by
//! [`crate::store::write::execute`], and once more by the guard in the database.

mod schedules;
#[cfg(test)]
mod update_tests;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::sqlite::SqliteConnection;

use super::connection::{db_error, optional};
use super::fixed::Asked;
use super::models::{
    AccountChanges, AccountRow, AttemptChanges, AttemptNotes, AttemptRow, ImageChanges, ImageRow, NewContentRow,
    NewEventRow, NewImageRow, NewTaskRow, TaskChanges, TaskMoves, TaskNotes, TaskRow, VersionRow,
};
use super::pool_rows;
use super::queries::images::of_content as images_of;
use super::schema::{accounts, attempts, contents, events, images, settings, state_counts, submit_keys, tasks};
use super::update::{looked, update};
use crate::publish::{Handout, PieceIdentity};
use crate::store::DbError;
use crate::store::write::{Account, FinishedPlace, FinishedTask, KeptImage, MOST_LOOKED_AT, NewImage, Rows, Slice};
use crate::task::content::{ContentRecord, NewContent, PoolEntry, PoolState, Publication, PublishState, Version};
use crate::task::{
    AccountId, Attempt, AttemptState, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, TaskState, Timestamp,
};

/// Bound: generator, limit. A task that is not final has no end: the condition of the index `tasks_unfinished`.
const UNFINISHED_AT_GENERATOR: &str = "SELECT count(*) AS count FROM \
     (SELECT 1 FROM tasks WHERE generator = ? AND completed_at IS NULL LIMIT ?)";
/// Bound: generator, account, limit.
const UNFINISHED_OF_ACCOUNT: &str = "SELECT count(*) AS count FROM \
     (SELECT 1 FROM tasks WHERE generator = ? AND account_id = ? AND completed_at IS NULL LIMIT ?)";

/// Bound: account, limit.
const UNFINISHED_ANYWHERE: &str = "SELECT count(*) AS count FROM \
     (SELECT 1 FROM tasks WHERE account_id = ? AND completed_at IS NULL LIMIT ?)";

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// The rows of one transaction.
pub struct SqliteRows<'a> {
    pub(super) connection: &'a mut SqliteConnection,
}

impl SqliteRows<'_> {
    /// A statement that must concern exactly one row.
    fn expect_one(changed: usize, what: impl FnOnce() -> String) -> Result<(), DbError> {
        if changed == 1 { Ok(()) } else { Err(DbError::Refused(what())) }
    }
}

impl Rows for SqliteRows<'_> {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, DbError> {
        let row = accounts::table.find(id.0).select(AccountRow::as_select()).first::<AccountRow>(self.connection);
        optional(row)?.map(AccountRow::into_record).transpose()
    }

    fn account_by_name(&mut self, name: &str) -> Result<Option<Account>, DbError> {
        let found = accounts::table.filter(accounts::name.eq(name)).select(AccountRow::as_select());
        optional(found.first::<AccountRow>(self.connection))?.map(AccountRow::into_record).transpose()
    }

    fn insert_account(&mut self, name: &str, external_id: Option<&str>, now: Timestamp) -> Result<Account, DbError> {
        let row = (
            accounts::name.eq(name),
            accounts::external_id.eq(external_id),
            accounts::is_enabled.eq(true),
            accounts::created_at.eq(now.0),
        );
        let insert = diesel::insert_into(accounts::table).values(row).returning(AccountRow::as_returning());
        insert.get_result::<AccountRow>(self.connection).map_err(db_error)?.into_record()
    }

    fn update_account(&mut self, account: &Account) -> Result<(), DbError> {
        let update = diesel::update(accounts::table.find(account.id.0)).set(AccountChanges::of(account)?);
        Self::expect_one(update.execute(self.connection).map_err(db_error)?, || {
            format!("account {} is not there to be updated", account.id)
        })
    }

    fn unfinished_of(&mut self, account: AccountId, at_most: u32) -> Result<u32, DbError> {
        let meant = Asked::new(UNFINISHED_ANYWHERE).number(account.0);
        let counted: Counted = meant.number(i64::from(at_most)).get_result(self.connection).map_err(db_error)?;
        Ok(u32::try_from(counted.count).unwrap_or(u32::MAX))
    }

    fn unfinished_tasks(&mut self) -> Result<u64, DbError> {
        // A row a state, and a statement that is prepared once.
        let counts = state_counts::table.select((state_counts::state, state_counts::count));
        let counts: Vec<(String, i64)> = counts.load(self.connection).map_err(db_error)?;
        let is_unfinished = |state: &str| TaskState::ALL.iter().any(|one| !one.is_final() && one.as_str() == state);
        let unfinished = counts.into_iter().filter(|(state, _)| is_unfinished(state));
        Ok(unfinished.map(|(_, count)| u64::try_from(count).unwrap_or(0)).sum())
    }

    fn unfinished_at(
        &mut self,
        generator: &GeneratorName,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<u32, DbError> {
        let meant = match account {
            Some(account) => Asked::new(UNFINISHED_OF_ACCOUNT).text(generator.as_str()).number(account.0),
            None => Asked::new(UNFINISHED_AT_GENERATOR).text(generator.as_str()),
        };
        let counted: Counted = meant.number(i64::from(at_most)).get_result(self.connection).map_err(db_error)?;
        Ok(u32::try_from(counted.count).unwrap_or(u32::MAX))
    }

    fn task(&mut self, id: &TaskId) -> Result<Option<Task>, DbError> {
        let found = tasks::table.filter(tasks::id.eq(id.as_str())).select(TaskRow::as_select());
        optional(found.first(self.connection))?.map(TaskRow::into_record).transpose()
    }

    fn insert_task(&mut self, task: &Task) -> Result<i64, DbError> {
        let insert = diesel::insert_into(tasks::table).values(NewTaskRow::of(task)?).returning(tasks::seq);
        insert.get_result(self.connection).map_err(db_error)
    }

    fn update_task(&mut self, task: &Task, before: &Task) -> Result<usize, DbError> {
        let row = tasks::id
            .eq(task.id.as_str())
            .and(looked(tasks::state).eq(before.state.as_str()))
            .and(tasks::attempt.eq(i64::from(before.attempt)));
        let changed = if !TaskNotes::are_all(task, before) {
            update(tasks::table, TaskChanges::from(task), row).execute(self.connection)
        } else if task.state == before.state && task.attempt == before.attempt {
            update(tasks::table, TaskNotes::from(task), row).execute(self.connection)
        } else {
            update(tasks::table, TaskMoves::from(task), row).execute(self.connection)
        };
        changed.map_err(db_error)
    }

    fn attempt(&mut self, task_id: &TaskId, number: u32) -> Result<Option<Attempt>, DbError> {
        let key = (task_id.as_str(), i64::from(number));
        let found = attempts::table.find(key).select(AttemptRow::as_select());
        optional(found.first(self.connection))?.map(AttemptRow::into_record).transpose()
    }

    fn owner_of_job(
        &mut self,
        generator: &GeneratorName,
        reference: &str,
        states: &[AttemptState],
        but: &TaskId,
    ) -> Result<Option<TaskId>, DbError> {
        // The few attempts that a reference meets are sorted here, because a list of states would be prepared each time.
        let of_others = || {
            attempts::table
                .filter(attempts::generator.eq(generator.as_str()))
                .filter(attempts::task_id.ne(but.as_str()))
                .order(attempts::task_id)
                .select((attempts::task_id, attempts::state))
        };
        let first_of = |rows: Vec<(String, String)>| {
            let is_meant = |state: &str| states.iter().any(|meant| meant.as_str() == state);
            rows.into_iter().find(|(_, state)| is_meant(state)).map(|(owner, _)| owner)
        };
        let by_reference = of_others().filter(attempts::external_ref.eq(reference)).load(self.connection);
        let owner = match first_of(by_reference.map_err(db_error)?) {
            Some(owner) => Some(owner),
            None => first_of(of_others().filter(attempts::key.eq(reference)).load(self.connection).map_err(db_error)?),
        };
        Ok(owner.map(TaskId))
    }

    fn insert_attempt(&mut self, attempt: &Attempt, generator: &GeneratorName) -> Result<(), DbError> {
        let row = AttemptRow::of(attempt, generator.0.clone())?;
        diesel::insert_into(attempts::table).values(row).execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn update_attempt(&mut self, attempt: &Attempt, before: &Attempt) -> Result<(), DbError> {
        let row = attempts::task_id.eq(attempt.task_id.as_str()).and(attempts::number.eq(i64::from(attempt.number)));
        let changed = if AttemptNotes::are_all(attempt, before) {
            update(attempts::table, AttemptNotes::of(attempt)?, row).execute(self.connection)
        } else {
            update(attempts::table, AttemptChanges::of(attempt)?, row).execute(self.connection)
        };
        Self::expect_one(changed.map_err(db_error)?, || {
            format!("attempt {} of task {} is not there to be updated", attempt.number, attempt.task_id)
        })
    }

    fn insert_audit(&mut self, audit: &AuditRow) -> Result<(), DbError> {
        let insert = diesel::insert_into(events::table).values(NewEventRow::from(audit));
        insert.execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn submit_key(&mut self, key: &str) -> Result<Option<(TaskId, String)>, DbError> {
        let found = submit_keys::table.find(key).select((submit_keys::task_id, submit_keys::digest));
        let row: Option<(String, String)> = optional(found.first(self.connection))?;
        Ok(row.map(|(task_id, digest)| (TaskId(task_id), digest)))
    }

    fn insert_submit_key(&mut self, key: &str, task: &TaskId, digest: &str, now: Timestamp) -> Result<(), DbError> {
        let row = (
            submit_keys::key.eq(key),
            submit_keys::task_id.eq(task.as_str()),
            submit_keys::digest.eq(digest),
            submit_keys::created_at.eq(now.0),
        );
        diesel::insert_into(submit_keys::table).values(row).execute(self.connection).map_err(db_error)?;
        Ok(())
    }

    fn content(&mut self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        super::queries::contents::one(self.connection, id)
    }

    fn versions_of(&mut self, task_id: &TaskId) -> Result<Vec<Version>, DbError> {
        let found = contents::table.filter(contents::task_id.eq(task_id.as_str())).order(contents::version);
        let rows: Vec<VersionRow> = found.select(VersionRow::as_select()).load(self.connection).map_err(db_error)?;
        rows.into_iter().map(VersionRow::into_record).collect()
    }

    fn insert_image(&mut self, image: &NewImage) -> Result<(), DbError> {
        diesel::insert_into(images::table)
            .values(NewImageRow::of(image)?)
            .execute(self.connection)
            .map_err(db_error)?;
        Ok(())
    }

    fn images_of(&mut self, content_id: ContentId) -> Result<Vec<KeptImage>, DbError> {
        images_of(self.connection, content_id)
    }

    fn image(&mut self, id: i64) -> Result<Option<KeptImage>, DbError> {
        let found = images::table.find(id).select(ImageRow::as_select());
        optional(found.first::<ImageRow>(self.connection))?.map(ImageRow::into_record).transpose()
    }

    fn update_image(&mut self, image: &KeptImage, now: Timestamp) -> Result<(), DbError> {
        let update = update(images::table, ImageChanges::of(image, now)?, images::id.eq(image.id));
        let changed = update.execute(self.connection).map_err(db_error)?;
        Self::expect_one(changed, || format!("image {} is not there to be updated", image.id))
    }

    fn insert_content(&mut self, content: &NewContent) -> Result<ContentId, DbError> {
        let insert = diesel::insert_into(contents::table).values(NewContentRow::of(content)?).returning(contents::id);
        Ok(ContentId(insert.get_result(self.connection).map_err(db_error)?))
    }

    fn update_content_review(&mut self, content: &ContentRecord, now: Timestamp) -> Result<(), DbError> {
        let record = &content.record;
        let changes = (
            contents::review_status.eq(record.review_status.as_str()),
            contents::review_reason.eq(record.review_reason.as_deref()),
            contents::reviewed_by.eq(record.reviewed_by.as_deref()),
            contents::rewritten_by.eq(record.rewritten_by.as_ref().map(TaskId::as_str)),
            contents::publish_status.eq(record.publish_status.as_str()),
            contents::updated_at.eq(now.0),
        );
        let changed = update(contents::table, changes, contents::id.eq(content.id.0)).execute(self.connection);
        Self::expect_one(changed.map_err(db_error)?, || format!("content {} is not there to be updated", content.id))
    }

    fn task_of_content(&mut self, id: ContentId) -> Result<Option<TaskId>, DbError> {
        pool_rows::task_of_content(self.connection, id)
    }

    fn pool_entry_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        pool_rows::entry_of(self.connection, content_id)
    }

    fn insert_pool_entry(&mut self, entry: &PoolEntry) -> Result<PoolId, DbError> {
        pool_rows::insert(self.connection, entry)
    }

    fn set_pool_status(&mut self, id: PoolId, status: PoolState) -> Result<(), DbError> {
        pool_rows::set_status(self.connection, id, status)
    }

    fn unpublished_pool_entries(&mut self) -> Result<Vec<PoolId>, DbError> {
        pool_rows::unpublished(self.connection)
    }

    fn held_pool_entries(&mut self) -> Result<Vec<PoolEntry>, DbError> {
        pool_rows::held(self.connection)
    }

    fn pool_doubt_of(&mut self, content_id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        pool_rows::doubt_of(self.connection, content_id)
    }

    fn piece_identity(&mut self, content_id: ContentId) -> Result<Option<PieceIdentity>, DbError> {
        pool_rows::piece_identity(self.connection, content_id)
    }

    fn times_handed_out(&mut self, content_id: ContentId) -> Result<u64, DbError> {
        pool_rows::times_handed_out(self.connection, content_id)
    }

    fn pool_entry(&mut self, id: PoolId) -> Result<Option<PoolEntry>, DbError> {
        pool_rows::one(self.connection, id)
    }

    fn update_pool_entry(&mut self, entry: &PoolEntry) -> Result<(), DbError> {
        pool_rows::update(self.connection, entry)
    }

    fn due_pool_entries(
        &mut self,
        account: Option<AccountId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError> {
        pool_rows::due(self.connection, account, None, now, limit)
    }

    fn handout(&mut self, id: PoolId, fence: u64) -> Result<Option<Handout>, DbError> {
        pool_rows::handout(self.connection, id, fence)
    }

    fn unanswered_handout(&mut self, id: PoolId) -> Result<Option<Handout>, DbError> {
        pool_rows::unanswered_handout(self.connection, id)
    }

    fn handouts_of_request(&mut self, holder: &str, request: &str) -> Result<Vec<Handout>, DbError> {
        pool_rows::handouts_of_request(self.connection, holder, request)
    }

    fn insert_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        pool_rows::insert_handout(self.connection, handout)
    }

    fn update_handout(&mut self, handout: &Handout) -> Result<(), DbError> {
        pool_rows::update_handout(self.connection, handout)
    }

    fn publish_content(&mut self, id: ContentId, publication: &Publication) -> Result<(), DbError> {
        pool_rows::publish_content(self.connection, id, publication)
    }

    fn set_publish_status(&mut self, id: ContentId, status: PublishState, now: Timestamp) -> Result<(), DbError> {
        pool_rows::set_publish_status(self.connection, id, status, now)
    }

    fn setting(&mut self, name: &str) -> Result<Option<String>, DbError> {
        let found = settings::table.find(name).select(settings::value);
        optional(found.first(self.connection))
    }

    fn put_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), DbError> {
        let changed = match value {
            Some(value) => diesel::replace_into(settings::table)
                .values((settings::name.eq(name), settings::value.eq(value)))
                .execute(self.connection),
            None => diesel::delete(settings::table.find(name)).execute(self.connection),
        };
        changed.map(|_| ()).map_err(db_error)
    }

    fn mark_ended(&mut self, at: Timestamp) -> Result<(), DbError> {
        let ended = [TaskState::Failed, TaskState::Timeout, TaskState::Cancelled].map(TaskState::as_str);
        let marked = diesel::update(tasks::table.filter(tasks::state.eq_any(ended))).set(tasks::restored_at.eq(at.0));
        marked.execute(self.connection).map(|_| ()).map_err(db_error)
    }

    fn finished_before(&mut self, time: Timestamp, after: Option<FinishedPlace>, limit: u32) -> Result<Slice, DbError> {
        let (at, seq) = after.map_or((i64::MIN, i64::MIN), |place| (place.completed_at.0, place.seq));
        let asked = Asked::new(FINISHED).number(time.0).number(at).number(seq).number(MOST_LOOKED_AT as i64 + 1);
        // One by one, so that nothing is looked for behind what the slice takes.
        let rows = asked.load_iter::<Finished, DefaultLoadingMode>(self.connection).map_err(db_error)?;
        let seen = |row: Finished| FinishedTask {
            id: TaskId(row.id),
            place: FinishedPlace { completed_at: Timestamp(row.completed_at), seq: row.seq },
            is_kept: row.is_kept,
        };
        Slice::of(rows.map(|row| row.map(seen).map_err(db_error)), limit)
    }

    fn delete_task(&mut self, id: &TaskId) -> Result<(), DbError> {
        // Attempts and events go with it by their foreign keys.
        let deleted = diesel::delete(tasks::table.filter(tasks::id.eq(id.as_str()))).execute(self.connection);
        Self::expect_one(deleted.map_err(db_error)?, || format!("task {id} is not there to be deleted"))
    }

    fn shift_wake_times(&mut self, by_ms: i64) -> Result<(), DbError> {
        // Clamped, so that a jump beyond every date is no overflow: SQLite would make a real number of it.
        let headroom = if by_ms >= 0 { i64::MAX - by_ms } else { i64::MIN - by_ms };
        let (limit, end) = (headroom, if by_ms >= 0 { i64::MAX } else { i64::MIN });
        let fits = if by_ms >= 0 { "wake_at <= " } else { "wake_at >= " };
        let shifted = diesel::dsl::sql::<diesel::sql_types::Nullable<BigInt>>("CASE WHEN ")
            .sql(fits)
            .bind::<BigInt, _>(limit)
            .sql(" THEN wake_at + ")
            .bind::<BigInt, _>(by_ms)
            .sql(" ELSE ")
            .bind::<BigInt, _>(end)
            .sql(" END");
        let rows = tasks::table.filter(tasks::wake_at.is_not_null());
        diesel::update(rows).set(tasks::wake_at.eq(shifted)).execute(self.connection).map_err(db_error)?;
        let shift = sql_query(SHIFT_DELAYS).bind::<BigInt, _>(by_ms);
        shift.execute(self.connection).map_err(db_error)?;
        let shift = sql_query(SHIFT_IMAGES).bind::<BigInt, _>(by_ms);
        shift.execute(self.connection).map_err(db_error)?;
        self.shift_attempts(by_ms)?;
        pool_rows::shift_times(self.connection, by_ms)
    }
}

/// A finished task of a cleanup.
#[derive(QueryableByName)]
struct Finished {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    completed_at: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Bool)]
    is_kept: bool,
}

/// The pieces are looked for by the task: few are of one, and many may wait.
const FINISHED: &str = "SELECT id, completed_at, seq, EXISTS (SELECT 1 FROM contents \
     WHERE contents.task_id = tasks.id AND +contents.review_status = 'pending_review') AS is_kept \
     FROM tasks WHERE completed_at < ? AND (completed_at, seq) > (?, ?) AND wake_at IS NULL \
     ORDER BY completed_at, seq LIMIT ?";

/// Of what waits: a delay is a span, and its end the time at which the task wakes.
const SHIFT_DELAYS: &str = "UPDATE tasks SET \
     not_before = min(max(not_before + ?1, -9223372036854775808), 9223372036854775807) \
     WHERE wake_at IS NOT NULL AND not_before IS NOT NULL";
const SHIFT_IMAGES: &str = "UPDATE images SET \
     wake_at = min(max(wake_at + ?1, -9223372036854775808), 9223372036854775807) WHERE wake_at IS NOT NULL";

/// What attempts are measured by. A sum that overflows is a real number in SQLite; `min` and `max` bring it back.
const SHIFT_ATTEMPTS: &str = "UPDATE attempts SET \
     quiet_since = min(max(quiet_since + ?1, -9223372036854775808), 9223372036854775807), \
     unchanged_since = min(max(unchanged_since + ?1, -9223372036854775808), 9223372036854775807), \
     watch_until = min(max(watch_until + ?1, -9223372036854775808), 9223372036854775807) \
     WHERE state IN ('intended', 'accepted', 'unknown')";
/// A doubt is measured from its intent.
const SHIFT_INTENTS: &str = "UPDATE attempts SET \
     intended_at = min(max(intended_at + ?1, -9223372036854775808), 9223372036854775807) \
     WHERE state IN ('intended', 'unknown')";

impl SqliteRows<'_> {
    fn shift_attempts(&mut self, by_ms: i64) -> Result<(), DbError> {
        for sql in [SHIFT_ATTEMPTS, SHIFT_INTENTS] {
            diesel::sql_query(sql).bind::<BigInt, _>(by_ms).execute(self.connection).map_err(db_error)?;
        }
        Ok(())
    }
}
