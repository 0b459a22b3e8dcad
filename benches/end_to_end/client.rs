//! The client program of every row: blocking, on messages that were made before the clock starts.
//!
//! What is measured is the daemon, so a call here is one write, reads up to the last byte, and a look at the first ones. Another
//! program whose protocol is as simple is called by the same lines.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use contentd::control::protocol::Call;
use serde::Serialize;
use serde_json::{Value, json};

/// The longest wait for an answer: a drain of many tasks is one.
const PATIENCE: Duration = Duration::from_secs(600);

/// What must be known of a protocol to send ready messages and to take their replies.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The last byte of every reply, and of nothing within one.
    pub end: u8,
    /// How a reply begins that is no refusal.
    pub accepted: &'static [u8],
}

/// contentd's.
pub const VARLINK: Dialect = Dialect { end: 0, accepted: b"{\"parameters\":" };

/// A connection.
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    dialect: Dialect,
}

impl Client {
    /// Connects to contentd.
    pub fn connect(socket: &Path) -> std::io::Result<Self> {
        Self::connect_in(VARLINK, socket)
    }

    /// Connects to whoever speaks this.
    pub fn connect_in(dialect: Dialect, socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; 1 << 20], dialect })
    }

    /// Sends a message that was made before and gives the reply without its last byte.
    pub fn exchange(&mut self, message: &[u8]) -> std::io::Result<&[u8]> {
        self.stream.write_all(message)?;
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                self.buffer.resize(2 * length, 0);
            }
            let count = self.stream.read(&mut self.buffer[length..])?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            length += count;
            if self.buffer[length - 1] == self.dialect.end {
                return Ok(&self.buffer[..length - 1]);
            }
        }
    }

    /// The same; a refusal is an error.
    pub fn ask(&mut self, message: &[u8]) -> anyhow::Result<&[u8]> {
        let accepted = self.dialect.accepted;
        let reply = self.exchange(message)?;
        if !reply.starts_with(accepted) {
            bail!("refused: {}", String::from_utf8_lossy(reply));
        }
        Ok(reply)
    }

    /// A call whose cost does not matter.
    pub fn call(&mut self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let message = message(method, parameters);
        let reply = self.ask(&message).with_context(|| method.to_owned())?;
        let mut reply: Value = serde_json::from_slice(reply)?;
        Ok(reply["parameters"].take())
    }
}

/// A call as it goes over the socket.
pub fn message(method: &str, parameters: impl Serialize) -> Vec<u8> {
    let call = Call { method, parameters, more: false, oneway: false };
    // Strings and numbers always serialise.
    let mut message = serde_json::to_vec(&call).unwrap_or_default();
    message.push(0);
    message
}

/// What is about to be written in every row: some 300 bytes as a message.
pub const TOPIC: &str = "How a small queue keeps its promises when the power goes out in the middle of a job";
/// Instructions as a person would give them.
pub const REQUIREMENTS: &str =
    "Plain words, short sentences, one example from daily life, no more than six hundred words";

/// What a generator inside this process brings.
pub const PIECE: &str = "A piece of some thirty words, short enough that it costs nothing to carry it around, and long enough to be \
                         told from an empty one by whoever looks at it";

/// A task for the account of a bench, to be written by `generator`.
pub fn submission(generator: &str) -> Value {
    json!({ "account": "1", "topic": TOPIC, "requirements": REQUIREMENTS, "generator": generator })
}

/// A submit of one task.
pub fn submit(generator: &str) -> Vec<u8> {
    message("io.contentd.Tasks.Submit", json!({ "task": submission(generator) }))
}

/// A submit of many tasks in one call.
pub fn submit_batch(generator: &str, count: usize) -> Vec<u8> {
    let tasks = vec![submission(generator); count];
    message("io.contentd.Tasks.SubmitBatch", json!({ "tasks": tasks }))
}

/// Submits `count` tasks as quickly as it goes.
pub fn fill(client: &mut Client, generator: &str, count: usize) -> anyhow::Result<()> {
    let whole = submit_batch(generator, 500);
    for _ in 0..count / 500 {
        client.ask(&whole)?;
    }
    match count % 500 {
        0 => {}
        rest => drop(client.ask(&submit_batch(generator, rest))?),
    }
    Ok(())
}

/// How many tasks are in a state. The time in the future keeps everything but the kept counters out of the question.
pub fn by_state(client: &mut Client, state: &str) -> anyhow::Result<u64> {
    let reply = client.call("io.contentd.Tasks.Statistics", &json!({ "since": "2999-01-01T00:00:00Z" }))?;
    ensure!(reply["by_state"].is_object(), "no states in {reply}");
    Ok(reply["by_state"][state].as_u64().unwrap_or(0))
}
