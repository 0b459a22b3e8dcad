//! What the program does with a database while no daemon runs on it: judge it, and put a backup into its place.
//!
//! Nothing of a daemon is started. What people read goes to standard output, what is wrong to standard error.

use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::{Options, environment, load_with};
use crate::control::server::user_name;
use crate::finding::Severity;
use crate::store::restored::RestoreMark;
use crate::store::sqlite::check::{self, Judgement};
use crate::store::sqlite::restore::{self, RestoreError};
use crate::task::Timestamp;

/// Where the service keeps its state; the service manager says so to the daemon, and nobody to root's shell.
const SERVICE_STATE: &str = "/var/lib/contentd";

/// The database that a daemon of this configuration would open.
fn configured(options: &Options) -> anyhow::Result<PathBuf> {
    let is_root_of_a_service = rustix::process::geteuid().is_root() && Path::new(SERVICE_STATE).is_dir();
    let env = |name: &str| match environment(name) {
        None if name == "STATE_DIRECTORY" && is_root_of_a_service => Some(SERVICE_STATE.to_owned()),
        other => other,
    };
    Ok(load_with(options, &env)?.config.daemon.database)
}

/// `--check-database`: tells what is in it and what is wrong; whether it is sound. `None`: the configured one.
pub fn check_database(options: &Options, file: Option<PathBuf>) -> anyhow::Result<bool> {
    let path = match file {
        Some(file) => file,
        None => configured(options)?,
    };
    let judgement = check::judge(&path)?;
    tell_judgement(&path, &judgement)?;
    let mut err = io::stderr().lock();
    for finding in &judgement.findings {
        let cure = finding.cure.as_deref().unwrap_or_default();
        writeln!(err, "{}: {}: {}\n  cure: {cure}", finding.severity.as_str(), finding.subject, finding.found)?;
    }
    let errors = judgement.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors == 0 {
        writeln!(io::stdout().lock(), "the database is sound")?;
    } else {
        writeln!(err, "the database is not sound: {errors} findings")?;
    }
    Ok(judgement.is_sound())
}

fn tell_judgement(path: &Path, judgement: &Judgement) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "database    {}", path.display())?;
    let form = if judgement.needs_migration { ", older than this contentd: a start brings it up to date" } else { "" };
    writeln!(out, "form        {}{form}", judgement.version)?;
    for (name, count) in &judgement.counts {
        writeln!(out, "{count:>10}  {name}")?;
    }
    Ok(())
}

/// `restore`: puts a backup into the place of the database, marks it as restored, and says what comes next; whether it did.
pub fn restore_database(options: &Options, file: &Path, is_nothing_since: bool) -> anyhow::Result<bool> {
    let database = configured(options)?;
    if let Some(owner) = owner_to_become(&database)? {
        return restore_as(&owner, &database);
    }
    let file = std::path::absolute(file).with_context(|| format!("{}: cannot be found", file.display()))?;
    let now = jiff::Timestamp::now();
    let uid = rustix::process::getuid().as_raw();
    let mark = RestoreMark {
        at: Timestamp(now.as_millisecond()),
        file: file.display().to_string(),
        who: format!("{uid}:{}", user_name(uid)),
        is_nothing_since,
        is_done: false,
        earlier_doubt: None,
    };
    let stamp = now.strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let mut steps = |step: &str| log::debug!("restore: {step}");
    let restored = restore::restore(&database, &file, &mark, &stamp, &mut steps).map_err(|error| match &error {
        RestoreError::Database(_) => anyhow::Error::from(error).context("nothing was restored"),
        _ => error.into(),
    })?;
    tell_judgement(&restored.database, &restored.judgement)?;
    let mut out = io::stdout().lock();
    match &restored.kept {
        Some(kept) => writeln!(out, "restored; the old database is kept: {}", kept.display())?,
        None => writeln!(out, "restored; there was no database before")?,
    }
    if is_nothing_since {
        writeln!(out, "The next start goes on where the backup was made.")?;
    } else {
        writeln!(
            out,
            "The next start holds each task that may have got a job since the backup, and each piece that may have been published.\n\
             Look at the generators, then `contentctl release` and `contentctl pool release`."
        )?;
    }
    Ok(true)
}

/// Whose files they are, where root asks for a service's. Root itself must not work in a directory of somebody else's, who could
/// put a link where a file is about to be made, opened or given away.
fn owner_to_become(database: &Path) -> anyhow::Result<Option<Metadata>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let directory = database.parent().unwrap_or(Path::new("/"));
    let meta = directory.metadata().with_context(|| format!("{}: cannot be looked at", directory.display()))?;
    Ok(Some(meta).filter(|meta| meta.uid() != 0))
}

/// The same command once more, as the user of the daemon.
fn restore_as(owner: &Metadata, database: &Path) -> anyhow::Result<bool> {
    let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
    command.args(std::env::args_os().skip(1)).env("DATABASE_URL", database).uid(owner.uid()).gid(owner.gid());
    let status = command.status().with_context(|| format!("cannot go on as user {}", owner.uid()))?;
    Ok(status.success())
}
