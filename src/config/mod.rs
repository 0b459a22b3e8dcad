//! The configuration: a TOML file and a few variables of the environment, read once and validated whole.
//!
//! Nothing behind this module meets a raw value: templates, expressions and rules are compiled here, and every fault is
//! told with its place and its cure before anything starts. It must not look at anything but the file and the given
//! environment; whether a program can be run is asked later. The surprise: no file at the usual places is an empty
//! configuration and no fault, so that a fresh daemon starts and says what it lacks.

mod duration;
mod error;
mod generators;
mod notices;
mod places;
mod publishers;
mod reader;
mod review;
mod roles;
mod rules;
mod schedules;
mod verbs;

pub use duration::{DurationError, format_duration, parse_duration};
pub use error::{ConfigError, ConfigErrors};
pub use notices::{NoticesConfig, format_size};
pub use places::{Env, config_candidates, parse_database_url, socket_path};
pub use publishers::{MAX_LEASE, PublishingConfig};
pub use review::{ImagesConfig, ReviewConfig};
pub use roles::RolesConfig;
pub use schedules::{SchedulesConfig, faults as schedule_faults};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::generator::hooks::HookSpec;
use crate::generator::spec::GeneratorSpec;
use crate::publisher::spec::PublisherSpec;
use crate::task::retry::Backoff;
use crate::task::{GeneratorName, limits};
use crate::text::no_regular_file;
use error::Faults;
use generators::Surroundings;
use reader::Section;

