//! Where things lie when nobody says so: the file itself, the socket, the database, the state directory.
//!
//! The environment comes in as a function, so that tests need not change their own. The surprise: for the socket and
//! the database the environment is stronger than the file, because it is how one start differs from the next.

use std::path::{Path, PathBuf};

/// Reads a variable of the environment; an empty one counts as unset.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

pub(super) fn variable(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// A directory that the service manager made (`STATE_DIRECTORY` and its like may name several: the first is ours).
fn managed_directory(env: Env<'_>, name: &str) -> Option<PathBuf> {
    variable(env, name)?.split(':').find(|path| !path.is_empty()).map(PathBuf::from)
}

/// A directory of the user's (`XDG_…`), else below the home directory. Relative ones are ignored, as XDG says.
fn user_directory(env: Env<'_>, name: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| variable(env, name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(name).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

/// Where the configuration is looked for, in order, when no path is given.
pub fn config_candidates(env: Env<'_>) -> Vec<PathBuf> {
    const FILE: &str = "contentd.toml";
    let managed = managed_directory(env, "CONFIGURATION_DIRECTORY").map(|dir| dir.join(FILE));
    let user = user_directory(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("contentd").join(FILE));
    managed.into_iter().chain([Path::new("/etc/contentd").join(FILE)]).chain(user).collect()
}

/// The socket: `CONTENTD_SOCKET`, else what is configured, else `$RUNTIME_DIRECTORY/contentd.sock`,
/// `$XDG_RUNTIME_DIR/contentd/contentd.sock` or `/tmp/contentd-UID/contentd.sock`. An option of the command line,
/// which is stronger than all of these, is the binary's own affair.
pub fn socket_path(env: Env<'_>, configured: Option<PathBuf>, uid: u32) -> PathBuf {
    const FILE: &str = "contentd.sock";
    let managed = || managed_directory(env, "RUNTIME_DIRECTORY").map(|dir| dir.join(FILE));
    let user = || Some(PathBuf::from(variable(env, "XDG_RUNTIME_DIR")?).join("contentd").join(FILE));
    variable(env, "CONTENTD_SOCKET")
        .map(PathBuf::from)
        .or(configured)
        .or_else(managed)
        .or_else(user)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/contentd-{uid}")).join(FILE))
}

/// The directory that is ours to keep things in, if the surroundings name one.
pub(super) fn state_directory(env: Env<'_>) -> Option<PathBuf> {
    managed_directory(env, "STATE_DIRECTORY")
        .or_else(|| Some(user_directory(env, "XDG_STATE_HOME", ".local/state")?.join("contentd")))
}

/// Whether the service manager gave a state directory.
pub(super) fn has_managed_state(env: Env<'_>) -> bool {
    managed_directory(env, "STATE_DIRECTORY").is_some()
}

/// The database file that a URL names: a path, `sqlite:PATH` or `sqlite://PATH`.
pub fn parse_database_url(url: &str) -> Result<PathBuf, String> {
    let url = url.trim();
    let path = match url.strip_prefix("sqlite:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None if url.contains("://") => {
            let scheme = url.split("://").next().unwrap_or_default();
            return Err(format!(
                "the database scheme {scheme:?} is not part of this build: write a path, `sqlite:PATH` or `sqlite://PATH`"
            ));
        }
        None => url,
    };
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("the database {url:?} names no file: write a path, `sqlite:PATH` or `sqlite://PATH`"));
    }
    if path == ":memory:" {
        return Err("a database in memory would forget paid jobs with every restart: name a file".to_owned());
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_socket_is_found_in_order() {
        let all = [("CONTENTD_SOCKET", "/e.sock"), ("RUNTIME_DIRECTORY", "/run/c:/x"), ("XDG_RUNTIME_DIR", "/run/u")];
        let configured = Some(PathBuf::from("/c.sock"));
        assert_eq!(socket_path(&env(&all), configured.clone(), 7), Path::new("/e.sock"));
        assert_eq!(socket_path(&env(&all[1..]), configured, 7), Path::new("/c.sock"));
        assert_eq!(socket_path(&env(&all[1..]), None, 7), Path::new("/run/c/contentd.sock"));
        assert_eq!(socket_path(&env(&all[2..]), None, 7), Path::new("/run/u/contentd/contentd.sock"));
        assert_eq!(socket_path(&env(&[("CONTENTD_SOCKET", "")]), None, 7), Path::new("/tmp/contentd-7/contentd.sock"));
    }

    #[test]
    fn the_file_is_looked_for_in_order() {
        let paths = config_candidates(&env(&[("CONFIGURATION_DIRECTORY", "/cfg"), ("HOME", "/home/u")]));
        let expected = ["/cfg/contentd.toml", "/etc/contentd/contentd.toml", "/home/u/.config/contentd/contentd.toml"];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn database_urls() {
        for (url, path) in
            [("x.db", "x.db"), ("sqlite:x.db", "x.db"), ("sqlite:///a/x.db", "/a/x.db"), ("sqlite://x", "x")]
        {
            assert_eq!(parse_database_url(url), Ok(PathBuf::from(path)));
        }
        for url in ["", "sqlite:", "postgres://h/d", ":memory:", "sqlite::memory:", "/var/lib/"] {
            assert!(parse_database_url(url).is_err(), "{url}");
        }
    }
}
