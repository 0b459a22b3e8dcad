//! Calls from outside never use up the readers: one is always left for the actors.

use std::sync::{Arc, Mutex, mpsc};

use contentd::store::{InlineWriter, ReadMode, Store, sqlite};

#[tokio::test]
async fn questions_from_outside_leave_a_reader_for_the_actors() {
    let dir = tempfile::tempdir().unwrap();
    let opened = sqlite::open(&dir.path().join("a.db"), 2).unwrap();
    let writer = Arc::new(InlineWriter::new(Arc::new(Mutex::new(opened.backend))));
    let actors = Store::new(writer, Arc::new(opened.queries), ReadMode::Blocking);
    let calls = actors.with_read_limit(1);
    let (release, held) = mpsc::channel::<()>();
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let slow = calls.clone();
    let slow = tokio::spawn(async move {
        let ask = move |queries: &dyn contentd::store::query::Queries| {
            begun.send(()).unwrap();
            held.recv().unwrap();
            queries.accounts()
        };
        slow.read(ask).await.unwrap()
    });
    is_begun.await.unwrap();
    let second = tokio::spawn(async move { calls.read(|queries| queries.accounts()).await.unwrap() });
    // The actors' question is answered while one call is at its own and another waits for it.
    assert!(actors.read(|queries| queries.accounts()).await.unwrap().is_empty());
    assert!(!second.is_finished());
    release.send(()).unwrap();
    assert!(slow.await.unwrap().is_empty() && second.await.unwrap().is_empty());
}
