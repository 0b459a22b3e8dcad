//! Generators that count what would be paid for: each external job is one appended line, `KEY KIND TOPIC`.
//!
//! Kinds of one program: `counted` takes our key for its own, `found` can be searched, `blind` can neither, `runs` blocks. `brief` and
//! `patient` are blind too, with other limits on the time of their submit. What a topic says between brackets makes it behave badly, once for each job: `[slow]` takes its time, `[mute]` makes the job and
//! never answers, `[die]` makes it and dies, `[twice]` answers twice, `[late]` tells it finished at the second look, `[gate]` makes it
//! and answers when the file `gate` is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::live::Home;

const PROGRAM: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 9
verb=$1 key=$2 kind=$3 topic=$4
# One that knows no key gets it as a mark.
key=${key#"[ref:"} key=${key%]}
is_new=
case $verb in submit | write)
  case $topic in *'[slow]'*) sleep 0.3 ;; esac
  # For an idempotent generator the same key is the same job. Nobody else ever asks with a key that is in use.
  if [ "$kind" != counted ] || ! grep -q "^$key " jobs 2>/dev/null; then
    is_new=1
    printf '%s %s %s\n' "$key" "$kind" "$topic" >>jobs
  fi
  case $is_new$topic in
    1*'[gate]'*) : >"waiting-${topic%% *}"; while [ ! -e gate ]; do sleep 0.02; done ;;
    # A blocking one has nobody whom it could leave without an answer: it is only slow.
    1*'[mute]'*) sleep 2; [ "$verb" = write ] || exit 0 ;;
    1*'[die]'*) if mkdir "died-${topic%% *}" 2>/dev/null; then kill -9 $$; fi ;;
  esac
esac
case $verb in
  submit)
    echo "ref: j-$key"
    : >"answered-${topic%% *}"
    case $topic in *'[twice]'*) echo "ref: j-$key" ;; esac ;;
  write) printf '# %s\n\nA piece that was asked for under %s, and it is long enough.\n' "$topic" "$key" ;;
  poll)
    topic=$(grep "^${key#j-} " jobs) || { echo "unknown" >&2; exit 4; }
    case $topic in *'[late]'*) if mkdir "late-$key" 2>/dev/null; then echo '{"status": "working"}'; exit; fi ;; esac
    echo '{"status": "completed"}' ;;
  fetch) printf 'A piece that was asked for under %s, and it is long enough.\n' "$key" ;;
  list)
    # Here the key is the limit and the kind the offset.
    awk -v limit="$key" -v offset="$kind" '
      $2 == "found" { n++; if (n > offset && n <= offset + limit) {
        printf "%s{\"id\": \"j-%s\", \"status\": \"completed\", \"mark\": \"[ref:%s]\"}", (some++ ? ", " : "["), $1, $1 } }
      END { print some ? "]" : "[]" }' jobs 2>/dev/null || echo '[]' ;;
esac
"#;

/// The kinds that a random task may have.
pub const KINDS: [&str; 4] = ["counted", "found", "blind", "runs"];
/// The moods that a topic may ask for.
pub const MOODS: [&str; 8] = ["", "", "", "[slow]", "[mute]", "[die]", "[twice]", "[late]"];

/// Puts the program into a home and gives the sections of its kinds.
pub fn sections(home: &Home) -> String {
    let program = home.path("job");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.path("jobs"), "").unwrap();
    let program = program.display();
    let dir = home.path("");
    let dir = dir.display();
    let answering = |kind: &str, seconds: u32, key: &str, more: &str| {
        format!(
            r#"
[generators.{kind}]
max_in_flight = 12
cwd = "{dir}"
{more}
[generators.{kind}.submit]
run = ["{program}", "submit", "{key}", "{kind}", "{{topic}}"]
timeout = "{seconds}s"
ref = 're:(?m)^ref: (\S+)$'
[generators.{kind}.fetch]
run = ["{program}", "fetch", "{{ref}}"]
content = "text"
[generators.{kind}.states]
working = "processing"
completed = "completed"
"#
        )
    };
    let poll = |kind: &str| {
        format!("[generators.{kind}.poll]\nrun = [\"{program}\", \"poll\", \"{{ref}}\"]\nstate = \"json:/status\"\n")
    };
    let list = format!(
        r#"
[generators.found.poll]
run = ["{program}", "list", "{{batch_limit}}", "{{batch_offset}}"]
batch = 200
max_pages = 50
items = "json:"
key = "json:/id"
state = "json:/status"
[generators.found.find]
like = "poll"
match = "json:/mark"
mark = "[ref:{{key}}]"
"#
    );
    let runs = format!(
        r#"
[generators.runs]
detached = true
max_in_flight = 12
cwd = "{dir}"
[generators.runs.submit]
run = ["{program}", "write", "{{key}}", "runs", "{{topic}}"]
content = "text"
"#
    );
    [
        answering("counted", 1, "{key}", "idempotent = true") + &poll("counted"),
        answering("found", 1, "[ref:{key}]", "settle = \"1s\"\nfind_limit = \"5m\"") + &list,
        answering("blind", 1, "{key}", "") + &poll("blind"),
        answering("brief", 3, "{key}", "") + &poll("brief"),
        answering("patient", 60, "{key}", "") + &poll("patient"),
        runs,
    ]
    .concat()
}

/// One external job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub key: String,
    pub kind: String,
    pub topic: String,
}

/// All jobs that were made, in order.
pub fn jobs(home: &Home) -> Vec<Job> {
    let text = fs::read_to_string(home.path("jobs")).unwrap();
    let job = |line: &str| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        Some(Job { key: words.next()?, kind: words.next()?, topic: words.next()? })
    };
    text.lines().map(|line| job(line).unwrap_or_else(|| panic!("no line of a job: {line:?}"))).collect()
}

/// How many jobs were made for a topic.
pub fn made(home: &Home, topic: &str) -> usize {
    jobs(home).iter().filter(|job| job.topic == topic).count()
}

/// A home with all kinds and quick times.
pub fn home() -> Home {
    let home = Home::bare();
    configure(&home, "");
    home
}

/// Writes its configuration, with more sections.
pub fn configure(home: &Home, more: &str) {
    let text = format!(
        r#"
[daemon]
socket = "{socket}"
database_url = "{database}"
workers = 4
[tasks]
generator = "counted"
max_retries = 30
retry = {{ initial = "100ms", factor = 1.0, max = "100ms", jitter = 0.0 }}
[polling]
interval = "1s"
{sections}
{more}
"#,
        socket = home.socket().display(),
        database = home.database().display(),
        sections = sections(home),
    );
    fs::create_dir_all(home.path("state")).unwrap();
    fs::write(home.path("contentd.toml"), text).unwrap();
}
