//! The message by which a run is handed over to a runner that the service manager starts.
//!
//! It must be sent whole or not at all, and the receiver believes nothing in it. The surprise: the message *is* the
//! lock. While it is under way, to somebody who may never receive it, the descriptor in it keeps the run file locked;
//! when it is thrown away the lock is free, and the run has never started.
//!
//! # The message, version 1
//!
//! One packet on a connection of type `SOCK_SEQPACKET`, from the daemon to the runner: the line `contentd-run 1`, then
//! [`Order`] in JSON, 16 KiB together at most. With it come exactly two descriptors (`SCM_RIGHTS`), in this order:
//!
//! 1. the run file `lock` of the run directory that the order names, open for reading and locked with `flock`; it
//!    becomes the command's standard input;
//! 2. the command's whole environment, `NAME=VALUE` with a NUL byte after each, 4 MiB at most, in a memfd that is
//!    sealed against writing, growing, shrinking and other seals. Secrets travel here and nowhere else.
//!
//! The runner answers with one packet: `started`, or why it did not start the command. Another version has another
//! number in its first line, and is refused by whoever does not know it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FlockOperation, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, flock, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::super::exec::Environment;
use super::super::runfile::key_as_name;

const HEAD: &[u8] = b"contentd-run 1\n";
const MAX_MESSAGE: usize = 16 << 10;
const MAX_ENVIRONMENT: u64 = 4 << 20;
const DESCRIPTORS: usize = 2;

/// What is to be run, and for whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The run directory: an absolute path that ends in `runs/v1/KEY`.
    pub directory: PathBuf,
    /// The task, for people who look at units and journals.
    pub task: String,
    /// The generator, likewise.
    pub generator: String,
}

/// An order that was received, with what came along.
pub struct Handover {
    /// What is to be run.
    pub order: Order,
    /// The locked run file.
    pub lock: File,
    /// The command's environment.
    pub environment: Environment,
}

