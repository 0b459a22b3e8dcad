//! Answers that are longer than a message: several replies, whose lists and texts are to be joined.
//!
//! The next reply is made when the one before has been written, so that an answer costs no more memory than a reply of it,
//! however long it is and however slowly it is read.

use futures_util::future::Future;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;

use super::api::ApiError;

/// How many bytes of a list or a text go into one reply where the caller takes several. Written as JSON they may become six
/// times as many, which fits into a message.
pub const PART_BYTES: usize = 1 << 20;

/// One reply of several.
#[derive(Clone, PartialEq, Debug)]
pub struct InPart<T> {
    /// What it carries.
    pub reply: T,
    /// Whether no other follows.
    pub is_last: bool,
}

/// The replies of one call, made as they are read.
pub type Parts<T> = BoxStream<'static, Result<InPart<T>, ApiError>>;

/// What replies are made of.
pub trait Source: Send + 'static {
    /// One of them.
    type Reply: Send;

    /// Makes the next one. Not called again after the last, or after an error.
    fn next(&mut self) -> impl Future<Output = Result<Self::Reply, ApiError>> + Send;

    /// Whether the one that was made was the last.
    fn is_over(&self) -> bool;
}

/// The replies of `source`, until its last or its first error.
pub fn replies<S: Source>(source: S) -> Parts<S::Reply> {
    let next = |source: Option<S>| async {
        let mut source = source?;
        let reply = source.next().await;
        let is_last = reply.is_err() || source.is_over();
        Some((reply.map(|reply| InPart { reply, is_last }), Some(source).filter(|_| !is_last)))
    };
    stream::unfold(Some(source), next).boxed()
}

/// A list cut into parts, each with its size as JSON: at most [`PART_BYTES`], but for one long item alone. An empty list has
/// one empty part.
pub fn cut<T: Serialize>(items: Vec<T>) -> Result<Vec<(Vec<T>, usize)>, ApiError> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for item in items {
        let size = serde_json::to_vec(&item).map_err(ApiError::internal)?.len();
        if bytes + size > PART_BYTES && !part.is_empty() {
            parts.push((std::mem::take(&mut part), std::mem::take(&mut bytes)));
        }
        bytes += size;
        part.push(item);
    }
    if !part.is_empty() || parts.is_empty() {
        parts.push((part, bytes));
    }
    Ok(parts)
}

/// Joins the part of a text that another reply brought to what is there.
pub fn join_text(whole: &mut Option<String>, part: Option<String>) {
    match (whole.as_mut(), part) {
        (Some(whole), Some(part)) => whole.push_str(&part),
        (None, part) => *whole = part,
        (Some(_), None) => {}
    }
}
