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
use crate::config::DaemonConfig;
use crate::control::server::user_name;
use crate::finding::Severity;
use crate::store::restored::RestoreMark;
use crate::store::sqlite::check::{self, Judgement};
use crate::store::sqlite::restore::{self, More, RestoreError};
use crate::task::Timestamp;
use crate::text::counted;

/// Where the service keeps its state; the service manager says so to the daemon, and nobody to root's shell.
const SERVICE_STATE: &str = "/var/lib/contentd";
/// Who asked for a restore that goes on as another user: set for the child alone.
const RESTORED_BY: &str = "CONTENTD_RESTORED_BY";

/// The database that a daemon of this configuration would open.
fn configured(options: &Options) -> anyhow::Result<DaemonConfig> {
    let is_root_of_a_service = rustix::process::geteuid().is_root() && Path::new(SERVICE_STATE).is_dir();
    let env = |name: &str| match environment(name) {
        None if name == "STATE_DIRECTORY" && is_root_of_a_service => Some(SERVICE_STATE.to_owned()),
        other => other,
    };
    Ok(load_with(options, &env)?.config.daemon)
}

/// `--check-database`: tells what is in it and what is wrong; whether it is sound. `None`: the configured one.
pub fn check_database(options: &Options, file: Option<PathBuf>) -> anyhow::Result<bool> {
    let path = match file {
        Some(file) => file,
        None => configured(options)?.database,
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
        let findings = counted(errors as u64, "finding", "findings");
        writeln!(err, "the database is not sound: {findings}")?;
    }
    Ok(judgement.is_sound())
}

fn tell_judgement(path: &Path, judgement: &Judgement) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "database    {}", path.display())?;
    let form = if judgement.needs_migration { ", older than this contentd: a start brings it up to date" } else { "" };
    writeln!(out, "form        {}{form}", judgement.version)?;
    // That nothing waits says nothing.
    let is_told = |name: &str, count: u64| count > 0 || !name.contains("wait for a release");
    for (name, count) in judgement.counts.iter().filter(|(name, count)| is_told(name, *count)) {
        writeln!(out, "{count:>10}  {name}")?;
    }
    Ok(())
}

/// `restore`: puts a backup into the place of the database, marks it as restored, and says what comes next; whether it did.
pub fn restore_database(options: &Options, file: &Path, is_nothing_since: bool) -> anyhow::Result<bool> {
    let configured = configured(options)?;
    if !configured.is_database_named {
        super::make_home_of(&configured.database);
    }
    let database = resolved(&configured.database)?;
    let uid = rustix::process::geteuid();
    let who = label(rustix::process::getuid().as_raw());
    if uid.is_root()
        && let Some(owner) = owner_to_become(&database)?
    {
        return restore_as(&owner, &database, &who);
    }
    // Whoever may write to the database may write any name into it; this is for people.
    let who = environment(RESTORED_BY).unwrap_or(who);
    let file = std::path::absolute(file).with_context(|| format!("{}: cannot be found", file.display()))?;
    let now = jiff::Timestamp::now();
    let mark = RestoreMark {
        at: Timestamp(now.as_millisecond()),
        file: file.display().to_string(),
        who,
        is_nothing_since,
        is_done: false,
        earlier_doubt: None,
        witnesses: Vec::new(),
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
        Some(kept) => {
            writeln!(out, "restored; the old database is kept: {}", kept.display())?;
            let more = restore::more_in(kept, &restored.database);
            writeln!(out, "{}", told_of_old(kept, more))?;
        }
        None => writeln!(out, "restored; there was no database before")?,
    }
    if restored.mark.is_nothing_since {
        writeln!(out, "The next start goes on where the backup was made.")?;
    } else {
        if is_nothing_since {
            writeln!(
                out,
                "The backup is of a restored database that was never started since: what that restore holds is held."
            )?;
        }
        writeln!(
            out,
            "The next start holds each task that may have got a job since the backup, and each piece that may have been published.\n\
             Look at the generators, then `contentctl release TASK...` or `contentctl release --all`. Look at the places where pieces\n\
             are published, then `contentctl pool release ID...` or `contentctl pool release --all`: a piece that went out since the\n\
             backup is handed out again. A site that takes each key once knows most of them again;\n\
             docs/publishing.md says which it does not."
        )?;
    }
    Ok(true)
}

/// What the old database had more, and what shows it.
fn told_of_old(kept: &Path, more: Option<More>) -> String {
    let count = |number: i64, one: &str, several: &str| counted(u64::try_from(number).unwrap_or(0), one, several);
    let kept = kept.display();
    let had = match more {
        Some(More { tasks: 0, pieces: 0, published: 0 }) => {
            "It had no task, piece or publication that this one has not".to_owned()
        }
        Some(More { tasks, pieces, published }) => format!(
            "It had what this one has not: {}, {}, {}",
            count(tasks, "task", "tasks"),
            count(pieces, "piece", "pieces"),
            count(published, "publication", "publications")
        ),
        None => "What it had more than this one cannot be read".to_owned(),
    };
    format!("{had}.\n`sqlite3 -readonly {kept}` looks into it, `contentd --check-database {kept}` judges it.")
}

