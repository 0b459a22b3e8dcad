//! What may be typed. Plain declarations; what the values mean is judged where the daemon judges it too.

mod account;
mod notice;
pub mod pool;
mod ranges;
mod review;
mod schedule;

use std::path::PathBuf;

pub use account::{AccountAddArgs, AccountSetArgs, AccountSettingsArgs, AccountVerb};
pub use review::{EditArgs, RejectArgs, ReviewVerb};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::batch::Form;
use crate::manual::Program;

pub use notice::{By, MetricsArgs, NoticeVerb, ReportArgs};
use pool::PoolVerb;
pub use schedule::{ScheduleAddArgs, ScheduleVerb};

/// How answers are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people: aligned, in local time.
    Table,
    /// For programs: JSON alone on standard output.
    Json,
    /// For spreadsheets: a cell holds one value. A task with its attempts and a pool entry with its holders are a row for each of those;
    /// what has other lists in it, as a status, is a row for each value. Text that a spreadsheet would take for a formula gets an
    /// apostrophe in front.
    Csv,
}

/// Where the help lists what every verb takes: behind what is the verb's own, and not in its short form (`-h`).
const EVERY_VERB: &str = "Options of every verb";

/// Controls contentd over its socket.
#[derive(Debug, Parser)]
#[command(name = "contentctl", version, max_term_width = 100)]
#[command(about = "Asks contentd to write content, and shows what became of it")]
#[command(
    after_help = "Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable, 4 timed out, 5 a waited-for task ended \
                        otherwise than completed."
)]
pub struct Args {
    /// The daemon's socket [env: CONTENTD_SOCKET] [default: /run/contentd/contentd.sock, then your own]
    // The variable is read by hand: the parser would show it as an option that every verb needs.
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(help_heading = EVERY_VERB, hide_short_help = true)]
    pub socket: Option<PathBuf>,
    /// How answers are printed
    #[arg(long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    #[arg(help_heading = EVERY_VERB, hide_short_help = true)]
    pub output: Format,
    /// For how long a call is repeated that a restart of the daemon cut off; where nobody listens it fails at once. A wait counts
    /// anew from when nobody answers, and with --timeout lasts as long as that
    #[arg(long, global = true, default_value = "10s", value_name = "TIME")]
    #[arg(help_heading = EVERY_VERB, hide_short_help = true)]
    pub retry_for: String,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Submit a task, or a file of tasks (all or nothing)
    Submit(Box<SubmitArgs>),
    /// How the daemon stands, or tasks and why they wait
    Status(StatusArgs),
    /// Everything about a task: attempts, the generator's raw output
    Show(TaskArg),
    /// What happened to a task, when, why and by whom
    History(TaskArg),
    /// What a task's generator wrote to standard error
    Log(LogArgs),
    /// Tasks, newest first
    List(ListArgs),
    /// The piece of a completed task
    Result(ResultArgs),
    /// Cancel tasks, and their jobs at the generator
    Cancel(CancelArgs),
    /// Start final tasks again
    Retry(RetryArgs),
    /// Let tasks go that a restore from a backup holds, because nothing was made of them since. Held ones run then; one that had ended
    /// stays so, and may be retried
    Release(ReleaseArgs),
    /// Correct a task's state by hand
    Correct(CorrectArgs),
    /// Decide a held task
    Settle(SettleArgs),
    /// Change a waiting task: its priority, and from when on it may begin
    Set(SetArgs),
    /// Delete tasks that finished more than 7 days ago, or as long ago as --older-than says; one whose piece waits for a review
    /// stays. Pieces and publications are kept; `list`, `history` and `stats` know a deleted task no more. By itself, contentd deletes
    /// each night what finished longer ago than is configured (retention.finished_tasks, 90d if not)
    Cleanup(CleanupArgs),
    /// How many, how long, how often again
    Stats(StatsArgs),
    /// What is wrong now, for people and for monitoring systems. Exit status 0 ok, 1 warning, 2 critical (also where the
    /// daemon does not answer), 3 unknown
    Health,
    /// Numbers for Prometheus
    Metrics(MetricsArgs),
    /// What was told to whom: alarms, hooks, silence
    #[command(subcommand)]
    Notice(NoticeVerb),
    /// Say that a generator's job has ended, so that it is asked about now
    Report(ReportArgs),
    /// Wait until tasks have ended. Those that are not there (a cleanup deleted them) are told, and the others are waited for; exit
    /// status 5 then
    Wait(WaitArgs),
    /// Follow every change
    Watch(WatchArgs),
    /// Ask the generator about a task now, or about everything in flight
    Poll(PollArgs),
    /// Pending tasks in the order of running
    Queue(PageArgs),
    /// Each worker's state
    Workers,
    /// Start no new jobs, of everything, a generator or an account
    Pause(PauseArgs),
    /// Start new jobs again. A generator that gets none because it failed is tried at once with --generator NAME, a publisher
    /// that is away with --publisher NAME
    Resume(ResumeArgs),
    /// Accounts: whom content is written for
    #[command(subcommand)]
    Account(AccountVerb),
    /// Content records: pieces and their review
    #[command(subcommand)]
    Content(ContentVerb),
    /// Pieces that wait for a review: read, approve, reject, edit
    #[command(subcommand)]
    Review(ReviewVerb),
    /// The publish pool: what is to go out, and what became of it
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Schedules: tasks that are submitted by themselves
    #[command(subcommand)]
    Schedule(ScheduleVerb),
    /// Look at the whole installation, or try each verb of a generator; each finding with its cure.
    /// Exit status 1 where there is an error
    Doctor(DoctorArgs),
    /// Copy the live database
    Backup(BackupArgs),
    /// The effective configuration, without secrets
    Config,
    /// Call a method with raw JSON
    Call(CallArgs),
    /// Whether the daemon answers, and which roles you have there
    Ping,
    /// Let the daemon end what it is at, and exit
    Drain,
    /// The versions of contentctl and the daemon
    Version,
    /// Let the daemon read its configuration again
    Reload,
    /// Write the manual pages of contentd and contentctl into a directory of pages
    Manual(ManualArgs),
    /// Print what a shell needs to complete command lines
    Completions(CompletionsArgs),
}

