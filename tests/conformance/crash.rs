//! Power cuts: a writing process is killed in the middle, again and again; what it acknowledged is there.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use contentd::store::Writer;
use contentd::store::group_commit::GroupCommit;
use contentd::store::query::{Page, TaskFilter};
use contentd::task::TaskState;
use futures_util::future::join_all;

use super::common::*;

/// Set in the process that writes: the database's path and the number of its first task.
const DATABASE: &str = "CONTENTD_TEST_CRASH_DATABASE";
const FIRST: &str = "CONTENTD_TEST_CRASH_FIRST";

const ROUNDS: usize = 6;
const A_ROUND: usize = 1_000_000;
/// A batch of writes that are under way together.
const TOGETHER: usize = 8;

/// The life of the process that is killed: it writes without end and prints each number that is acknowledged.
#[test]
fn the_writer_that_is_killed() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let first: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    let opened = open(Path::new(&path));
    let mut side = Side::of(opened.backend, opened.queries);
    let ada = side.queries.find_account("ada").unwrap().unwrap_or_else(|| side.account("ada")).id;
    let writer = GroupCommit::start(side.into_backend(), |error| panic!("{error}")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = std::io::stdout().lock();
    for round in 0.. {
        let numbers: Vec<usize> = (0..TOGETHER).map(|n| first + round * TOGETHER + n).collect();
        let writes = numbers.iter().map(|n| writer.write(submit(vec![claimed(task(*n, ada), START + *n as i64)])));
        let answers = runtime.block_on(join_all(writes.collect::<Vec<_>>()));
        for (n, answer) in numbers.iter().zip(answers) {
            answer.unwrap();
            writeln!(out, "done {n}").unwrap();
        }
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contentd.db");
    let mut acknowledged = Vec::new();
    for round in 1..=ROUNDS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_writer_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(DATABASE, &path)
            .env(FIRST, (round * A_ROUND).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Killed at another place in each round, with writes under way.
        let enough = 40 + round * 37;
        let mut heard = 0;
        let mut hear = |line: String| {
            if let Some((_, number)) = line.split_once("done ") {
                acknowledged.push(number.parse::<usize>().unwrap());
                heard += 1;
            }
            heard
        };
        while hear(lines.next().expect("the writer writes until it is killed").unwrap()) < enough {}
        writer.kill().unwrap();
        // What it had said before its end counts too; a line that was cut does not.
        lines.map_while(Result::ok).filter(|line| line.len() > "done ".len() + 6).for_each(|line| {
            hear(line);
        });
        writer.wait().unwrap();
    }
    let opened = open(&path);
    let side = Side::of(opened.backend, opened.queries);
    for n in &acknowledged {
        let (task, attempt) = side.queries.task(&id(*n)).unwrap().unwrap_or_else(|| panic!("task {n} is lost"));
        assert_eq!(task.state, TaskState::Submitting);
        assert_eq!(attempt.expect("its intent").key, key_of(&id(*n), START + *n as i64));
        assert_eq!(side.queries.history(&id(*n)).unwrap().len(), 2);
    }
    // Nothing half: every task has its attempt, and the counters are right.
    let all = side.queries.tasks(&TaskFilter::default(), Page::first(u32::MAX)).unwrap();
    assert!(all.len() >= acknowledged.len() && all.iter().all(|task| task.attempt == 1));
    assert_eq!(side.queries.counts().unwrap()[&TaskState::Submitting], all.len() as u64);
    assert_eq!(side.queries.active().unwrap().len(), all.len());
}
