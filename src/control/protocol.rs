//! Messages: JSON objects, each ended by a NUL byte, as <https://varlink.org/Method-Call> has them.
//!
//! No sockets here: bytes go in, messages come out, and the other way round. The surprise: parameters are never made a
//! tree of values on the way in. The method is read first, then the same bytes again as what that method takes, so a
//! hostile message costs no more memory than its length.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::api::ApiError;

/// The longest message that a client may send.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The longest message that the daemon sends; what systemd's own library reads.
pub const MAX_REPLY_BYTES: usize = 16 << 20;

/// A message that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// Too long: where the next message begins is not known any more.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// What may be.
        limit: usize,
    },
    /// Not a JSON object with a method.
    #[error("a message is no Varlink call: {0}")]
    NoCall(String),
    /// Not a JSON object as replies are.
    #[error("a message is no Varlink reply: {0}")]
    NoReply(String),
}

/// Cuts a stream of bytes into messages. Each byte is looked at once.
#[derive(Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Where the first message that was not given out begins.
    start: usize,
    /// Up to where no NUL was found.
    scanned: usize,
    limit: usize,
}

/// A buffer that one long message made large is not kept.
const KEPT_CAPACITY: usize = 64 << 10;

impl Frames {
    /// Messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Takes in bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message without its NUL; `None` while there is none.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let found = self.buffer[self.scanned..].iter().position(|byte| *byte == 0);
        let Some(offset) = found else {
            self.scanned = self.buffer.len();
            if self.pending_len() > self.limit {
                return Err(ProtocolError::TooLong { limit: self.limit });
            }
            self.compact();
            return Ok(None);
        };
        let end = self.scanned + offset;
        if end - self.start > self.limit {
            return Err(ProtocolError::TooLong { limit: self.limit });
        }
        let frame = self.buffer[self.start..end].to_vec();
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(frame))
    }

    /// Bytes of messages that were not given out.
    pub fn pending_len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Moves what is left to the front, only when every whole message is out, so that each byte moves at most once
    /// for each read.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.len() < KEPT_CAPACITY && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer.shrink_to(KEPT_CAPACITY);
        }
    }
}

/// A call without its parameters.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct CallHead {
    /// `interface.Method`.
    pub method: String,
    /// The caller takes several replies.
    #[serde(default)]
    pub more: Option<bool>,
    /// The caller takes no reply.
    #[serde(default)]
    pub oneway: Option<bool>,
    /// The caller wants another protocol on this connection; never granted.
    #[serde(default)]
    pub upgrade: Option<bool>,
}

impl CallHead {
    /// Reads the head of a call.
    pub fn read(frame: &[u8]) -> Result<Self, ProtocolError> {
        serde_json::from_slice(frame).map_err(|error| ProtocolError::NoCall(error.to_string()))
    }

    /// Whether the caller takes several replies.
    pub fn wants_more(&self) -> bool {
        self.more == Some(true)
    }

    /// Whether the caller takes no reply.
    pub fn is_oneway(&self) -> bool {
        self.oneway == Some(true)
    }

    /// Interface and method; `None` without a dot.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.method.rsplit_once('.')
    }
}

#[derive(Deserialize)]
struct CallBody<P> {
    #[serde(default = "none")]
    parameters: Option<P>,
}

fn none<P>() -> Option<P> {
    None
}

/// Reads a call's parameters; none at all are an empty object. The error names the parameter.
pub fn read_parameters<P: DeserializeOwned>(frame: &[u8]) -> Result<P, ApiError> {
    match serde_json::from_slice::<CallBody<P>>(frame) {
        Ok(CallBody { parameters: Some(parameters) }) => Ok(parameters),
        Ok(CallBody { parameters: None }) => {
            let empty = Value::Object(serde_json::Map::new());
            P::deserialize(&empty).map_err(|error| invalid_parameter::<P>(&empty, &error.to_string()))
        }
        Err(error) => {
            let parameters = serde_json::from_slice::<CallBody<Value>>(frame).ok().and_then(|body| body.parameters);
            Err(invalid_parameter::<P>(&parameters.unwrap_or_default(), &error.to_string()))
        }
    }
}

