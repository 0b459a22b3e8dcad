//! No core files: a dump of a process that has held a secret is a copy of that secret.
//!
//! Under the packaged units `LimitCORE=0` says the same; this is for every other way of starting. The surprise: the limit
//! alone does not do, because a core pattern that is a pipe is not bound by it, and the attribute alone does not do,
//! because it ends with the next exec. So both: the limit goes on to every command that we start, and the attribute also
//! keeps other processes of our user from looking into this one (ptrace, `/proc/PID/mem` and `environ`).

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids them to this process, and as files also to all that it starts. Cannot be taken back.
pub fn forbid() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
