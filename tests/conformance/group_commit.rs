//! Group commit: every write is answered, in the order of its caller, and nobody disturbs anybody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use contentd::store::group_commit::{GroupCommit, LARGEST_BATCH};
use contentd::store::query::{Page, TaskFilter};
use contentd::store::write::{Write, WriteError, Written};
use contentd::store::{Backend, DbError, ReadMode, Store, Writer};
use contentd::task::TaskState;
use futures_util::future::join_all;

use super::common::*;

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn submitted(answer: Result<Written, WriteError>) -> i64 {
    match answer {
        Ok(Written::Submitted(tasks)) => tasks[0].task.seq,
        other => panic!("a submit was expected to go through: {other:?}"),
    }
}

fn many_callers(callers: usize, each: usize) {
    let (backend, queries, _directory) = real();
    let mut side = Side::of(backend, queries.clone());
    let ada = side.account("ada").id;
    let writer = Arc::new(GroupCommit::start(side.into_backend(), |error| panic!("{error}")).unwrap());
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let writer = Arc::clone(&writer);
            scope.spawn(move || {
                let numbers = (0..each).map(|n| caller * each + n);
                // All at once, each good one followed by one that is refused.
                let answers = numbers.map(|n| {
                    let bad = vec![new(task(n + 1_000_000, ada)), new(task(n, contentd::task::AccountId(99)))];
                    (writer.write(submit(vec![new(task(n, ada))])), writer.write(submit(bad)))
                });
                let answers: Vec<_> = answers.collect();
                let mut last = 0;
                for (good, bad) in answers {
                    let seq = submitted(wait(good));
                    assert!(seq > last, "the order of one caller is kept");
                    last = seq;
                    assert_eq!(wait(bad), Err(WriteError::AccountNotFound("99".into())));
                }
            });
        }
    });
    let store = Store::new(writer, Arc::new(queries), ReadMode::Blocking);
    let counts = wait(store.read(|queries| queries.counts())).unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(TaskState::Pending, (callers * each) as u64)]);
}

#[test]
fn one_caller() {
    many_callers(1, 300);
}

#[test]
fn eight_callers() {
    many_callers(8, 100);
}

#[test]
fn closing_commits_what_waits_and_refuses_what_comes() {
    let (backend, queries, directory) = real();
    let mut side = Side::of(backend, queries);
    let ada = side.account("ada").id;
    let writer = GroupCommit::start(side.into_backend(), |error| panic!("{error}")).unwrap();
    let waiting: Vec<_> = (0..50).map(|n| writer.write(submit(vec![new(task(n, ada))]))).collect();
    writer.close();
    assert!(wait(join_all(waiting)).iter().all(Result::is_ok));
    let late = wait(writer.write(submit(vec![new(task(99, ada))])));
    assert!(matches!(late, Err(WriteError::Db(DbError::Refused(_)))), "{late:?}");
    // Closed means closed: the lock is free and the tasks are there.
    let opened = open(&directory.path().join("contentd.db"));
    let side = Side::of(opened.backend, opened.queries);
    assert_eq!(side.queries.tasks(&TaskFilter::default(), Page::first(99)).unwrap().len(), 50);
}

#[test]
fn an_answer_that_nobody_waits_for_stands() {
    let (backend, queries, _directory) = real();
    let mut side = Side::of(backend, queries.clone());
    let ada = side.account("ada").id;
    let writer = GroupCommit::start(side.into_backend(), |error| panic!("{error}")).unwrap();
    drop(writer.write(submit(vec![new(task(1, ada))])));
    drop(writer);
    assert_eq!(contentd::store::query::Queries::counts(&queries).unwrap()[&TaskState::Pending], 1);
}

/// Notes the sizes of its batches, waits to be let on, and fails as it is told.
struct Scripted {
    sizes: Arc<Mutex<Vec<usize>>>,
    go: mpsc::Receiver<Result<(), DbError>>,
}

impl Backend for Scripted {
    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<Written, WriteError>>, DbError> {
        self.sizes.lock().unwrap().push(batch.len());
        self.go.recv_timeout(Duration::from_secs(60)).expect("the test lets every batch on")?;
        Ok(batch.iter().map(|_| Ok(Written::Stored)).collect())
    }
}

fn put() -> Write {
    Write::PutSetting { name: "x".into(), value: None }
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came to be");
        std::thread::yield_now();
    }
}

#[test]
fn what_comes_during_a_commit_is_the_next_batch() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let (go, let_on) = mpsc::channel();
    let scripted = Scripted { sizes: Arc::clone(&sizes), go: let_on };
    let writer = GroupCommit::start(scripted, |error| panic!("{error}")).unwrap();
    let first = writer.write(put());
    wait_for(|| sizes.lock().unwrap().len() == 1);
    let others: Vec<_> = (0..LARGEST_BATCH + 10).map(|_| writer.write(put())).collect();
    for _ in 0..3 {
        go.send(Ok(())).unwrap();
    }
    assert_eq!(wait(first), Ok(Written::Stored));
    assert!(wait(join_all(others)).iter().all(Result::is_ok));
    assert_eq!(*sizes.lock().unwrap(), [1, LARGEST_BATCH, 10]);
}

#[test]
fn a_fatal_failure_is_told_once_and_answered_for_ever() {
    let told = Arc::new(AtomicUsize::new(0));
    let (go, let_on) = mpsc::channel();
    let scripted = Scripted { sizes: Arc::default(), go: let_on };
    let count = Arc::clone(&told);
    let on_fatal = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let writer = GroupCommit::start(scripted, on_fatal).unwrap();
    let full = DbError::StorageFull("database or disk is full".into());
    go.send(Err(full.clone())).unwrap();
    assert_eq!(wait(writer.write(put())), Err(WriteError::Db(full)));
    go.send(Ok(())).unwrap();
    assert_eq!(wait(writer.write(put())), Ok(Written::Stored), "a full disk is no end");
    assert_eq!(told.load(Ordering::SeqCst), 0);

    let broken = DbError::Fatal("disk I/O error".into());
    go.send(Err(broken.clone())).unwrap();
    for _ in 0..3 {
        assert_eq!(wait(writer.write(put())), Err(WriteError::Db(broken.clone())));
    }
    assert_eq!(told.load(Ordering::SeqCst), 1);
    writer.close();
    assert_eq!(wait(writer.write(put())), Err(WriteError::Db(broken)));
}

/// Panics at its first batch.
struct Panicking;

impl Backend for Panicking {
    fn commit(&mut self, _: &[Write]) -> Result<Vec<Result<Written, WriteError>>, DbError> {
        panic!("a bug in the backend")
    }
}

#[test]
fn a_panic_is_a_fatal_failure() {
    let (tell, told) = mpsc::channel();
    let writer = GroupCommit::start(Panicking, move |error| tell.send(error).unwrap()).unwrap();
    assert!(matches!(wait(writer.write(put())), Err(WriteError::Db(DbError::Fatal(_)))));
    assert!(matches!(told.recv_timeout(Duration::from_secs(60)), Ok(DbError::Fatal(_))));
}