/// How many parameters are tried to find the wrong one.
const TRIED_PARAMETERS: usize = 16;

/// Finds out which parameter is wrong: serde names unknown and missing fields; one of a wrong type is the one whose
/// absence changes the message.
fn invalid_parameter<P: DeserializeOwned>(parameters: &Value, message: &str) -> ApiError {
    let Value::Object(fields) = parameters else {
        return ApiError::InvalidParameter { parameter: "parameters".to_owned() };
    };
    let named = quoted_name(message).filter(|name| message.contains("missing field") || fields.contains_key(name));
    if let Some(parameter) = named {
        return ApiError::InvalidParameter { parameter };
    }
    let Err(original) = P::deserialize(parameters) else {
        // The second reading took it: a duplicate at most.
        return ApiError::InvalidParameter { parameter: "parameters".to_owned() };
    };
    let original = original.to_string();
    let mut tried = parameters.clone();
    for name in fields.keys().take(TRIED_PARAMETERS) {
        let Some(taken) = tried.as_object_mut().and_then(|fields| fields.remove(name)) else { continue };
        let is_culprit = P::deserialize(&tried).map_or_else(|error| error.to_string() != original, |_| true);
        if is_culprit {
            return ApiError::InvalidParameter { parameter: name.clone() };
        }
        tried[name] = taken;
    }
    ApiError::InvalidParameter { parameter: "parameters".to_owned() }
}

/// The name between the first backquotes of a message of serde.
fn quoted_name(message: &str) -> Option<String> {
    let is_about_a_name = ["unknown field `", "missing field `", "duplicate field `"];
    let start = is_about_a_name.iter().find_map(|text| message.find(text).map(|at| at + text.len()))?;
    let rest = &message[start..];
    // A hostile name may hold backquotes itself; the last one before the explanation ends it.
    let end = rest.find("`, expected").or_else(|| rest.find("` at line")).or_else(|| rest.rfind('`'))?;
    Some(rest[..end].to_owned())
}

/// A reply's bytes with the NUL, from parameters that are JSON already.
pub fn reply_frame(parameters: &[u8], continues: bool) -> Vec<u8> {
    let mut frame = Vec::with_capacity(parameters.len() + 40);
    frame.extend_from_slice(b"{\"parameters\":");
    frame.extend_from_slice(parameters);
    if continues {
        frame.extend_from_slice(b",\"continues\":true");
    }
    frame.extend_from_slice(b"}\0");
    frame
}

/// An error's bytes with the NUL.
pub fn error_frame(error: &ApiError) -> Vec<u8> {
    // Strings, numbers and lists of them always serialise; the fallback keeps the connection in step all the same.
    let mut frame = serde_json::to_vec(error)
        .unwrap_or_else(|_| br#"{"error":"io.contentd.Daemon.Internal","parameters":{"reason":""}}"#.to_vec());
    frame.push(0);
    frame
}

/// A call as a client writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Call<'a, P> {
    /// `interface.Method`.
    pub method: &'a str,
    /// What it takes.
    pub parameters: P,
    /// Several replies are taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// No reply is taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
}

/// A reply as a client reads it.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Reply {
    /// What came back.
    #[serde(default)]
    pub parameters: Value,
    /// Another reply follows.
    #[serde(default)]
    pub continues: Option<bool>,
    /// The name of an error.
    #[serde(default)]
    pub error: Option<String>,
}

impl Reply {
    /// Reads a reply.
    pub fn read(frame: &[u8]) -> Result<Self, ProtocolError> {
        serde_json::from_slice(frame).map_err(|error| ProtocolError::NoReply(error.to_string()))
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
