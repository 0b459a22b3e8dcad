//! Reads topic files: below directories of the configuration, and nowhere else.
//!
//! A caller on the socket names the file, so it must not become a way to read what only the daemon may. The kernel resolves
//! the path below an open directory (`openat2`, `RESOLVE_BENEATH`), so a link that leads out is refused at the moment of
//! opening and not before it. Blocks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use crate::schedule::limits::FILE_BYTES;

/// The contents of a file, or why it cannot be had and what would help.
pub fn read(directories: &[PathBuf], path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let place = directories.iter().find_map(|directory| Some((directory, path.strip_prefix(directory).ok()?)));
    let Some((directory, below)) = place.filter(|(_, below)| !below.as_os_str().is_empty()) else {
        let known: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
        let known = if known.is_empty() { "none is configured".to_owned() } else { known.join(", ") };
        return Err(format!(
            "{shown} lies below no directory of schedules.topic_directories ({known}): move it there, or name its directory"
        ));
    };
    let opened = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).and_then(|root| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat2(root, below, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
    });
    let file = File::from(opened.map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => {
            format!("{shown}: a link in it leads out of {}: put the file itself there", directory.display())
        }
        Errno::NOENT => format!("there is no file {shown} on the daemon's machine: make it, or mend its name"),
        error => format!("{shown} cannot be opened ({error}): let the daemon's user read it"),
    })?);
    let failed = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let mut contents = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > FILE_BYTES {
        return Err(format!("{shown} has more than {} MiB: split it", FILE_BYTES >> 20));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_lies_below_is_read_whatever_links_say() {
        let home = tempfile::tempdir().expect("a directory");
        let topics = home.path().join("topics");
        std::fs::create_dir_all(topics.join("deep")).expect("made");
        std::fs::write(home.path().join("secret"), "secret").expect("written");
        std::fs::write(topics.join("deep/a.txt"), "one\n").expect("written");
        let directories = [topics.clone()];
        let told = |path: &Path| read(&directories, path).expect_err("it is refused");
        assert_eq!(read(&directories, &topics.join("deep/a.txt")), Ok(b"one\n".to_vec()));
        symlink("deep/a.txt", topics.join("inside")).expect("linked");
        assert_eq!(read(&directories, &topics.join("inside")), Ok(b"one\n".to_vec()), "a link that stays is followed");
        symlink("../secret", topics.join("outside")).expect("linked");
        symlink(home.path().join("secret"), topics.join("absolute")).expect("linked");
        symlink("..", topics.join("up")).expect("linked");
        for name in ["outside", "absolute", "up/secret", "../secret", "deep/../../secret"] {
            let why = told(&topics.join(name));
            assert!(why.contains("leads out"), "{name}: {why}");
        }
        assert!(told(&home.path().join("secret")).contains("below no directory"));
        assert!(told(&home.path().join("topics-2/x")).contains("below no directory"));
        assert!(told(&topics).contains("below no directory"));
        assert!(told(&topics.join("deep")).contains("not a regular file"));
        assert!(told(&topics.join("none")).contains("there is no file"));
        let pipe = topics.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a pipe");
        assert!(told(&pipe).contains("not a regular file"), "and nobody is held up");
        let large = File::create(topics.join("large")).expect("made");
        large.set_len(FILE_BYTES + 1).expect("sparse");
        assert!(told(&topics.join("large")).contains("more than 16 MiB"));
    }
}
