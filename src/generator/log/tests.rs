//! The log store: what is kept, what is counted, what makes way.

use super::*;

fn entry(verb: Verb, text: &str) -> LogEntry {
    LogEntry::now(1, verb, "exit 1", Some("unavailable"), text.to_owned())
}

fn store(bounds: Bounds) -> (tempfile::TempDir, GeneratorLogs) {
    let state = tempfile::tempdir().expect("a temporary directory");
    let logs = GeneratorLogs::with_bounds(state.path(), bounds);
    (state, logs)
}

fn texts(log: &TaskLog) -> Vec<&str> {
    log.entries.iter().map(|entry| entry.text.as_str()).collect()
}

#[test]
fn what_was_written_is_read_again_byte_for_byte_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (state, logs) = store(BOUNDS);
    let hostile = "\u{1b}[2J\0\r\n\u{202e}\"quoted\"\n{\"dropped\":7}\n";
    let task = TaskId::from("task-a");
    assert_eq!(logs.read(&task).expect("nothing there is no fault"), TaskLog::default());
    assert!(!state.path().join("logs").exists(), "a look makes nothing");
    logs.put(&task, entry(Verb::Submit, hostile));
    let log = logs.read(&task).expect("read");
    assert_eq!(texts(&log), [hostile]);
    let found = &log.entries[0];
    assert_eq!((found.attempt, found.verb, found.end.as_str()), (1, Verb::Submit, "exit 1"));
    assert_eq!((found.outcome.as_deref(), found.times), (Some("unavailable"), 1));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state.path().join("logs")), 0o700);
    assert_eq!(mode(&state.path().join("logs/task-a.jsonl")), 0o600);
}

#[test]
fn what_a_verb_says_again_is_counted_even_with_other_verbs_between() {
    let (state, logs) = store(BOUNDS);
    let task = TaskId::from("task-a");
    for _ in 0..50 {
        logs.put(&task, entry(Verb::Poll, "redis is down"));
        logs.put(&task, entry(Verb::Fetch, "not there"));
    }
    logs.put(&task, LogEntry { attempt: 2, ..entry(Verb::Poll, "redis is down") });
    logs.put(&task, entry(Verb::Fetch, "gone"));
    logs.put(&task, entry(Verb::Fetch, "not there"));
    let log = logs.read(&task).expect("read");
    assert_eq!(texts(&log), ["redis is down", "not there", "redis is down", "gone", "not there"]);
    let times: Vec<u32> = log.entries.iter().map(|entry| entry.times).collect();
    assert_eq!(times, [50, 50, 1, 1, 1]);
    assert!(log.entries[0].last_at >= log.entries[0].at);
    // Also when the daemon was started anew in between.
    logs.close();
    let logs = GeneratorLogs::new(state.path());
    logs.put(&task, entry(Verb::Fetch, "not there"));
    assert_eq!(logs.read(&task).expect("read").entries[4].times, 2);
}

#[test]
fn a_call_keeps_its_beginning_and_its_end() {
    let (_state, logs) = store(Bounds { call: 400, ..BOUNDS });
    let task = TaskId::from("task-a");
    logs.put(&task, entry(Verb::Submit, &format!("first {} last", "ä".repeat(5_000_000))));
    let log = logs.read(&task).expect("read");
    let text = &log.entries[0].text;
    assert!(text.starts_with("first ä") && text.ends_with("ä last") && text.contains("bytes left out"), "{text}");
    assert!(text.len() < 460, "{}", text.len());
    assert_eq!(bounded("short", 400), "short");
}

#[test]
fn a_task_keeps_its_newest_entries_and_says_how_many_made_way() {
    let bounds = Bounds { call: 1000, task: 4000, all: 1 << 30 };
    let (state, logs) = store(bounds);
    let task = TaskId::from("task-a");
    for number in 0..100 {
        logs.put(&task, entry(Verb::Poll, &format!("{number} {}", "x".repeat(300))));
        let log = logs.read(&task).expect("read");
        assert_eq!(log.dropped + log.entries.len() as u64, number + 1, "every one is there or counted");
        assert!(log.entries.last().expect("the newest").text.starts_with(&format!("{number} ")));
        assert!(fs::metadata(state.path().join("logs/task-a.jsonl")).expect("there").len() <= bounds.task);
    }
    assert!(logs.read(&task).expect("read").dropped > 50);
    // Control characters are six bytes each in the file.
    logs.put(&task, entry(Verb::Poll, &"\u{1}".repeat(900)));
    let log = logs.read(&task).expect("read");
    assert_eq!(log.entries.last().expect("the newest").text, "\u{1}".repeat(900));
}