/// The number of a content record.
fn content_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        "the number of a record is wanted, as `contentctl content list` shows it; a task's piece is `contentctl result TASK`".to_owned()
    })
}

/// The number of a pool entry.
fn pool_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "the number of a pool entry is wanted, as `contentctl pool list` shows it".to_owned())
}

/// What to write.
#[derive(Debug, ClapArgs)]
#[command(override_usage = "contentctl submit --account <ACCOUNT> --topic <TOPIC> [OPTIONS]\n       \
                            contentctl submit --file <FILE> [OPTIONS]")]
pub struct SubmitArgs {
    /// For whom: number or name
    #[arg(long, short, required_unless_present = "file", allow_hyphen_values = true)]
    pub account: Option<String>,
    /// About what
    #[arg(long, short, required_unless_present = "file", allow_hyphen_values = true)]
    pub topic: Option<String>,
    /// Instructions to the generator
    #[arg(long, allow_hyphen_values = true)]
    pub requirements: Option<String>,
    /// Words that must occur, with commas between
    #[arg(long, allow_hyphen_values = true)]
    pub keywords: Option<String>,
    /// A shelf for the piece
    #[arg(long, allow_hyphen_values = true)]
    pub category: Option<String>,
    /// Its tone
    #[arg(long, allow_hyphen_values = true)]
    pub tone: Option<String>,
    /// 1 to 10; 10 runs first
    #[arg(long, allow_hyphen_values = true, value_parser = ranges::priority)]
    pub priority: Option<i64>,
    /// Of each attempt: 30m, or seconds
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = ranges::time_limit)]
    pub time_limit: Option<String>,
    /// Retries that may be spent
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = ranges::retries)]
    pub max_retries: Option<i64>,
    /// The piece waits for a review
    #[arg(long, conflicts_with = "auto_approve")]
    pub no_auto_approve: bool,
    /// The piece is approved when it comes
    #[arg(long)]
    pub auto_approve: bool,
    /// Which generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// Your own key: the same key submits the same task once
    #[arg(long, allow_hyphen_values = true, conflicts_with = "file")]
    pub key: Option<String>,
    /// Not before so long from now: 10m, or seconds
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = ranges::delay)]
    pub delay: Option<String>,
    /// Tasks to submit together: F.jsonl, F.csv, F.txt (one topic a line), or - for standard input; other options fill in what an
    /// entry leaves out
    #[arg(long, short, value_name = "FILE", conflicts_with = "topic")]
    pub file: Option<PathBuf>,
    /// How the file is written [default: as its name ends; else JSON lines where it begins with {, or a CSV with its heading]
    #[arg(long, value_enum, value_name = "FORM", requires = "file", conflicts_with = "topic")]
    pub format: Option<Form>,
    /// Check everything and submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until it has ended, or all of the file, and print what came of it; exit status 5 where one ended otherwise than
    /// completed. Task and key are said on standard error before, with --output json as a line of JSON each
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Wait at most so long: 10m, or seconds; then exit status 4, and the tasks go on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "wait")]
    pub timeout: Option<String>,
}

