//! Has generators learn from their past jobs, which the store knows.

use crate::generator::registry::Generator;
use crate::store::{DbError, Store};
use crate::task::Timestamp;
use crate::task::learning::JOBS_LOOKED_AT;

/// Reads how long past jobs took, and lets the generator learn from it.
pub async fn learn(generator: &Generator, store: &Store, now: Timestamp) -> Result<(), DbError> {
    let name = generator.name.clone();
    let past = store.read(move |queries| queries.past_jobs(&name, JOBS_LOOKED_AT)).await?;
    let (name, since) = (generator.name.clone(), generator.hopeful_since(now, &past));
    let oldest = store.read(move |queries| queries.oldest_job(&name, since)).await?;
    generator.learn(&past, oldest);
    Ok(())
}