/// Why a message was not taken. Nothing was started; the lock that came with it is free again.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// Nobody sent one.
    #[error("the connection ended without a message")]
    NoMessage,
    /// The connection does not work.
    #[error("the message cannot be received: {0}")]
    Io(#[from] io::Error),
    /// It is of another version.
    #[error("the message is not of version 1: install contentd and contentd-run of one package")]
    OtherVersion,
    /// Its form is wrong.
    #[error("the message is malformed: {0}")]
    Malformed(String),
    /// It names no run.
    #[error("directory {}: {why}: it must be the absolute path of a directory runs/v1/KEY", .path.display())]
    Directory {
        /// What it names.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The first descriptor is wrong.
    #[error("the first descriptor is not the run's lock: {0}")]
    Lock(&'static str),
    /// The second descriptor is wrong.
    #[error("the second descriptor is not a sealed environment: {0}")]
    Environment(&'static str),
}

/// Puts an environment where it cannot change any more.
pub fn seal(environment: &Environment) -> io::Result<File> {
    let mut block = Vec::new();
    for (name, value) in &environment.0 {
        for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
            block.extend_from_slice(part);
        }
    }
    if block.len() as u64 > MAX_ENVIRONMENT {
        let why = format!("the environment has {} bytes, and {MAX_ENVIRONMENT} are possible", block.len());
        return Err(io::Error::other(why));
    }
    let mut file = File::from(memfd_create("environment", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(&block)?;
    fcntl_add_seals(&file, all_seals())?;
    Ok(file)
}

const fn all_seals() -> SealFlags {
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE)
}

/// Sends the message. An error means that nothing of it was sent. The caller's copies of the descriptors are still open
/// afterwards, and it must close them.
pub fn send(connection: BorrowedFd<'_>, order: &Order, lock: &File, environment: &File) -> io::Result<()> {
    let mut message = HEAD.to_vec();
    serde_json::to_writer(&mut message, order)?;
    if message.len() > MAX_MESSAGE {
        return Err(io::Error::other(format!(
            "the message has {} bytes, and {MAX_MESSAGE} are possible",
            message.len()
        )));
    }
    let descriptors = [lock.as_fd(), environment.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if !along.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("there is no room for the descriptors"));
    }
    loop {
        match sendmsg(connection, &[IoSlice::new(&message)], &mut along, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives the message and judges it. It waits for as long as the connection's own time limit lets it.
pub fn receive(connection: BorrowedFd<'_>) -> Result<Handover, HandoverError> {
    if sockopt::socket_type(connection).map_err(io::Error::from)? != SocketType::SEQPACKET {
        let why = "the socket is not of type SOCK_SEQPACKET: contentd-run.socket needs ListenSequentialPacket=";
        return Err(HandoverError::Malformed(why.to_owned()));
    }
    let (message, descriptors) = receive_packet(connection)?;
    let text = message.strip_prefix(HEAD).ok_or(HandoverError::OtherVersion)?;
    let order: Order = serde_json::from_slice(text).map_err(|error| HandoverError::Malformed(error.to_string()))?;
    for name in [&order.task, &order.generator] {
        // They go to the journal.
        if key_as_name(&name.as_str().into()).is_none() {
            return Err(HandoverError::Malformed(format!("{name:?} is no name of a task or a generator")));
        }
    }
    check_directory(&order.directory)?;
    let found = descriptors.len();
    let [lock, environment]: [OwnedFd; DESCRIPTORS] = descriptors
        .try_into()
        .map_err(|_| HandoverError::Malformed(format!("it came with {found} descriptors instead of {DESCRIPTORS}")))?;
    let (lock, environment) = (File::from(lock), File::from(environment));
    check_lock(&lock, &order.directory)?;
    let environment = open_environment(&environment)?;
    Ok(Handover { order, lock, environment })
}

fn receive_packet(connection: BorrowedFd<'_>) -> Result<(Vec<u8>, Vec<OwnedFd>), HandoverError> {
    let mut message = vec![0; MAX_MESSAGE + 1];
    // Room for more than the right number, so that a wrong one is seen.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS + 2))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(connection, &mut [IoSliceMut::new(&mut message)], &mut along, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.map_err(io::Error::from)?,
        }
    };
    let mut descriptors = Vec::new();
    for part in along.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || received.bytes > MAX_MESSAGE {
        return Err(HandoverError::Malformed("it is too long, or has too many descriptors".to_owned()));
    }
    if received.bytes == 0 {
        return Err(HandoverError::NoMessage);
    }
    message.truncate(received.bytes);
    Ok((message, descriptors))
}

fn check_directory(path: &Path) -> Result<(), HandoverError> {
    let failed = |why| HandoverError::Directory { path: path.to_owned(), why };
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // Components drop `.` and doubled slashes, so the path is compared with what they make.
    let plain: PathBuf = path.components().collect();
    if !path.is_absolute() || !path.components().all(is_plain) || plain.as_os_str() != path.as_os_str() {
        return Err(failed("it is not a plain absolute path"));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if key_as_name(&name.into()).is_none() || !path.parent().is_some_and(|parent| parent.ends_with("runs/v1")) {
        return Err(failed("it does not end in runs/v1/KEY"));
    }
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(failed("it is not a directory")),
        Err(_) => Err(failed("it cannot be looked at")),
    }
}

fn check_lock(lock: &File, directory: &Path) -> Result<(), HandoverError> {
    let meta = lock.metadata().map_err(|_| HandoverError::Lock("it cannot be looked at"))?;
    if !meta.is_file() {
        return Err(HandoverError::Lock("it is not a regular file"));
    }
    let named = directory.join("lock").symlink_metadata();
    if !named.is_ok_and(|named| (named.dev(), named.ino()) == (meta.dev(), meta.ino())) {
        return Err(HandoverError::Lock("it is not the file `lock` of the run directory"));
    }
    // The lock came with the descriptor; this would only fail if another one held it.
    flock(lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| HandoverError::Lock("somebody else holds it"))
}

fn open_environment(file: &File) -> Result<Environment, HandoverError> {
    let failed = HandoverError::Environment;
    let meta = file.metadata().map_err(|_| failed("it cannot be looked at"))?;
    let seals = fcntl_get_seals(file).map_err(|_| failed("it has no seals"))?;
    if !meta.is_file() || !seals.contains(all_seals()) {
        return Err(failed("it is not sealed against every change"));
    }
    let size = Some(meta.len()).filter(|size| *size <= MAX_ENVIRONMENT).ok_or(failed("it is too long"))?;
    let mut block = vec![0; usize::try_from(size).map_err(|_| failed("it is too long"))?];
    file.read_exact_at(&mut block, 0).map_err(|_| failed("it cannot be read"))?;
    let mut environment = Environment::default();
    let Some(body) = block.strip_suffix(b"\0") else {
        return if block.is_empty() { Ok(environment) } else { Err(failed("its last variable is cut off")) };
    };
    for variable in body.split(|byte| *byte == 0) {
        let at = variable.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let (name, value) = variable.split_at(at.ok_or(failed("it holds something that is no NAME=VALUE"))?);
        environment.set(OsString::from_vec(name.to_vec()), OsString::from_vec(value[1..].to_vec()));
    }
    Ok(environment)
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
