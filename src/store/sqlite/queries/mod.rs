//! What can be asked, on a pool of read-only connections. One file a use case:
//!
//! - `tasks`: one task and lists of them
//! - `agenda`: what is due, what runs next, what is in flight
//! - `lanes`: the heads of the lanes
//! - `contents`: pieces, and lists of the publish pool
//! - `pool`: one entry of it, and what is due there
//! - `images`: images that are kept, and accounts with limits
//! - `texts`: long texts, in parts
//! - `numbers`: counters
//! - `jobs`: how long past jobs took, and since when the oldest is at a generator
//! - `statistics`: what came of all that is kept, or of a time
//! - `schedules`: schedules, their agenda and their fires
//! - `notice`: alarms, messages and their deliveries, and what the rules look at
//!
//! Every question goes by an index; `tests/conformance/plans.rs` holds that against SQLite's own plans.

mod agenda;
pub(super) mod contents;
pub(super) mod images;
mod jobs;
mod lanes;
mod notice;
mod numbers;
mod pool;
mod schedules;
mod statistics;
mod tasks;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};
use diesel::sqlite::SqliteConnection;

use super::connection::{db_error, optional};
use super::models::AccountRow;
use super::pool_rows;
use super::schema::{accounts, settings};
use crate::publish::Handout;
use crate::store::query::{
    ContentFilter, InFlight, KeyUse, LaneHead, LongText, Page, PoolFilter, PoolStanding, Queries, ReadyTask,
    SearchBounds, Searched, Statistics, Submits, TaskFilter, TextPart,
};
use crate::store::write::{Account, KeptImage};
use crate::store::{DbError, LookupError};
use crate::task::account::AccountLimits;
use crate::task::content::{ContentRecord, PoolEntry};
use crate::task::learning::PastJob;
use crate::task::{
    AccountId, Attempt, AttemptKey, AuditRow, ContentId, GeneratorName, PoolId, Task, TaskId, TaskState, Timestamp,
};

type Reader = PooledConnection<ConnectionManager<SqliteConnection>>;

/// The end of every range of names that begin with a prefix.
const AFTER_EVERY_TEXT: char = char::MAX;

/// The reading side of a database. Cheap to clone.
#[derive(Clone)]
pub struct SqliteQueries {
    pool: Pool<ConnectionManager<SqliteConnection>>,
}

impl SqliteQueries {
    pub(super) fn new(pool: Pool<ConnectionManager<SqliteConnection>>) -> Self {
        Self { pool }
    }

    /// A connection, for tests that look behind the seam.
    pub fn connection(&self) -> Result<Reader, DbError> {
        self.pool.get().map_err(|error| DbError::Refused(format!("no connection to read with: {error}")))
    }

    /// Asks several questions of one state of the database.
    fn snapshot<T>(&self, ask: impl FnOnce(&mut SqliteConnection) -> Result<T, DbError>) -> Result<T, DbError> {
        let mut connection = self.connection()?;
        let mut answer = None;
        let ended = connection.transaction(|connection| {
            answer = Some(ask(connection));
            QueryResult::Ok(())
        });
        ended.map_err(db_error)?;
        answer.unwrap_or_else(|| Err(DbError::Refused("a question was not asked".into())))
    }
}

impl Queries for SqliteQueries {
    fn find_task(&self, name: &str) -> Result<Result<TaskId, LookupError>, DbError> {
        tasks::find(&mut *self.connection()?, name)
    }

    fn task(&self, id: &TaskId) -> Result<Option<(Task, Option<Attempt>)>, DbError> {
        tasks::one(&mut *self.connection()?, id)
    }

    fn attempts(&self, id: &TaskId) -> Result<Vec<Attempt>, DbError> {
        tasks::attempts(&mut *self.connection()?, id)
    }

    fn attempts_without_output(&self, id: &TaskId) -> Result<Vec<(Attempt, bool)>, DbError> {
        tasks::attempts_without_output(&mut *self.connection()?, id)
    }

