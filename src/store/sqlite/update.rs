//! Updates of rows, prepared once a connection.
//!
//! Diesel prepares its own updates anew at each call, triggers and all, which is most of what a transition costs. This writes
//! the same text of the same changeset and lets it be kept. It must be given changesets that always name the same columns
//! (`treat_none_as_null`), else texts pile up. The surprise: where it is built without `SQLITE_ENABLE_QPSG`, SQLite prepares a kept
//! statement anew too, at each binding of a value that it compared with the condition of a partial index; [`Looked`] is compared
//! with no index.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;

diesel::prefix_operator!(Looked, "+", Text, backend: Sqlite);

/// A column that no index is looked for. Its row is found by another.
pub fn looked<E>(column: E) -> Looked<E>
where
    E: Expression,
{
    Looked::new(column)
}

/// See the module.
pub struct Update<F, C, K> {
    table: F,
    changes: C,
    keys: K,
}

/// Writes `changes` into the rows of `table` that `keys` hold for.
pub fn update<T, C, K>(table: T, changes: C, keys: K) -> Update<T::FromClause, C::Changeset, K>
where
    T: QuerySource,
    C: AsChangeset<Target = T>,
{
    Update { table: table.from_clause(), changes: changes.as_changeset(), keys }
}

impl<F, C, K> QueryId for Update<F, C, K> {
    type QueryId = ();
    // Known by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<F, C, K> QueryFragment<Sqlite> for Update<F, C, K>
where
    F: QueryFragment<Sqlite>,
    C: QueryFragment<Sqlite>,
    K: QueryFragment<Sqlite>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE ");
        self.table.walk_ast(out.reborrow())?;
        out.push_sql(" SET ");
        self.changes.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.keys.walk_ast(out.reborrow())
    }
}

impl<C, F, S, K> RunQueryDsl<C> for Update<F, S, K> {}