fn label(uid: u32) -> String {
    format!("{uid}:{}", user_name(uid))
}

/// The path without links: whose file it is says more than whose link leads to it.
fn resolved(database: &Path) -> anyhow::Result<PathBuf> {
    if database.exists() {
        return database.canonicalize().with_context(|| format!("{}: cannot be found", database.display()));
    }
    let absolute = std::path::absolute(database).with_context(|| format!("{}: cannot be found", database.display()))?;
    let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Ok(absolute) };
    Ok(directory.canonicalize().map_or_else(|_| absolute.clone(), |directory| directory.join(name)))
}

/// A user and a group.
type Owner = (u32, u32);

/// Whose files they are, where root asks for a service's. Root itself must not work in a directory of somebody else's, who could
/// put a link where a file is about to be made, opened or given away; nor leave a file of root's to a daemon that cannot open it.
fn owner_to_become(database: &Path) -> anyhow::Result<Option<Owner>> {
    let directory = database.parent().unwrap_or(Path::new("/"));
    let meta = directory.metadata().with_context(|| format!("{}: cannot be looked at", directory.display()))?;
    let owner = |meta: &Metadata| (meta.uid(), meta.gid());
    let of_file = match database.metadata() {
        Ok(meta) => Some(owner(&meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be looked at", database.display())),
    };
    judged_owner(database, of_file, owner(&meta))
}

/// Whom root becomes; nobody where all of it is root's.
fn judged_owner(database: &Path, of_file: Option<Owner>, of_directory: Owner) -> anyhow::Result<Option<Owner>> {
    let (uid, gid) = of_file.unwrap_or(of_directory);
    if uid != of_directory.0 {
        anyhow::bail!(
            "{}: it belongs to user {uid} and its directory to user {}, so that it cannot be said whose database it is: give both \
             to the daemon's user (chown), or restore as that user",
            database.display(),
            of_directory.0
        );
    }
    Ok(Some((uid, gid)).filter(|(uid, _)| *uid != 0))
}

/// The same command once more, as the user of the daemon, for whoever asked.
fn restore_as((uid, gid): &Owner, database: &Path, who: &str) -> anyhow::Result<bool> {
    let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
    command.args(std::env::args_os().skip(1)).env("DATABASE_URL", database).env(RESTORED_BY, who);
    let status = command.uid(*uid).gid(*gid).status().with_context(|| format!("cannot go on as user {uid}"))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_old_database_had_is_a_sentence_of_its_own() {
        let none = Some(More { tasks: 0, pieces: 0, published: 0 });
        let told = told_of_old(Path::new("/old.db"), none);
        assert!(told.starts_with("It had no task, piece or publication that this one has not.\n`sqlite3 "), "{told}");
        let some = Some(More { tasks: 1, pieces: 2, published: 0 });
        let told = told_of_old(Path::new("/old.db"), some);
        assert!(
            told.contains("has not: 1 task, 2 pieces, 0 publications.\n") && told.ends_with("judges it."),
            "{told}"
        );
    }

    #[test]
    fn it_is_the_file_behind_the_links_whose_owner_counts() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (real, links) = (place.path().join("real"), place.path().join("links"));
        for directory in [&real, &links] {
            std::fs::create_dir(directory).expect("made");
        }
        let real = real.canonicalize().expect("there");
        std::os::unix::fs::symlink(&real, links.join("dir")).expect("linked");
        assert_eq!(resolved(&links.join("dir/contentd.db")).expect("none yet"), real.join("contentd.db"));
        std::fs::write(real.join("contentd.db"), "").expect("written");
        std::os::unix::fs::symlink(real.join("contentd.db"), links.join("contentd.db")).expect("linked");
        assert_eq!(resolved(&links.join("contentd.db")).expect("there"), real.join("contentd.db"));
    }

    #[test]
    fn root_becomes_who_has_the_database_and_refuses_what_is_of_two() {
        let judge = |file, directory| judged_owner(Path::new("/d/contentd.db"), file, directory);
        assert_eq!(judge(Some((900, 901)), (900, 902)).expect("one owner"), Some((900, 901)));
        assert_eq!(judge(None, (900, 902)).expect("no database yet"), Some((900, 902)));
        assert_eq!(judge(Some((0, 0)), (0, 0)).expect("root's own"), None);
        for (file, directory) in [((900, 900), (0, 0)), ((0, 0), (900, 900)), ((1000, 1), (900, 900))] {
            let refused = judge(Some(file), directory).expect_err("two owners").to_string();
            assert!(refused.contains("/d/contentd.db") && refused.contains("chown"), "{refused}");
        }
    }
}