/// Tasks, or none for the daemon.
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    /// Ids or the beginnings of ids
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
}

/// One task.
#[derive(Debug, ClapArgs)]
pub struct TaskArg {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
}

/// A task's log.
#[derive(Debug, ClapArgs)]
pub struct LogArgs {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
    /// Go on until the task and its job have ended, and show what a run writes as it comes
    #[arg(long, short)]
    pub follow: bool,
}

/// Which tasks.
#[derive(Debug, ClapArgs)]
pub struct FilterArgs {
    /// States with commas between; also running, unfinished, finished, overdue
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Of this account: number or name
    #[arg(long, allow_hyphen_values = true)]
    pub account: Option<String>,
    /// At this generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// Submitted since: 24h, 2026-01-31, or a whole time
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Whose error contains this text; a list says where it stopped looking
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub error: Option<String>,
}

/// Which part of a list.
#[derive(Debug, ClapArgs)]
pub struct PageArgs {
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
    /// After so many
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub offset: u32,
}

/// Tasks, newest first.
#[derive(Debug, ClapArgs)]
pub struct ListArgs {
    /// Which tasks.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Which part.
    #[command(flatten)]
    pub page: PageArgs,
    /// Only what was submitted before this task
    #[arg(long, value_name = "ID")]
    pub before: Option<String>,
    /// Whose topic contains this text, newest first; says where it stopped looking
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub topic: Option<String>,
}

/// How a piece is printed.
#[derive(Debug, ClapArgs)]
pub struct ResultArgs {
    /// The task's id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
    /// How.
    #[command(flatten)]
    pub piece: PieceArgs,
}

/// How a piece is printed.
#[derive(Debug, ClapArgs)]
pub struct PieceArgs {
    /// Print its HTML
    #[arg(long, conflicts_with = "raw")]
    pub html: bool,
    /// Print its text byte for byte, control characters too
    #[arg(long)]
    pub raw: bool,
}

