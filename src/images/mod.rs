//! Images of pieces, fetched and kept beside the database, because their addresses expire.
//!
//! - [`address`]: which addresses may be asked
//! - [`fetch`]: one image over HTTP, within bounds
//! - this file: where it lies, and how it comes to lie there whole
//!
//! An image's server is as untrusted as a generator: it may answer for ever, slowly, with something else, or send us
//! elsewhere. Nothing of it is trusted but its bytes, and a name is made by us from their hash. Nothing here knows the
//! database. The surprise: each fetch has a thread of its own and not one of those that the daemon's calls share, because
//! a server may take its whole time.

pub mod address;
pub mod fetch;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::task::image::{ImageFault, type_of};

/// The directory of images below the state directory.
const DIRECTORY: &str = "images";
/// What the names of unfinished files begin with.
const PART: &str = ".part-";
/// How many bytes say the type of an image.
const HEAD_BYTES: usize = 16;

/// Where the image of a name lies.
pub fn path_of(state_dir: &Path, name: &str) -> PathBuf {
    let shelf: String = name.chars().take(2).collect();
    state_dir.join(DIRECTORY).join(shelf).join(name)
}

/// An image that lies on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its name.
    pub file: String,
    /// By its bytes.
    pub media_type: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// Whoever fetches images and keeps them.
pub trait KeepImages: Send + Sync + 'static {
    /// Resolves when the image is on disk, or why it is not.
    fn keep(&self, url: String) -> BoxFuture<'static, Result<Kept, ImageFault>>;
}

/// The bounds of a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The largest image.
    pub max_bytes: u64,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Whether addresses of this machine and of private networks may be asked.
    pub allow_private: bool,
}

/// Fetches over HTTP and keeps files.
pub struct ImageKeeper {
    shared: Arc<Shared>,
}

struct Shared {
    state_dir: PathBuf,
    bounds: Bounds,
}

/// Counts unfinished files, of all keepers: a reload makes a new one while the old one is at work.
static PARTS: AtomicU64 = AtomicU64::new(0);

impl ImageKeeper {
    /// Keeps images below `state_dir`. What a daemon that died left unfinished goes.
    pub fn new(state_dir: PathBuf, bounds: Bounds) -> Self {
        remove_parts(&state_dir.join(DIRECTORY));
        Self { shared: Arc::new(Shared { state_dir, bounds }) }
    }
}

fn remove_parts(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let ours = format!("{PART}{}-", std::process::id());
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PART)
            && !name.starts_with(&ours)
            && let Err(error) = fs::remove_file(entry.path())
        {
            log::warn!("{}: an unfinished image could not be removed: {error}", entry.path().display());
        }
    }
}

impl KeepImages for ImageKeeper {
    fn keep(&self, url: String) -> BoxFuture<'static, Result<Kept, ImageFault>> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("image".to_owned()).spawn(move || {
            // Nobody waits any more where the daemon is ending: the image is fetched again.
            let _ = tell.send(shared.keep(&url));
        });
        async move {
            thread.map_err(|error| ImageFault::Passing(format!("no thread for its fetch: {error}")))?;
            let died = |_| Err(ImageFault::Passing("its fetch ended in a panic of contentd".to_owned()));
            told.await.unwrap_or_else(died)
        }
        .boxed()
    }
}

impl Shared {
    /// Blocks.
    fn keep(&self, url: &str) -> Result<Kept, ImageFault> {
        let directory = self.state_dir.join(DIRECTORY);
        make_directory(&directory).map_err(|error| unkept(&directory, &error))?;
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = directory.join(format!("{PART}{}-{number}", std::process::id()));
        let kept = self.keep_as(url, &part);
        if kept.is_err() {
            // It may never have been made.
            let _ = fs::remove_file(&part);
        }
        kept
    }

    fn keep_as(&self, url: &str, part: &Path) -> Result<Kept, ImageFault> {
        let failed = |error: io::Error| unkept(part, &error);
        let mut file =
            Part { file: File::create(part).map_err(failed)?, hash: Sha256::new(), bytes: 0, head: Vec::new() };
        fetch::fetch(url, &self.bounds, &mut |chunk| file.take(chunk).map_err(failed))?;
        let (media_type, ending) = file.kind()?;
        file.file.sync_all().map_err(failed)?;
        let hash: String = file.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{hash}.{ending}");
        let path = path_of(&self.state_dir, &name);
        let shelf = path.parent().unwrap_or(&self.state_dir);
        make_directory(shelf).map_err(|error| unkept(shelf, &error))?;
        fs::rename(part, &path).map_err(|error| unkept(&path, &error))?;
        File::open(shelf).and_then(|shelf| shelf.sync_all()).map_err(|error| unkept(shelf, &error))?;
        Ok(Kept { file: name, media_type, bytes: file.bytes })
    }
}

fn unkept(path: &Path, error: &io::Error) -> ImageFault {
    ImageFault::Passing(format!("{}: the image cannot be kept: {error}", path.display()))
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    // A name in a directory that is not on disk is no name.
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A file that is being written.
struct Part {
    file: File,
    hash: Sha256,
    bytes: u64,
    head: Vec<u8>,
}

impl Part {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(chunk.iter().take(missing));
        Ok(())
    }

    fn kind(&self) -> Result<(&'static str, &'static str), ImageFault> {
        type_of(&self.head).ok_or_else(|| {
            let begin: String =
                self.head.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
            ImageFault::Final(format!("no PNG, JPEG, GIF or WebP: its {} bytes begin with {begin:?}", self.bytes))
        })
    }
}