/// What `{creator}` stands for where `CREATOR_CLI_PATH` says nothing.
pub const DEFAULT_CREATOR: &str = "content-creator";
/// A file longer than this is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[daemon]`
    pub daemon: DaemonConfig,
    /// `[tasks]`
    pub tasks: TasksConfig,
    /// `[polling]`
    pub polling: PollingConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[roles]`
    pub roles: RolesConfig,
    /// `[review]`
    pub review: ReviewConfig,
    /// `[schedules]` and `[topic_sources.NAME]`
    pub schedules: SchedulesConfig,
    /// `[images]`
    pub images: ImagesConfig,
    /// `[notices]`
    pub notices: NoticesConfig,
    /// `[hooks.NAME]`
    pub hooks: BTreeMap<String, HookSpec>,
    /// `[generators.NAME]`
    pub generators: BTreeMap<GeneratorName, GeneratorSpec>,
    /// `[publishing]`
    pub publishing: PublishingConfig,
    /// `[publishers.NAME]`
    pub publishers: BTreeMap<String, PublisherSpec>,
}

/// The daemon itself.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// Where it listens; `--socket` is stronger.
    pub socket: PathBuf,
    /// The SQLite database, an absolute path.
    pub database: PathBuf,
    /// Somebody named it; else it lies where the program keeps its things.
    pub is_database_named: bool,
    /// Run files and run directories: `$STATE_DIRECTORY`, else beside the database, whose rows name them.
    pub state_dir: PathBuf,
    /// Where detached runs are handed over to the service manager; none: the daemon starts their runners itself.
    pub run_socket: Option<PathBuf>,
    /// How many short generator calls go on at once.
    pub workers: u32,
    /// The queue's backend.
    pub queue: QueueBackend,
    /// How long a shutdown waits for what it began.
    pub drain_timeout: Duration,
}

/// Where the queue lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueBackend {
    /// The rows of the database.
    Database,
}

/// What a submit that does not say gets.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    /// The generator; none where several are configured and none is named.
    pub generator: Option<GeneratorName>,
    /// 1 to 10.
    pub priority: u8,
    /// Of an attempt, in seconds from its acceptance.
    pub time_limit_s: u32,
    /// Retries that may be spent.
    pub max_retries: u32,
    /// Approve the piece when it comes, and pool it.
    pub auto_approve: bool,
    /// Back-off between attempts, where the generator has none of its own.
    pub retry: Backoff,
    /// Tasks that may be pending in all.
    pub max_pending: u32,
}

/// Polls.
#[derive(Clone, Copy, Debug)]
pub struct PollingConfig {
    /// The wished longest wait between two polls of a job.
    pub interval: Duration,
}

/// How long things are kept; none is forever.
#[derive(Clone, Copy, Debug)]
pub struct RetentionConfig {
    /// Finished tasks with their attempts and audit rows.
    pub finished_tasks: Option<Duration>,
    /// What generators wrote to standard error, and what calls and runs left on disk under keys that no task has any more.
    pub generator_logs: Option<Duration>,
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file; none where there was none.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads the file at `path`, else at the first usual place that has one.
    pub fn load(path: Option<&Path>, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
        let candidates = match path {
            Some(path) => vec![path.to_owned()],
            None => config_candidates(env),
        };
        for candidate in candidates {
            let Some(source) = read_file(&candidate, path.is_some())? else { continue };
            let config = Self::parse(Some(&candidate), &source, env)?;
            return Ok(Loaded { config, file: Some(candidate) });
        }
        Ok(Loaded { config: Self::parse(None, "", env)?, file: None })
    }

    /// Reads a text; `file` is what the faults call it.
    pub fn parse(file: Option<&Path>, source: &str, env: Env<'_>) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::new(file, source);
        let (table, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            faults.at(&error.span().unwrap_or(0..0), error.message());
        }
        // Half a table has faults that its other half would explain.
        let config = if errors.is_empty() { read_root(table.get_ref(), env, &mut faults) } else { None };
        faults.into_result()?;
        config.ok_or_else(|| ConfigErrors::one("the configuration could not be read"))
    }

    /// The keys that the reader knows in each section that `source` has, as (section, key); faults of the source do not
    /// matter. Made by the reader as it reads, so that a manual page can be held against it.
    pub fn known_keys(source: &str, env: Env<'_>) -> BTreeSet<(String, &'static str)> {
        let mut faults = Faults::new(None, source);
        read_root(DeTable::parse_recoverable(source).0.get_ref(), env, &mut faults);
        faults.into_known()
    }

    /// The generator of a task that names none.
    pub fn default_generator(&self) -> Option<&GeneratorName> {
        self.tasks.generator.as_ref()
    }

    /// What is allowed and surprises: the only generator is everybody's, and a second one takes that away.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = publishers::warnings(&self.publishers);
        if self.generators.len() > 1 && self.tasks.generator.is_none() {
            let names: Vec<&str> = self.generators.keys().map(GeneratorName::as_str).collect();
            warnings.push(format!(
                "tasks.generator is not set and there are {} generators: submits and schedules that name none, for an account that \
                 has none, are refused; set it to one of {}",
                names.len(),
                names.join(", ")
            ));
        }
        warnings
    }
}

fn read_file(path: &Path, must_exist: bool) -> Result<Option<String>, ConfigErrors> {
    let fault = |why: String| {
        let file = Some(path.to_owned());
        ConfigErrors(vec![ConfigError { file, line: 0, column: 0, message: why }])
    };
    // Looked at before it is opened and once more when it is open: the end of a pipe never comes, nor that of a device, and
    // some of them do something when they are opened.
    let kind = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(error) => return Err(fault(format!("cannot be read: {error}; name another file with --config"))),
        Ok(meta) => meta.file_type(),
    };
    let refuse_others = |kind| match no_regular_file(kind) {
        Some(problem) => {
            Err(fault(format!("{problem}, and a configuration is a regular file; name one with --config")))
        }
        None => Ok(()),
    };
    refuse_others(kind)?;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::PermissionDenied => {
            fault(format!("cannot be read: {error}; the daemon's user (contentd) must be able to read it"))
        }
        _ => fault(format!("cannot be read: {error}")),
    };
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    refuse_others(file.metadata().map_err(failed)?.file_type())?;
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fault(format!(
            "more than {MAX_FILE_BYTES} bytes are no configuration; name another file with --config"
        )));
    }
    String::from_utf8(text).map(Some).map_err(|error| fault(format!("cannot be read: {error}; it must be UTF-8")))
}

fn read_root(table: &DeTable<'_>, env: Env<'_>, faults: &mut Faults<'_>) -> Option<Config> {
    let mut root = Section::new(table, "", 0..0);
    let daemon = read_daemon(root.section("daemon", faults), env, faults);
    let roles = roles::read(root.section("roles", faults), faults);
    let review = review::read(root.section("review", faults), faults);
    let images = review::read_images(root.section("images", faults), faults);
    let (mut tasks, named) = read_tasks(root.section("tasks", faults), &review, faults);
    let polling = read_polling(root.section("polling", faults), faults);
    let retention = read_retention(root.section("retention", faults), faults);
    let schedules = SchedulesConfig {
        topic_directories: schedules::read(root.section("schedules", faults), faults),
        topic_sources: schedules::read_sources(root.section("topic_sources", faults), faults),
    };
    let notices = notices::read(root.section("notices", faults), faults);
    let hooks = notices::read_hooks(root.section("hooks", faults), faults);
    let surroundings = Surroundings {
        creator: places::variable(env, "CREATOR_CLI_PATH").unwrap_or_else(|| DEFAULT_CREATOR.to_owned()),
        retry: tasks.retry,
        poll_interval: polling.interval,
    };
    let section = root.section("generators", faults);
    let names: Vec<String> = section.iter().flat_map(|section| section.entries().map(|(name, _)| name.value)).collect();
    let generators = section.map(|section| generators::read(&section, &surroundings, faults)).unwrap_or_default();
    let publishing = publishers::read_publishing(root.section("publishing", faults), faults);
    let publishers = publishers::read(root.section("publishers", faults), &publishing, faults);
    root.finish(faults);
    match named {
        Some(named) if !names.contains(&named.value) => {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let message = format!(
                "tasks.generator is {:?}, and there is no such generator; configured are: {known}",
                named.value
            );
            faults.at(&named.span, message);
        }
        Some(named) => tasks.generator = Some(GeneratorName(named.value)),
        None => tasks.generator = generators.keys().next().filter(|_| generators.len() == 1).cloned(),
    }
    Some(Config {
        daemon: daemon?,
        tasks,
        polling,
        retention,
        roles,
        review,
        images,
        schedules,
        notices,
        hooks,
        generators,
        publishing,
        publishers,
    })
}

fn read_daemon(section: Option<Section<'_, '_>>, env: Env<'_>, faults: &mut Faults<'_>) -> Option<DaemonConfig> {
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "daemon", 0..0));
    let socket = section.text("socket", faults).map(|text| PathBuf::from(text.value));
    let run_socket = read_run_socket(&mut section, env, faults);
    let configured = section.text("database_url", faults);
    let workers = section.number("workers", 1..=256, faults).unwrap_or(4);
    if let Some(queue) = section.text("queue", faults)
        && queue.value != "database"
    {
        let message = format!("daemon.queue is {:?}; this build has one backend: \"database\"", queue.value);
        faults.at(&queue.span, message);
    }
    let drain_timeout = section.span_of_time("drain_timeout", faults).map(|span| span.value);
    section.finish(faults);
    let is_database_named = configured.is_some() || places::variable(env, "DATABASE_URL").is_some();
    let database = match (places::variable(env, "DATABASE_URL"), configured) {
        (Some(url), _) => parse_database_url(&url).map_err(|why| faults.outside(format!("DATABASE_URL: {why}"))).ok(),
        (None, Some(url)) => parse_database_url(&url.value)
            .map_err(|why| faults.at(&url.span, format!("daemon.database_url: {why}")))
            .ok(),
        (None, None) => default_database(env, faults),
    }?;
    let database = std::path::absolute(&database).unwrap_or(database);
    let beside = database.parent().map(Path::to_owned).unwrap_or_default();
    let state_dir = places::state_directory(env).filter(|_| places::has_managed_state(env)).unwrap_or(beside);
    Some(DaemonConfig {
        socket: socket_path(env, socket, rustix::process::getuid().as_raw()),
        database,
        is_database_named,
        state_dir,
        run_socket,
        workers,
        queue: QueueBackend::Database,
        drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(60)),
    })
}

fn read_run_socket(section: &mut Section<'_, '_>, env: Env<'_>, faults: &mut Faults<'_>) -> Option<PathBuf> {
    let configured = section.text("run_socket", faults);
    if let Some(socket) = places::variable(env, "CONTENTD_RUN_SOCKET") {
        if !socket.starts_with('/') {
            faults.outside(format!("CONTENTD_RUN_SOCKET is {socket:?}, and it must be an absolute path"));
        }
        return Some(PathBuf::from(socket));
    }
    let configured = configured?;
    if !configured.value.starts_with('/') || configured.value.contains('\0') {
        let why = format!("daemon.run_socket is {:?}, and it must be an absolute path", configured.value);
        faults.at(&configured.span, why);
    }
    Some(PathBuf::from(configured.value))
}

fn default_database(env: Env<'_>, faults: &mut Faults<'_>) -> Option<PathBuf> {
    let state = places::state_directory(env);
    if state.is_none() {
        faults.outside(
            "there is no place for the database: set daemon.database_url, DATABASE_URL, STATE_DIRECTORY or HOME",
        );
    }
    Some(state?.join("contentd.db"))
}

fn read_tasks(
    section: Option<Section<'_, '_>>,
    review: &ReviewConfig,
    faults: &mut Faults<'_>,
) -> (TasksConfig, Option<reader::Placed<String>>) {
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "tasks", 0..0));
    let generator = section.text("generator", faults);
    let (low, high) = (u32::from(*limits::PRIORITY.start()), u32::from(*limits::PRIORITY.end()));
    let priority = section.number("priority", low..=high, faults).and_then(|number| u8::try_from(number).ok());
    let time_limit_s = section.span_of_time("time_limit", faults).and_then(|span| {
        let seconds = u32::try_from(span.value.as_secs()).ok().filter(|s| limits::TIME_LIMIT_S.contains(s));
        if seconds.is_none() {
            faults.at(&span.span, "tasks.time_limit must lie between one second and thirty days");
        }
        seconds
    });
    let max_retries = section.number("max_retries", 0..=limits::MAX_RETRIES, faults);
    let auto_approve = section.truth("auto_approve", faults);
    if let Some(value) = auto_approve.as_ref().filter(|value| value.value && review.four_eyes) {
        let message = "tasks.auto_approve is true, and review.four_eyes wants another person to approve every piece: \
                       leave one of the two out";
        faults.at(&value.span, message);
    }
    let retry = generators::read_backoff(section.section("retry", faults), &DEFAULT_RETRY, faults);
    let max_pending = section.number("max_pending", 1..=100_000_000, faults);
    section.finish(faults);
    let tasks = TasksConfig {
        generator: None,
        priority: priority.unwrap_or(5),
        time_limit_s: time_limit_s.unwrap_or(30 * 60),
        max_retries: max_retries.unwrap_or(3),
        auto_approve: auto_approve.map_or(!review.four_eyes, |value| value.value),
        retry,
        max_pending: max_pending.unwrap_or(1_000_000),
    };
    (tasks, generator)
}

/// Back-off between attempts where nothing else is configured.
const DEFAULT_RETRY: Backoff =
    Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

fn read_polling(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> PollingConfig {
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "polling", 0..0));
    let interval = section.span_of_time("interval", faults).map(|span| span.value);
    section.finish(faults);
    PollingConfig { interval: interval.unwrap_or(Duration::from_secs(30)) }
}

fn read_retention(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> RetentionConfig {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let empty = DeTable::new();
    let mut section = section.unwrap_or_else(|| Section::new(&empty, "retention", 0..0));
    let mut kept = |key: &'static str, default: Option<Duration>| {
        let is_never = section.node(key).is_some_and(|node| node.get_ref().as_str() == Some("never"));
        if is_never { None } else { section.span_of_time(key, faults).map(|span| span.value).or(default) }
    };
    let retention = RetentionConfig {
        finished_tasks: kept("finished_tasks", Some(DAY * 90)),
        generator_logs: kept("generator_logs", Some(DAY * 14)),
    };
    if let Some(node) = section.node("contents")
        && node.get_ref().as_str() != Some("never")
    {
        let right = "\"never\": contents are kept in this version, so say that or leave it out";
        faults.at(&node.span(), reader::wanted("retention.contents", node.get_ref(), right));
    }
    section.finish(faults);
    retention
}

#[cfg(test)]
mod tests;