/// Tasks to let go.
#[derive(Debug, ClapArgs)]
pub struct ReleaseArgs {
    /// Ids or the beginnings of ids; or a filter
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
    /// Every held task that a restore holds, of those that the filter names
    #[arg(long, conflicts_with_all = ["tasks", "state"])]
    pub all: bool,
    /// All that fit.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Tasks to cancel.
#[derive(Debug, ClapArgs)]
pub struct CancelArgs {
    /// Ids or the beginnings of ids; or a filter
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
    /// All that fit.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Tasks to start again.
#[derive(Debug, ClapArgs)]
pub struct RetryArgs {
    /// Ids or the beginnings of ids; or a filter
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
    /// All that fit.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Count retries from 0 again
    #[arg(long)]
    pub reset_count: bool,
    /// Give up a job that may be alive at the generator (by id only)
    #[arg(long, requires = "reason")]
    pub abandon: bool,
    /// Why it is given up
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// A correction.
#[derive(Debug, ClapArgs)]
pub struct CorrectArgs {
    /// The task's id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
    /// pending, failed, timeout or cancelled
    #[arg(long)]
    pub state: String,
    /// Why; goes into the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: String,
    /// Give up a job that may be alive at the generator
    #[arg(long)]
    pub abandon: bool,
}

/// A decision on a held task.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("decision").required(true).args(["adopt", "absent", "fail"]))]
pub struct SettleArgs {
    /// The task's id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
    /// This is its job at the generator
    #[arg(long, value_name = "REF", allow_hyphen_values = true)]
    pub adopt: Option<String>,
    /// The generator has no job of it: it is submitted again
    #[arg(long)]
    pub absent: bool,
    /// Give it up
    #[arg(long, requires = "reason")]
    pub fail: bool,
    /// Why
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// A change of a waiting task.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["priority", "delay"]))]
pub struct SetArgs {
    /// The task's id, or the beginning of it
    #[arg(value_name = "ID")]
    pub task: String,
    /// 1 to 10; 10 runs first
    #[arg(long, allow_hyphen_values = true, value_parser = ranges::priority)]
    pub priority: Option<i64>,
    /// Not before so long from now: 10m, or seconds. 0 lets it run now and ends a back-off, which no other delay shortens
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", value_parser = ranges::delay)]
    pub delay: Option<String>,
}

/// A cleanup.
#[derive(Debug, ClapArgs)]
pub struct CleanupArgs {
    /// Finished longer ago than this: 30d, 12h, or seconds; `retention` is what is configured [default: 7d]
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub older_than: Option<String>,
    /// The same in days
    #[arg(long, allow_hyphen_values = true, value_name = "N", value_parser = ranges::days, conflicts_with = "older_than")]
    pub days: Option<i64>,
    /// Count only
    #[arg(long)]
    pub dry_run: bool,
}

/// Statistics of what.
#[derive(Debug, ClapArgs)]
pub struct StatsArgs {
    /// 24h, 2026-01-31, or a whole time
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Of this account: number or name
    #[arg(long, allow_hyphen_values = true)]
    pub account: Option<String>,
    /// At this generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// A row for each whole day in local time, the last of them today: so many as --since says in a span (7d), from the day on that it
    /// names else, 7 where it says nothing
    #[arg(long, value_enum, value_name = "SPAN")]
    pub by: Option<By>,
}

/// What to wait for.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("awaited").required(true).args(["tasks", "all"]))]
pub struct WaitArgs {
    /// Ids or the beginnings of ids
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
    /// Until no task is unfinished (held ones are not waited for)
    #[arg(long)]
    pub all: bool,
    /// At most so long: 10m, or seconds; then exit 4
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub timeout: Option<String>,
}

/// What to follow.
#[derive(Debug, ClapArgs)]
pub struct WatchArgs {
    /// Only these: ids or the beginnings of ids
    #[arg(value_name = "ID")]
    pub tasks: Vec<String>,
    /// Only of this account: number or name
    #[arg(long, allow_hyphen_values = true)]
    pub account: Option<String>,
    /// Only at this generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
}

/// What to ask about.
#[derive(Debug, ClapArgs)]
pub struct PollArgs {
    /// The task's id, or the beginning of it
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub task: Option<String>,
    /// Everything in flight
    #[arg(long)]
    pub all: bool,
}

/// What to pause or resume.
#[derive(Debug, ClapArgs)]
pub struct PauseArgs {
    /// Only this generator
    #[arg(long, allow_hyphen_values = true)]
    pub generator: Option<String>,
    /// Only this account: number or name
    #[arg(long, allow_hyphen_values = true)]
    pub account: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// What to resume.
#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// What a pause stopped.
    #[command(flatten)]
    pub paused: PauseArgs,
    /// This publisher, which was mended: its next piece tries it at once
    #[arg(long, value_name = "NAME", allow_hyphen_values = true, conflicts_with_all = ["generator", "account", "reason"])]
    pub publisher: Option<String>,
}

/// What to look at.
#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    /// Try each verb of this generator that can neither cost money nor change a job
    #[arg(value_name = "GENERATOR")]
    pub generator: Option<String>,
    /// Show what is well, too
    #[arg(long)]
    pub all: bool,
}

/// Where a backup goes.
#[derive(Debug, ClapArgs)]
pub struct BackupArgs {
    /// The file to make [default: contentd-TIME.db in the daemon's directory `backups`]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Keep so many of those with the time in their name; delete the oldest
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = ranges::backups)]
    pub keep: Option<i64>,
}

/// What to do with content records.
#[derive(Debug, Subcommand)]
pub enum ContentVerb {
    /// Records, newest first
    List {
        /// Of this account: number or name
        #[arg(long, allow_hyphen_values = true)]
        account: Option<String>,
        /// pending_review, approved, rejected or superseded
        #[arg(long, visible_alias = "review-status", value_name = "STATE")]
        review: Option<String>,
        /// Of this task
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// Which part.
        #[command(flatten)]
        page: PageArgs,
        /// Only records with a smaller number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
    },
    /// A record; as a table its piece as text
    Show {
        /// Its number
        #[arg(value_name = "ID", value_parser = content_number)]
        content_id: i64,
        /// How.
        #[command(flatten)]
        piece: PieceArgs,
    },
    /// Approve a piece and pool it
    Approve(ReviewArgs),
    /// Reject a piece
    Reject(ReviewArgs),
    /// Every version of a piece, the newest first
    History {
        /// The number of any of them
        #[arg(value_name = "ID", value_parser = content_number)]
        content_id: i64,
    },
    /// The images of a piece that are kept, and what became of the others
    Images {
        /// The record's number
        #[arg(value_name = "ID", value_parser = content_number)]
        content_id: i64,
    },
}

/// A review.
#[derive(Debug, ClapArgs)]
pub struct ReviewArgs {
    /// The record's number
    #[arg(value_name = "ID", value_parser = content_number)]
    pub content_id: i64,
    /// The hash of what you looked at, or 8 or more of its first digits; another one is refused
    #[arg(long)]
    pub hash: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// Where manual pages go.
#[derive(Debug, ClapArgs)]
pub struct ManualArgs {
    /// Where `man` looks, such as ~/.cargo/share/man for programs in ~/.cargo/bin; its man1, man5 and man8 are made
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// Completions.
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// Of which program
    #[arg(value_name = "PROGRAM", default_value = "contentctl")]
    pub program: Program,
}

/// A raw call.
#[derive(Debug, ClapArgs)]
pub struct CallArgs {
    /// For example io.contentd.Tasks.Status
    pub method: String,
    /// For example '{"task": "task-…"}'
    #[arg(default_value = "{}")]
    pub parameters: String,
    /// Take several replies, one a line
    #[arg(long)]
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declarations_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_with_all_that_would_be_right() {
        let refused = |words: &[&str]| {
            let words = ["contentctl"].iter().chain(words);
            Args::try_parse_from(words).expect_err("it is refused").to_string()
        };
        let set = refused(&["set", "task-a"]);
        assert!(set.contains("--priority") && set.contains("--delay"), "{set}");
        let wait = refused(&["wait"]);
        assert!(wait.contains("ID") && wait.contains("--all"), "{wait}");
        assert!(refused(&["wait", "task-a", "--all"]).contains("cannot be used with"));
        let submit = refused(&["submit"]);
        assert!(submit.contains("--account <ACCOUNT> --topic <TOPIC>") && submit.contains("--file <FILE>"), "{submit}");
        let priority = refused(&["submit", "-a", "1", "-t", "T", "--priority", "high"]);
        assert!(priority.contains("a whole number"), "{priority}");
        for words in [["backup", "--keep", "x"], ["cleanup", "--days", "x"]] {
            assert!(refused(&words).contains("a whole number"), "{words:?}");
        }
        assert!(refused(&["help", "review"]).contains("approve"));
        for words in [["account", "add", "blog"].as_slice(), &["account", "add", "--name", "-x"]] {
            Args::try_parse_from(["contentctl"].iter().chain(words)).expect("both are taken");
        }
        let schedule = ["schedule", "add", "evening", "--every", "6h", "-a", "blog", "-t", "Tea"];
        Args::try_parse_from(["contentctl"].iter().chain(&schedule)).expect("it is taken");
        assert!(refused(&["account", "add"]).contains("NAME"));
        assert!(refused(&["account", "add", "a", "--name", "b"]).contains("cannot be used with"));
    }

    #[test]
    fn values_may_begin_with_a_hyphen_and_states_take_commas() {
        let args = Args::try_parse_from(["contentctl", "submit", "-a", "-x", "--topic", "--force", "--tone", "-"]);
        let Some(Verb::Submit(submit)) = args.expect("it parses").verb else { panic!("a submit") };
        assert_eq!((submit.account.as_deref(), submit.topic.as_deref()), (Some("-x"), Some("--force")));
        let args = Args::try_parse_from(["contentctl", "list", "--state", "failed,running", "--output", "json"]);
        let args = args.expect("it parses");
        assert_eq!(args.output, Format::Json);
        let Some(Verb::List(list)) = args.verb else { panic!("a list") };
        assert_eq!(list.filter.state, ["failed", "running"]);
    }
}
