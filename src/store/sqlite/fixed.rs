//! A condition with its values written out. SQLite takes a partial index only where the condition stands in the statement
//! itself, and Diesel caches no statement with a `sql(…)` literal in it; this one it does.

use diesel::expression::{Expression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Bool;
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