#[test]
fn all_together_keep_to_their_bound_and_the_oldest_goes_first() {
    let bounds = Bounds { all: 20 * BLOCK, ..BOUNDS };
    let (state, logs) = store(bounds);
    let dir = state.path().join("logs");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("notes.txt"), "somebody else's").expect("written");
    let name = |number: u32| TaskId(format!("task-{number:03}"));
    for number in 0..60_u32 {
        logs.put(&name(number), entry(Verb::Poll, "x"));
        logs.read(&name(number)).expect("read");
        // File systems keep times coarsely: each one is told its own.
        let at = UNIX_EPOCH + Duration::from_secs(1_000_000 + u64::from(number));
        let file = fs::File::options().write(true).open(dir.join(format!("task-{number:03}.jsonl"))).expect("there");
        file.set_modified(at).expect("set");
        assert!(listed(&dir).expect("listed").iter().map(|log| log.bytes).sum::<u64>() <= bounds.all);
    }
    assert!(logs.read(&name(0)).expect("read").entries.is_empty(), "the oldest went");
    assert_eq!(logs.read(&name(59)).expect("read").entries.len(), 1, "the newest stays");
    assert!(dir.join("notes.txt").exists());
}

#[test]
fn logs_go_with_their_tasks_and_with_their_age() {
    let (state, logs) = store(BOUNDS);
    let [a, b, c] = ["task-a", "task-b", "task-c"].map(TaskId::from);
    for task in [&a, &b, &c] {
        logs.put(task, entry(Verb::Poll, "x"));
    }
    logs.remove(vec![a.clone(), "../../etc/passwd".into()]);
    assert!(logs.read(&a).expect("read").entries.is_empty());
    let old = fs::File::options().write(true).open(state.path().join("logs/task-b.jsonl")).expect("there");
    old.set_modified(SystemTime::now() - Duration::from_secs(1000)).expect("set");
    logs.sweep(Duration::from_secs(500));
    assert!(logs.read(&b).expect("read").entries.is_empty());
    assert_eq!(logs.read(&c).expect("read").entries.len(), 1);
}

#[test]
fn half_a_line_of_a_lost_machine_hides_nothing_else() {
    let (state, logs) = store(BOUNDS);
    let task = TaskId::from("task-a");
    logs.put(&task, entry(Verb::Submit, "first"));
    logs.read(&task).expect("read");
    let path = state.path().join("logs/task-a.jsonl");
    let mut text = fs::read(&path).expect("read");
    text.extend_from_slice(b"{\"times\":         1,\"last_at\":   17698");
    fs::write(&path, text).expect("written");
    assert_eq!(texts(&logs.read(&task).expect("read")), ["first"]);
    logs.put(&task, entry(Verb::Poll, "second"));
    assert_eq!(texts(&logs.read(&task).expect("read")), ["first", "second"]);
}

#[test]
fn a_place_that_cannot_be_written_fails_nobody() {
    let state = tempfile::tempdir().expect("a temporary directory");
    fs::write(state.path().join("logs"), "a file in place of the directory").expect("written");
    let logs = GeneratorLogs::new(state.path());
    logs.put(&"task-a".into(), entry(Verb::Poll, "x"));
    assert!(logs.read(&"task-a".into()).is_err(), "a reader is told");
    logs.close();
    logs.put(&"task-a".into(), entry(Verb::Poll, "after the end"));
}

#[test]
fn a_link_in_place_of_a_log_is_not_followed() {
    let (state, logs) = store(BOUNDS);
    let precious = state.path().join("precious");
    fs::write(&precious, "precious").expect("written");
    fs::create_dir(state.path().join("logs")).expect("made");
    std::os::unix::fs::symlink(&precious, state.path().join("logs/task-a.jsonl")).expect("linked");
    logs.put(&"task-a".into(), entry(Verb::Poll, "x"));
    assert!(logs.read(&"task-a".into()).is_err());
    assert_eq!(fs::read_to_string(precious).expect("read"), "precious");
}

#[test]
fn whoever_follows_hears_of_growth() {
    let (_state, logs) = store(BOUNDS);
    let mut changes = logs.watch();
    logs.put(&"task-a".into(), entry(Verb::Poll, "x"));
    logs.read(&"task-a".into()).expect("read");
    assert_eq!(changes.try_recv().expect("told"), TaskId::from("task-a"));
}
