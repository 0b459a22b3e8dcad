//! A stream of answers to one reader that may be slow or gone.
//!
//! The writing side never waits: a reader whose queue is full is dropped and told so, and nobody else is slowed. The
//! writing side learns of a reader that is gone from [`Feed::send`] or [`Feed::closed`], and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::api::ApiError;

/// The writing side. Dropping it ends the stream in order.
#[derive(Debug)]
pub struct Feed<T> {
    sender: mpsc::Sender<Result<T, ApiError>>,
    has_lagged: Arc<AtomicBool>,
}

/// The reading side, held by the connection.
#[derive(Debug)]
pub struct FeedReader<T> {
    receiver: mpsc::Receiver<Result<T, ApiError>>,
    has_lagged: Arc<AtomicBool>,
}

/// The reader is gone or was too slow: stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader is gone")]
pub struct ReaderGone;

/// How many answers wait for a reader before it counts as too slow.
pub const FEED_CAPACITY: usize = 1024;

/// Makes both sides.
pub fn feed<T>(capacity: usize) -> (Feed<T>, FeedReader<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let has_lagged = Arc::new(AtomicBool::new(false));
    (Feed { sender, has_lagged: Arc::clone(&has_lagged) }, FeedReader { receiver, has_lagged })
}

impl<T> Feed<T> {
    /// Hands an answer on without waiting. On `Err` the caller drops the feed.
    pub fn send(&self, item: T) -> Result<(), ReaderGone> {
        self.put(Ok(item))
    }

    /// Ends the stream with a refusal; nothing may follow.
    pub fn fail(self, error: ApiError) {
        // A reader that is gone needs no refusal.
        let _ = self.put(Err(error));
    }

    /// Resolves when the reader is gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    fn put(&self, item: Result<T, ApiError>) -> Result<(), ReaderGone> {
        if self.has_lagged.load(Ordering::Acquire) {
            return Err(ReaderGone);
        }
        self.sender.try_send(item).map_err(|error| {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                self.has_lagged.store(true, Ordering::Release);
            }
            ReaderGone
        })
    }
}

impl<T> FeedReader<T> {
    /// The next answer; `None` at the end in order. A reader that was too slow gets what was queued, then
    /// [`ApiError::WatcherTooSlow`] in place of an end that would look like one in order.
    pub async fn next(&mut self) -> Option<Result<T, ApiError>> {
        if let Some(item) = self.receiver.recv().await {
            return Some(item);
        }
        self.has_lagged.swap(false, Ordering::AcqRel).then_some(Err(ApiError::WatcherTooSlow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_slow_reader_is_told_and_an_orderly_end_is_an_end() {
        let (writer, mut reader) = feed(2);
        assert_eq!(writer.send(1), Ok(()));
        assert_eq!(writer.send(2), Ok(()));
        assert_eq!(writer.send(3), Err(ReaderGone));
        assert_eq!(writer.send(4), Err(ReaderGone), "once too slow is always too slow");
        drop(writer);
        assert_eq!(reader.next().await, Some(Ok(1)));
        assert_eq!(reader.next().await, Some(Ok(2)));
        assert_eq!(reader.next().await, Some(Err(ApiError::WatcherTooSlow)));
        assert_eq!(reader.next().await, None);

        let (writer, mut reader) = feed(2);
        assert_eq!(writer.send(1), Ok(()));
        drop(writer);
        assert_eq!(reader.next().await, Some(Ok(1)));
        assert_eq!(reader.next().await, None);
    }

    #[actix_rt::test]
    async fn a_reader_that_is_gone_stops_the_writer() {
        let (writer, reader) = feed::<u8>(2);
        drop(reader);
        assert_eq!(writer.send(1), Err(ReaderGone));
        writer.closed().await;
    }
}
