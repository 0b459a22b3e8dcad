//! What a restored copy must not forget: doubts of restores before it, and what the database that it replaces has seen.
//!
//! The replaced database is only read, and may be unreadable: then nothing is known, and numbers go on far above the copy's. The
//! surprise: its audit trail bears witness against whoever says that nothing ran since the backup.

use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::check;
use super::{Part, RestoreError};
use crate::store::restored::{BadMark, RestoreMark, SETTING, Witness};

/// Whose rows people name by number: a list from before a restore must not name another row after it.
const NUMBERED: [&str; 3] = ["accounts", "contents", "publish_pool"];
/// How far the numbers go on where nobody knows which were given out.
const WIDE_STEP: i64 = 1_000_000;

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct Event {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    task_id: String,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    event: String,
}

impl Event {
    fn into_witness(self) -> Witness {
        Witness { id: self.id, task_id: self.task_id, at: self.at, event: self.event }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// What the database that is replaced says of itself.
pub(super) enum Past {
    /// There is none.
    None,
    /// It cannot be read.
    Unreadable,
    /// Its last audit row, its own mark and the highest numbers that it gave out.
    Known {
        database: PathBuf,
        last: Option<Witness>,
        mark: Box<Result<Option<RestoreMark>, BadMark>>,
        numbers: Vec<(&'static str, i64)>,
    },
}

impl Past {
    pub(super) fn of(database: &Path) -> Self {
        if database.symlink_metadata().is_err() {
            return Self::None;
        }
        let read = || -> Result<Self, String> {
            let mut connection = check::open(database).map_err(|error| error.to_string())?;
            let last = "SELECT id, task_id, at, event FROM events ORDER BY id DESC LIMIT 1";
            let last = diesel::sql_query(last).get_result::<Event>(&mut connection).optional();
            let last = last.map_err(|error| error.to_string())?.map(Event::into_witness);
            let mark = Box::new(stored_mark(&mut connection).map_err(|error| error.to_string())?);
            let number = |name| Ok((name, number_of(&mut connection, name).map_err(|error| error.to_string())?));
            let numbers = NUMBERED.into_iter().map(number).collect::<Result<_, String>>()?;
            Ok(Self::Known { database: database.to_owned(), last, mark, numbers })
        };
        read().unwrap_or_else(|problem| {
            log::info!("{} cannot be read, and says nothing: {problem}", database.display());
            Self::Unreadable
        })
    }

    /// Writes into the copy what it must know; its mark.
    pub(super) fn hand_on(&self, part: &Part, file: &Path, mark: &RestoreMark) -> Result<RestoreMark, RestoreError> {
        let mut copy = part.connection()?;
        let failed = |error| part.not_copied(error);
        let own = stored_mark(&mut copy).map_err(failed)?;
        // Databases that were replaced before the backup was made: it is not older than what they say.
        let answered = own.as_ref().ok().and_then(Option::as_ref).map_or_else(Vec::new, |own| own.witnesses.clone());
        let mut mark = succeed(mark, own).map_err(|problem| RestoreError::Mark { file: file.to_owned(), problem })?;
        for witness in self.witnesses() {
            if !mark.witnesses.contains(&witness) {
                mark.witnesses.push(witness);
            }
        }
        if self.has_doubt_without_witness(&mark) {
            mark.is_nothing_since = false;
        }
        if mark.is_nothing_since {
            let asked = mark.witnesses.iter().filter(|witness| !answered.contains(witness));
            self.bear_witness(&mut copy, asked).map_err(failed)??;
        }
        for name in NUMBERED {
            let own = number_of(&mut copy, name).map_err(failed)?;
            self.raise(&mut copy, name, own, &mark).map_err(failed)?;
        }
        let json = mark.to_json().map_err(|error| part.not_copied(error))?;
        let put =
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let put = diesel::sql_query(put).bind::<Text, _>(SETTING).bind::<Text, _>(json);
        put.execute(&mut copy).map_err(failed)?;
        Ok(mark)
    }

    /// What it knows that a backup after which nothing ran must have.
    fn witnesses(&self) -> Vec<Witness> {
        let Self::Known { last, mark, .. } = self else { return Vec::new() };
        let earlier = mark.iter().flatten().flat_map(|mark| mark.witnesses.clone());
        earlier.chain(last.clone()).collect()
    }

    /// Whether it came of a restore that left doubts of which the copy knows nothing, and nothing tells how far they reach.
    fn has_doubt_without_witness(&self, copy: &RestoreMark) -> bool {
        let Self::Known { mark, .. } = self else { return false };
        match mark.as_ref() {
            Ok(Some(own)) => own.witnesses.is_empty() && own.doubt() > copy.earlier_doubt,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Refuses where something ran since: a last audit row of a database that was replaced is none of the copy's.
    fn bear_witness<'a>(
        &self,
        copy: &mut SqliteConnection,
        witnesses: impl Iterator<Item = &'a Witness>,
    ) -> QueryResult<Result<(), RestoreError>> {
        let Self::Known { database, last, .. } = self else { return Ok(Ok(())) };
        for seen in witnesses {
            let known = diesel::sql_query("SELECT id, task_id, at, event FROM events WHERE id = ?");
            let known: Option<Event> = known.bind::<BigInt, _>(seen.id).get_result(copy).optional()?;
            if known.map(Event::into_witness).as_ref() != Some(seen) {
                let at = jiff::Timestamp::from_millisecond(seen.at).unwrap_or_default();
                let has = if last.as_ref() == Some(seen) { "has" } else { "took the place of a database that had" };
                let found = format!("{has} {} of {} at {at:.0}", seen.event, seen.task_id);
                return Ok(Err(RestoreError::RanSince { database: database.clone(), found }));
            }
        }
        Ok(Ok(()))
    }

    /// Numbers go on where the replaced database stood.
    fn raise(&self, copy: &mut SqliteConnection, name: &str, own: i64, mark: &RestoreMark) -> QueryResult<()> {
        let reached = match self {
            Self::Known { numbers, .. } => numbers.iter().find(|(known, _)| *known == name).map_or(0, |(_, seq)| *seq),
            Self::None if mark.is_nothing_since => own,
            Self::None | Self::Unreadable => own.saturating_add(WIDE_STEP),
        };
        if reached <= own {
            return Ok(());
        }
        let raise = diesel::sql_query("UPDATE sqlite_sequence SET seq = ? WHERE name = ?");
        if raise.bind::<BigInt, _>(reached).bind::<Text, _>(name).execute(copy)? == 0 {
            let begin = diesel::sql_query("INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)");
            begin.bind::<BigInt, _>(reached).bind::<Text, _>(name).execute(copy)?;
        }
        Ok(())
    }
}

/// The highest number that a table has given out.
fn number_of(connection: &mut SqliteConnection, table: &str) -> QueryResult<i64> {
    let asked = diesel::sql_query("SELECT seq FROM sqlite_sequence WHERE name = ?").bind::<Text, _>(table);
    Ok(asked.get_result::<Number>(connection).optional()?.map_or(0, |number| number.seq))
}

fn stored_mark(connection: &mut SqliteConnection) -> QueryResult<Result<Option<RestoreMark>, BadMark>> {
    let asked = diesel::sql_query("SELECT value FROM settings WHERE name = ?").bind::<Text, _>(SETTING);
    let stored = asked.get_result::<Value>(connection).optional()?;
    Ok(RestoreMark::parse(stored.as_ref().map(|stored| stored.value.as_str())))
}

/// The mark in a file that nobody writes to.
pub(super) fn mark_in(file: &Path) -> Result<Option<RestoreMark>, String> {
    let mut connection = check::open(file).map_err(|error| error.to_string())?;
    let mark = stored_mark(&mut connection).map_err(|error| error.to_string())?;
    mark.map_err(|error| error.to_string())
}

/// What becomes of the doubt that the backup came with. Who says that nothing ran since it speaks of no restore before it.
fn succeed(mark: &RestoreMark, own: Result<Option<RestoreMark>, BadMark>) -> Result<RestoreMark, BadMark> {
    let mut mark = mark.clone();
    match own {
        Err(problem) if mark.is_nothing_since => return Err(problem),
        // Everything is in doubt by this restore.
        Err(_) => {}
        Ok(None) => {}
        Ok(Some(own)) => {
            mark.earlier_doubt = own.doubt();
            mark.witnesses.clone_from(&own.witnesses);
            // Nobody has told the tasks yet: that is still to be done.
            let is_to_be_told = !own.is_done && !own.is_nothing_since;
            mark.is_nothing_since &= !is_to_be_told;
        }
    }
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Timestamp;

    fn mark(at: i64, is_nothing_since: bool, is_done: bool) -> RestoreMark {
        let (file, who) = ("b".to_owned(), "0:root".to_owned());
        RestoreMark {
            at: Timestamp(at),
            file,
            who,
            is_nothing_since,
            is_done,
            earlier_doubt: None,
            witnesses: Vec::new(),
        }
    }

    fn bad() -> BadMark {
        RestoreMark::parse(Some("{")).expect_err("it cannot be read")
    }

    #[test]
    fn a_doubt_outlives_every_restore_after_it() {
        let fresh = |is_nothing_since| mark(9, is_nothing_since, false);
        let clean = succeed(&fresh(true), Ok(None)).expect("no mark before");
        assert_eq!((clean.is_nothing_since, clean.doubt()), (true, None));
        let told = succeed(&fresh(true), Ok(Some(mark(5, false, true)))).expect("a mark");
        assert_eq!((told.is_nothing_since, told.doubt()), (true, Some(Timestamp(5))));
        let twice = succeed(&fresh(true), Ok(Some(told))).expect("a mark");
        assert_eq!(twice.doubt(), Some(Timestamp(5)));
        // Restored, and not started yet: its tasks are still to be held.
        let untold = succeed(&fresh(true), Ok(Some(mark(5, false, false)))).expect("a mark");
        assert_eq!((untold.is_nothing_since, untold.doubt()), (false, Some(Timestamp(9))));
        let doubted = succeed(&fresh(false), Ok(Some(mark(5, false, true)))).expect("a mark");
        assert_eq!(doubted.doubt(), Some(Timestamp(9)));
        assert!(succeed(&fresh(true), Err(bad())).is_err(), "what cannot be read clears nothing");
        assert_eq!(succeed(&fresh(false), Err(bad())).expect("all is in doubt").doubt(), Some(Timestamp(9)));
    }
}
