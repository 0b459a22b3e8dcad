//! Updates of rows, prepared once a connection.
//!
//! Diesel prepares its own updates anew at each call, triggers and all, which is most of what a transition costs. This writes
//! the same text of the same changeset and lets it be kept. It is found again by the changeset's type, without writing its text: so
//! the changeset must always name the same columns (`treat_none_as_null`); `names_all` says so of a struct.
//! The surprise: where it is built without `SQLITE_ENABLE_QPSG`, SQLite prepares a kept statement anew too, at each binding of a
//! value that it compared with the condition of a partial index; [`Looked`] is compared with no index.

use std::marker::PhantomData;

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

/// Of changesets that name the same columns whatever they hold: each is `treat_none_as_null`. Diesel derives this for no type with
/// a lifetime.
macro_rules! names_all {
    ($($changes:ident),+ $(,)?) => {$(
        impl diesel::query_builder::QueryId for $changes<'_> {
            type QueryId = $changes<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }
    )+};
}
pub(super) use names_all;

/// See the module. `N` is what its text is known by.
pub struct Update<N, F, C, K> {
    named: PhantomData<N>,
    table: F,
    changes: C,
    keys: K,
}

/// Writes `changes` into the rows of `table` that `keys` hold for.
pub fn update<T, C, K>(table: T, changes: C, keys: K) -> Update<(T, C), T::FromClause, C::Changeset, K>
where
    T: QuerySource,
    C: AsChangeset<Target = T>,
{
    Update { named: PhantomData, table: table.from_clause(), changes: changes.as_changeset(), keys }
}

impl<N, F, C, K> QueryId for Update<N, F, C, K>
where
    N: QueryId,
    F: 'static,
    K: QueryId,
{
    type QueryId = Update<N::QueryId, F, (), K::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = N::HAS_STATIC_QUERY_ID && K::HAS_STATIC_QUERY_ID;
}

impl<N, F, C, K> QueryFragment<Sqlite> for Update<N, F, C, K>
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

impl<Connection, N, F, C, K> RunQueryDsl<Connection> for Update<N, F, C, K> {}
