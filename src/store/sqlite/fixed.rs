//! SQL that is written out and prepared once a connection.
//!
//! - [`Fixed`]: a condition with its values in it, because SQLite takes a partial index only where the condition stands in
//!   the statement itself
//! - [`Asked`]: a whole statement
//!
//! Nothing here may depend on input: each text is kept for ever. The surprise: Diesel prepares whatever holds a `sql(…)`
//! literal, `sql_query` or `eq_any` anew at each call, which costs more than many of them take to run.

use diesel::expression::{Expression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Text, Untyped};
use diesel::sqlite::Sqlite;

/// SQL that never changes.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub &'static str);

impl Expression for Fixed {
    type SqlType = Bool;
}

impl ValidGrouping<()> for Fixed {
    type IsAggregate = is_aggregate::Never;
}

impl QueryId for Fixed {
    type QueryId = ();
    // Statements with it are known by their text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Sqlite> for Fixed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(self.0);
        Ok(())
    }
}

// True of no table in particular: whoever writes one names the columns of a table that stands in the statement.
impl<Q> AppearsOnTable<Q> for Fixed {}
impl<Q> SelectableExpression<Q> for Fixed {}

/// A statement with its values, which stand at its question marks.
pub struct Asked {
    sql: &'static str,
    values: Vec<Value>,
}

enum Value {
    Number(i64),
    Text(String),
}

impl Asked {
    /// The statement; each question mark in it stands for a value.
    pub fn new(sql: &'static str) -> Self {
        Self { sql, values: Vec::new() }
    }

    /// Binds the next value.
    pub fn number(mut self, value: i64) -> Self {
        self.values.push(Value::Number(value));
        self
    }

    /// Binds the next value.
    pub fn text(mut self, value: &str) -> Self {
        self.values.push(Value::Text(value.to_owned()));
        self
    }
}

impl Query for Asked {
    // Rows are read by the names of their columns.
    type SqlType = Untyped;
}

impl QueryId for Asked {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Sqlite> for Asked {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut parts = self.sql.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        let mut values = self.values.iter();
        for part in parts {
            match values.next() {
                Some(Value::Number(number)) => out.push_bind_param::<BigInt, _>(number)?,
                Some(Value::Text(text)) => out.push_bind_param::<Text, _>(text)?,
                None => return Err(Error::QueryBuilderError(format!("too few values for {}", self.sql).into())),
            }
            out.push_sql(part);
        }
        match values.next() {
            Some(_) => Err(Error::QueryBuilderError(format!("too many values for {}", self.sql).into())),
            None => Ok(()),
        }
    }
}

impl<C> RunQueryDsl<C> for Asked {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        number: i64,
        #[diesel(sql_type = Text)]
        text: String,
    }

    const BOTH: &str = "SELECT ? AS number, ? AS text WHERE ? = 1";

    #[test]
    fn values_stand_where_the_question_marks_are_and_each_call_brings_its_own() {
        let mut connection = SqliteConnection::establish(":memory:").expect("opened");
        for (number, text) in [(7, "it's"), (-1, "?")] {
            let rows: Vec<Row> =
                Asked::new(BOTH).number(number).text(text).number(1).load(&mut connection).expect("asked");
            assert_eq!(rows.iter().map(|row| (row.number, row.text.as_str())).collect::<Vec<_>>(), [(number, text)]);
        }
    }

    #[test]
    fn a_statement_without_all_its_values_is_not_asked() {
        let mut connection = SqliteConnection::establish(":memory:").expect("opened");
        for (asked, word) in [
            (Asked::new(BOTH).number(1).text("a"), "few"),
            (Asked::new(BOTH).number(1).text("a").number(1).number(1), "many"),
        ] {
            let error = asked.load::<Row>(&mut connection).err().expect("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
