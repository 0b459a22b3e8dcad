//! Has generators learn from their past jobs, which the store knows.

use crate::generator::registry::Generator;
use crate::store::{DbError, Store};
use crate::task::Timestamp;
use crate::task::learning::JOBS_LOOKED_AT;

/// Reads how long past jobs took, and lets the generator learn from it.
pub async fn learn(generator: &Generator, store: &Store, now: Timestamp) -> Result<(), DbError> {
    let (name, since) = (generator.name.clone(), generator.hopeful_since(now));
    let (past, oldest) = store
        .read(move |queries| Ok((queries.past_jobs(&name, JOBS_LOOKED_AT)?, queries.oldest_job(&name, since)?)))
        .await?;
    generator.learn(&past, oldest);
    Ok(())
}
