//! The real binary, broken in every way that a machine, a disk, a generator or a client can break it.
//!
//! - `kills`: SIGKILL at random instants under load
//! - `stops`: SIGSTOP, with and without calls under way; a wall clock that is set
//! - `disk`: no room, failing fsyncs, torn writes, by a shim before the C library (`shim.c`)
//! - `edges`: what is longer than a message, files that are no files, names that lead elsewhere by now
//! - `database`: locked by others, read-only, damaged
//! - `limits`: no file descriptors
//! - `hostile`: generator programs that behave as badly as programs can
//! - `clients`: clients of the socket that do
//!
//! What needs a service manager, a file system of its own or several users is `scripts/test-systemd faults`. Needs `cc`, which Rust
//! needs for linking too. `CONTENTD_KILL_ROUNDS=2000` makes a long night of `kills`, and `CONTENTD_FAULTS_SEED` draws the same
//! instants and tasks again; a test that fails prints its seed.

#[path = "../support/live.rs"]
mod live;
#[path = "../support/tally.rs"]
mod tally;

mod clients;
mod counting;
mod database;
mod disk;
mod edges;
mod hostile;
mod kills;
mod limits;
mod promises;
mod shim;
mod stops;
