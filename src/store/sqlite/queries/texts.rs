//! Long texts, part by part. SQLite reads a whole text for each part of it, and gives up its memory with the answer: what a
//! reader holds is its part.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::super::connection::optional;
use crate::store::DbError;
use crate::store::query::{LongText, TextPart};

#[derive(QueryableByName)]
struct Part {
    #[diesel(sql_type = Nullable<Binary>)]
    bytes: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    total: Option<i64>,
}

/// Bytes and not characters are counted: SQLite would walk through a whole text for a place in it, and end it at a NUL.
macro_rules! part_of {
    ($column:literal, $row:literal) => {
        concat!(
            "SELECT substr(CAST(",
            $column,
            " AS BLOB), ?1, ?2) AS bytes, octet_length(",
            $column,
            ") AS total FROM ",
            $row
        )
    };
}

pub fn part(
    connection: &mut SqliteConnection,
    text: &LongText,
    from: u64,
    most: u32,
) -> Result<Option<TextPart>, DbError> {
    // SQLite counts from 1.
    let start = i64::try_from(from).unwrap_or(i64::MAX).saturating_add(1);
    let asked = |sql: &'static str| diesel::sql_query(sql).bind::<BigInt, _>(start).bind::<BigInt, _>(i64::from(most));
    let found = match text {
        LongText::Piece(id) => {
            let asked = asked(part_of!("content", "contents WHERE id = ?3"));
            asked.bind::<BigInt, _>(id.0).get_result::<Part>(connection)
        }
        LongText::Html(id) => {
            let asked = asked(part_of!("html_content", "contents WHERE id = ?3"));
            asked.bind::<BigInt, _>(id.0).get_result::<Part>(connection)
        }
        LongText::RawOutput(task, attempt) => {
            let asked = asked(part_of!("raw_output", "attempts WHERE task_id = ?3 AND number = ?4"));
            let asked = asked.bind::<Text, _>(task.as_str()).bind::<BigInt, _>(i64::from(*attempt));
            asked.get_result::<Part>(connection)
        }
    };
    let found = optional(found)?.and_then(|part| Some((part.bytes?, part.total?)));
    Ok(found.map(|(bytes, total)| TextPart::of(bytes, from, u64::try_from(total).unwrap_or(0))))
}
