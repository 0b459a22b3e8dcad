//! Diesel on a thread of its own, asked and answered through a channel.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use contentd::store::Backend;
use contentd::store::sqlite::{self, SqliteBackend};
use contentd::store::write::Write;
use contentd::task::Timestamp;
use diesel::prelude::*;

use super::tables::Fresh;

/// What is written of each task of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// Task and audit row: a task that waits.
    Submitted,
    /// The same, and the claim: task, two audit rows, attempt, and the task's move.
    Claimed,
}

type Asked = (Vec<Fresh>, Rows);

/// A database as contentd makes it, and the thread that writes to it.
pub struct Committer {
    asked: Option<Sender<Asked>>,
    answers: Receiver<QueryResult<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens a database as the daemon does: made anew, with one account.
pub fn open(dir: &Path) -> anyhow::Result<SqliteBackend> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    let mut backend = sqlite::open(&dir.join("floor.db"), 1)?.backend;
    let account = Write::AddAccount { name: "bench".into(), external_id: None, now: Timestamp(0) };
    for answer in backend.commit(&[account])? {
        answer?;
    }
    Ok(backend)
}

impl Committer {
    /// Starts it on a new database.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut backend = open(dir)?;
        let (asked, asks) = channel::<Asked>();
        let (answer, answers) = channel();
        let work = move || {
            while let Ok((tasks, rows)) = asks.recv() {
                let written = backend.connection().immediate_transaction(|connection| {
                    tasks.iter().try_for_each(|task| {
                        task.insert(connection)?;
                        if rows == Rows::Claimed { task.claim(connection) } else { Ok(()) }
                    })
                });
                if answer.send(written).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("floor-commit".into()).spawn(work)?;
        Ok(Self { asked: Some(asked), answers, thread: Some(thread) })
    }

    /// Has rows committed in one transaction and waits for it.
    pub fn commit(&self, tasks: Vec<Fresh>, rows: Rows) -> anyhow::Result<()> {
        let asked = self.asked.as_ref().context("the committing thread is gone")?;
        asked.send((tasks, rows)).map_err(|_| anyhow!("the committing thread is gone"))?;
        Ok(self.answers.recv()??)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.asked.take());
        if let Some(thread) = self.thread.take() {
            // It told its failures as answers.
            let _ = thread.join();
        }
    }
}
