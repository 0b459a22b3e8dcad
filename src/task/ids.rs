//! Identifiers. A task's id is for people; an attempt's key is what a generator gets as our id.
//!
//! Newtypes only: nothing here makes an id, because randomness comes in through [`crate::task::Entropy`].

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text as it stands in the database and on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

text_id! {
    /// `task-` and 12 characters; any unique prefix names the task on the command line.
    TaskId
}
text_id! {
    /// 128 random bits in 32 hexadecimal digits, committed with the intent of one attempt and
    /// never used for another: the only thing a generator needs to recognise a repeated submit.
    AttemptKey
}
text_id! {
    /// The name of a `[generators.NAME]` section of the configuration.
    GeneratorName
}
number_id! {
    /// An account that content is written for.
    AccountId
}
number_id! {
    /// A content record.
    ContentId
}
number_id! {
    /// An entry of the publish pool.
    PoolId
}

impl TaskId {
    /// What every task id begins with.
    pub const PREFIX: &'static str = "task-";
    /// How many characters follow the prefix.
    pub const RANDOM_LEN: usize = 12;

    /// Makes an id of random bytes: Crockford's base 32 without letters that look like digits,
    /// so that an id can be read out over a telephone. 60 bits.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut bits = u64::from_le_bytes(bytes);
        let mut text = String::with_capacity(Self::PREFIX.len() + Self::RANDOM_LEN);
        text.push_str(Self::PREFIX);
        for _ in 0..Self::RANDOM_LEN {
            text.push(char::from(ALPHABET[(bits & 31) as usize]));
            bits >>= 5;
        }
        Self(text)
    }
}

impl AttemptKey {
    /// Makes a key of 128 random bits.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_documented_shape() {
        let id = TaskId::from_random([0xff; 8]);
        assert_eq!(id.0.len(), 17);
        assert!(id.0.starts_with("task-zzzz"));
        let key = AttemptKey::from_random([0x0a; 16]);
        assert_eq!(key.0, "0a".repeat(16));
    }
}
