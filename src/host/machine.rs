//! What the machine has left, and who looks after this process: for the doctor. Nothing here is judged.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Bytes that this user may still write to the file system of a path.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How this machine calls itself.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Open files of this process, and how many may be; none where there is no limit or it cannot be counted.
pub fn open_files() -> Option<(u64, u64)> {
    let limit = getrlimit(Resource::Nofile).current?;
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some((u64::try_from(open).unwrap_or(u64::MAX), limit))
}

/// Who looks after this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Supervision {
    /// It runs as a unit of systemd.
    pub is_unit: bool,
    /// After how long without a sign of life it is restarted.
    pub watchdog: Option<Duration>,
}

/// Read off the environment, which comes in as a function.
pub fn supervision(env: &dyn Fn(&str) -> Option<String>) -> Supervision {
    let watchdog = env("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|us| *us > 0);
    // The shell of somebody's session has an INVOCATION_ID, too, and gives it to what is started by hand.
    let is_unit = match env("SYSTEMD_EXEC_PID") {
        Some(pid) => pid.parse() == Ok(std::process::id()),
        None => env("INVOCATION_ID").is_some(),
    };
    Supervision { is_unit, watchdog: watchdog.map(Duration::from_micros) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(disk_free(Path::new("/")).is_ok());
        assert!(disk_free(Path::new("/no/such/place")).is_err());
        assert!(open_files().is_none_or(|(open, _)| open > 0));
        let none = supervision(&|_| None);
        assert_eq!(none, Supervision { is_unit: false, watchdog: None });
        let unit = |pid: u32| {
            move |name: &str| match name {
                "WATCHDOG_USEC" => Some("30000000".to_owned()),
                "SYSTEMD_EXEC_PID" => Some(pid.to_string()),
                _ => Some("id".to_owned()),
            }
        };
        let some = supervision(&unit(std::process::id()));
        assert_eq!(some, Supervision { is_unit: true, watchdog: Some(Duration::from_secs(30)) });
        assert!(!supervision(&unit(1)).is_unit, "started by hand in a shell that is of a unit");
    }
}
