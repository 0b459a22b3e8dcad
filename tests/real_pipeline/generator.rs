//! The generator from behind: its own table of jobs, and its worker stopped and let go on.
//!
//! Only to know when a moment has come, which asking the generator's command would miss: that takes a second. What contentd
//! knows it must learn from the command alone.

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::wait_until;
use crate::real_rig::RealRig;

/// A job as the generator has it.
#[derive(QueryableByName, Debug)]
pub struct Job {
    /// The reference.
    #[diesel(sql_type = Text)]
    pub id: String,
    /// In the generator's words.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// Why it failed.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_message: Option<String>,
}

/// The jobs about a topic, oldest first. None before the generator has made its table.
pub fn jobs_about(rig: &RealRig, topic: &str) -> Vec<Job> {
    let path = rig.cwd.join("data/content-creator.db");
    let url = format!("file:{}?mode=ro", path.display());
    let Ok(mut connection) = SqliteConnection::establish(&url) else { return Vec::new() };
    if connection.batch_execute("PRAGMA busy_timeout = 5000").is_err() {
        return Vec::new();
    }
    let jobs = sql_query("SELECT id, status, error_message FROM tasks WHERE topic = ? ORDER BY created_at");
    jobs.bind::<Text, _>(topic).load(&mut connection).unwrap_or_default()
}

/// Waits until the jobs about a topic are as wished.
pub fn wait_for_jobs(rig: &RealRig, topic: &str, is_so: impl Fn(&[Job]) -> bool) -> Vec<Job> {
    let mut jobs = Vec::new();
    wait_until(&format!("jobs about {topic} as wished"), || {
        jobs = jobs_about(rig, topic);
        is_so(&jobs)
    });
    jobs
}

/// The generator's worker stands still as long as this lives.
pub struct StoppedWorker(Pid);

impl StoppedWorker {
    /// Stops it.
    pub fn of(rig: &RealRig) -> Self {
        let pid = rig.worker_pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("there is a worker");
        kill_process(pid, Signal::STOP).expect("the worker is a child of ours");
        Self(pid)
    }
}

impl Drop for StoppedWorker {
    fn drop(&mut self) {
        // A worker that has ended needs not go on.
        let _ = kill_process(self.0, Signal::CONT);
    }
}