    fn text_part(&self, text: &LongText, from: u64, most: u32) -> Result<Option<TextPart>, DbError> {
        texts::part(&mut *self.connection()?, text, from, most)
    }

    fn history(&self, id: &TaskId) -> Result<Vec<AuditRow>, DbError> {
        tasks::history(&mut *self.connection()?, id)
    }

    fn tasks(&self, filter: &TaskFilter, page: Page) -> Result<Vec<Task>, DbError> {
        self.snapshot(|connection| tasks::list(connection, filter, page))
    }

    fn search(&self, filter: &TaskFilter, topic: &str, page: Page, bounds: SearchBounds) -> Result<Searched, DbError> {
        self.snapshot(|connection| tasks::search(connection, filter, topic, page, bounds))
    }

    fn pending(&self, now: Timestamp, page: Page) -> Result<Vec<Task>, DbError> {
        self.snapshot(|connection| lanes::pending(connection, now, page))
    }

    fn counts(&self) -> Result<BTreeMap<TaskState, u64>, DbError> {
        numbers::counts(&mut *self.connection()?)
    }

    fn unfinished_elsewhere(&self, known: &BTreeSet<GeneratorName>) -> Result<BTreeMap<GeneratorName, u64>, DbError> {
        self.snapshot(|connection| numbers::unfinished_elsewhere(connection, known))
    }

    fn due(&self, now: Timestamp, limit: u32, except: &BTreeSet<i64>) -> Result<Vec<(Task, Attempt)>, DbError> {
        self.snapshot(|connection| agenda::due(connection, now, limit, except))
    }

    fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        agenda::next_wake(&mut *self.connection()?, now)
    }

    fn active(&self) -> Result<Vec<(Task, Attempt)>, DbError> {
        agenda::active(&mut *self.connection()?)
    }

    fn lane_heads(
        &self,
        now: Timestamp,
        per_lane: u32,
        lanes: u32,
        except: &BTreeSet<(GeneratorName, AccountId)>,
    ) -> Result<Vec<LaneHead>, DbError> {
        let except = except.iter().map(|(generator, account)| (generator.0.clone(), account.0)).collect();
        self.snapshot(|connection| lanes::heads(connection, now, per_lane, lanes, &except))
    }

    fn oldest_of_lane(
        &self,
        now: Timestamp,
        generator: &GeneratorName,
        account: AccountId,
    ) -> Result<Option<ReadyTask>, DbError> {
        self.snapshot(|connection| lanes::oldest(connection, now, &(generator.0.clone(), account.0)))
    }

    fn next_ready(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        lanes::next_ready(&mut *self.connection()?, now)
    }

    fn in_flight(&self) -> Result<Vec<InFlight>, DbError> {
        agenda::in_flight(&mut *self.connection()?)
    }

    fn submits_since(
        &self,
        generator: &GeneratorName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<BTreeMap<AccountId, Submits>, DbError> {
        numbers::submits_since(&mut *self.connection()?, generator, since, until)
    }

    fn past_jobs(&self, generator: &GeneratorName, limit: u32) -> Result<Vec<PastJob>, DbError> {
        jobs::past(&mut *self.connection()?, generator, limit)
    }

    fn oldest_job(&self, generator: &GeneratorName, since: Timestamp) -> Result<Option<Timestamp>, DbError> {
        jobs::oldest(&mut *self.connection()?, generator, since)
    }

    fn key_uses(&self, keys: &[AttemptKey]) -> Result<BTreeMap<AttemptKey, KeyUse>, DbError> {
        agenda::key_uses(&mut *self.connection()?, keys)
    }

    fn accounts(&self) -> Result<Vec<Account>, DbError> {
        let all = accounts::table.order(accounts::id).select(AccountRow::as_select());
        let rows = all.load(&mut self.connection()?).map_err(db_error)?;
        rows.into_iter().map(AccountRow::into_record).collect()
    }

    fn find_account(&self, id_or_name: &str) -> Result<Option<Account>, DbError> {
        let mut connection = self.connection()?;
        // A number is meant only as it is printed: +7 and 007 are names.
        let number: Option<i64> = id_or_name.parse().ok().filter(|id: &i64| id.to_string() == id_or_name);
        if let Some(id) = number {
            let row = accounts::table.find(id).select(AccountRow::as_select()).first(&mut connection);
            if let Some(row) = optional(row)? {
                return row.into_record().map(Some);
            }
        }
        let named = accounts::table.filter(accounts::name.eq(id_or_name)).select(AccountRow::as_select());
        optional(named.first::<AccountRow>(&mut connection))?.map(AccountRow::into_record).transpose()
    }

    fn content(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        contents::one(&mut *self.connection()?, id)
    }

    fn content_without_piece(&self, id: ContentId) -> Result<Option<ContentRecord>, DbError> {
        contents::one_without_piece(&mut *self.connection()?, id)
    }

    fn contents(&self, filter: &ContentFilter, page: Page) -> Result<Vec<ContentRecord>, DbError> {
        contents::list(&mut *self.connection()?, filter, page)
    }

    fn images(&self, content: ContentId) -> Result<Vec<KeptImage>, DbError> {
        images::of_content(&mut *self.connection()?, content)
    }

    fn images_due(&self, now: Timestamp, limit: u32) -> Result<Vec<KeptImage>, DbError> {
        images::due(&mut *self.connection()?, now, limit)
    }

    fn next_image_after(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        images::next(&mut *self.connection()?, now)
    }

    fn account_limits(&self) -> Result<BTreeMap<AccountId, AccountLimits>, DbError> {
        images::account_limits(&mut *self.connection()?)
    }

    fn pool(&self, filter: &PoolFilter, page: Page) -> Result<Vec<PoolEntry>, DbError> {
        self.snapshot(|connection| contents::pool(connection, filter, page))
    }

    fn pool_entry(&self, id: PoolId) -> Result<Option<(PoolEntry, Vec<Handout>)>, DbError> {
        self.snapshot(|connection| pool::one(connection, id))
    }

    fn pool_entry_of(&self, id: ContentId) -> Result<Option<PoolEntry>, DbError> {
        pool_rows::entry_of(&mut *self.connection()?, id)
    }

    fn pool_standing(&self, now: Timestamp) -> Result<PoolStanding, DbError> {
        self.snapshot(|connection| pool::standing(connection, now))
    }

    fn pool_wakes(&self, until: Timestamp, limit: u32) -> Result<Vec<(PoolEntry, Handout)>, DbError> {
        pool::wakes(&mut *self.connection()?, until, limit)
    }

    fn pool_accounts_due(&self, now: Timestamp) -> Result<Vec<Account>, DbError> {
        pool::accounts_due(&mut *self.connection()?, now)
    }

    fn pool_heads(
        &self,
        account: AccountId,
        categories: Option<&[String]>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PoolEntry>, DbError> {
        self.snapshot(|connection| pool_rows::due(connection, Some(account), categories, now, limit))
    }

    fn next_pool_time(&self, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
        self.snapshot(|connection| pool::next_time(connection, now))
    }

    fn publishes_since(&self, publisher: &str, since: Timestamp, until: Timestamp) -> Result<u32, DbError> {
        pool::publishes_since(&mut *self.connection()?, publisher, since, until)
    }

    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, DbError> {
        let named = settings::table
            .filter(settings::name.ge(prefix))
            .filter(settings::name.lt(format!("{prefix}{AFTER_EVERY_TEXT}")))
            .order(settings::name)
            .select((settings::name, settings::value));
        named.load(&mut self.connection()?).map_err(db_error)
    }

    fn count_finished_before(&self, time: Timestamp) -> Result<u64, DbError> {
        self.snapshot(|connection| numbers::finished_before(connection, time))
    }

    fn statistics(
        &self,
        since: Option<Timestamp>,
        account: Option<AccountId>,
        generator: Option<&GeneratorName>,
    ) -> Result<Statistics, DbError> {
        self.snapshot(|connection| statistics::statistics(connection, since, account, generator))
    }
}
