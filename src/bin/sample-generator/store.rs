//! The sample's memory: one JSON file a job, counters of the switches, and the log of what was paid.
//!
//! There is no server and no worker: a job is a promise with a time, and its state is read off the clock. Everything that
//! changes a file does so under one lock on the directory and by rename, so that many calls at once, killed anywhere,
//! leave whole files. The surprise: the lock is never held while a switch makes a call hang.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A job that was taken (and, by the sample's books, paid).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The caller's key, or one that we made up.
    pub key: String,
    /// The topic with its marks, as it came.
    pub topic: String,
    /// The requirements, as they came; a caller's mark travels here.
    pub requirements: String,
    /// The tone, or empty.
    pub tone: String,
    /// The keywords.
    pub keywords: Vec<String>,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// How long it takes, in milliseconds.
    pub duration_ms: u64,
    /// Whether it will end failed: decided when it was made.
    pub will_fail: bool,
    /// When a cancel was accepted.
    pub cancelled_at_ms: Option<u64>,
}

/// Where a job stands, read off the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taken, not begun: the first tenth of its time.
    Submitted,
    /// Being written; percent done.
    Processing(u8),
    /// Done.
    Completed,
    /// Ended without a piece.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl Job {
    /// The job's stage at a moment.
    pub fn stage(&self, now_ms: u64) -> Stage {
        let elapsed = now_ms.saturating_sub(self.created_at_ms);
        if self.cancelled_at_ms.is_some() {
            return Stage::Cancelled;
        }
        if elapsed >= self.duration_ms {
            return if self.will_fail { Stage::Failed } else { Stage::Completed };
        }
        let percent = elapsed * 100 / self.duration_ms.max(1);
        if percent < 10 { Stage::Submitted } else { Stage::Processing(u8::try_from(percent).unwrap_or(99)) }
    }
}

/// Milliseconds since 1970 by the system's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A stable 64-bit hash (FNV-1a): names files and seeds the text, and must not change between two runs.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The directory with everything in it.
pub struct Store {
    dir: PathBuf,
}

/// The lock on the directory; free when dropped or when the process dies.
pub struct Locked<'a> {
    store: &'a Store,
    _file: File,
}

impl Store {
    /// Opens the directory, making it where it is missing.
    pub fn open(dir: &Path) -> io::Result<Self> {
        for part in ["jobs", "covers", "counters"] {
            fs::create_dir_all(dir.join(part))?;
        }
        Ok(Self { dir: std::path::absolute(dir)? })
    }

    /// Takes the directory's lock, waiting for it.
    pub fn lock(&self) -> io::Result<Locked<'_>> {
        let file = OpenOptions::new().create(true).append(true).open(self.dir.join("lock"))?;
        file.lock()?;
        Ok(Locked { store: self, _file: file })
    }

    /// The switches in the file `faults`, or nothing.
    pub fn faults(&self) -> String {
        fs::read_to_string(self.dir.join("faults")).unwrap_or_default()
    }

    /// Where the cover of a job is.
    pub fn cover_path(&self, key: &str) -> PathBuf {
        self.dir.join("covers").join(format!("{key}.svg"))
    }

    /// One job, if there is such a key.
    pub fn job(&self, key: &str) -> io::Result<Option<Job>> {
        match fs::read(self.job_path(key)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All jobs, newest first.
    pub fn jobs(&self) -> io::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(self.dir.join("jobs"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                jobs.push(serde_json::from_slice::<Job>(&fs::read(path)?)?);
            }
        }
        jobs.sort_by(|a, b| (b.created_at_ms, &b.key).cmp(&(a.created_at_ms, &a.key)));
        Ok(jobs)
    }

    fn job_path(&self, key: &str) -> PathBuf {
        self.dir.join("jobs").join(format!("{key}.json"))
    }
}

impl Locked<'_> {
    /// Writes a job so that a reader sees the old file or the new one, whole.
    pub fn save(&self, job: &Job) -> io::Result<()> {
        self.replace(&self.store.job_path(&job.key), &serde_json::to_vec(job)?)
    }

    /// Writes a cover picture.
    pub fn save_cover(&self, key: &str, svg: &str) -> io::Result<()> {
        self.replace(&self.store.cover_path(key), svg.as_bytes())
    }

    /// Notes a job that costs money: one line, `KEY<TAB>TOPIC`.
    pub fn log_paid(&self, job: &Job) -> io::Result<()> {
        let topic = job.topic.replace(['\n', '\r', '\t'], " ");
        let mut log = OpenOptions::new().create(true).append(true).open(self.store.dir.join("paid.log"))?;
        log.write_all(format!("{}\t{topic}\n", job.key).as_bytes())
    }

    /// Counts one use of a name and says how many came before it.
    pub fn count(&self, name: &str) -> io::Result<u64> {
        let path = self.store.dir.join("counters").join(format!("{:016x}", hash(name)));
        let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        self.replace(&path, (before + 1).to_string().as_bytes())?;
        Ok(before)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = path.with_extension("next");
        fs::write(&next, bytes)?;
        fs::rename(next, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(will_fail: bool) -> Job {
        Job {
            key: "k".into(),
            topic: "t".into(),
            requirements: String::new(),
            tone: String::new(),
            keywords: vec![],
            created_at_ms: 1_000,
            duration_ms: 1_000,
            will_fail,
            cancelled_at_ms: None,
        }
    }

    #[test]
    fn the_stage_is_read_off_the_clock() {
        assert_eq!(job(false).stage(0), Stage::Submitted);
        assert_eq!(job(false).stage(1_099), Stage::Submitted);
        assert_eq!(job(false).stage(1_500), Stage::Processing(50));
        assert_eq!(job(false).stage(2_000), Stage::Completed);
        assert_eq!(job(true).stage(2_000), Stage::Failed);
        assert_eq!(Job { cancelled_at_ms: Some(1_200), ..job(false) }.stage(9_000), Stage::Cancelled);
    }
}
