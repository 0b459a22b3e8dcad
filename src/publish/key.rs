//! Under which key a piece is handed out: one that follows from the piece.
//!
//! A key that is drawn is lost with the database. After a restore the piece would go out under another one, and a publisher that
//! takes each key once would take it twice. So the key follows from what a backup has: the seed of the installation, the task, the
//! version, its text, and how often it was handed out before.
//!
//! The surprise: the text is in it although the version is, because an edit that was lost by a restore may be made again, with other
//! words. And the number is in it, because a person who says that a piece is not out, or a publisher that refused it, is answered
//! with a fresh try: under the old key it might be refused for ever, or taken for one that is out.

use sha2::{Digest, Sha256};

use crate::task::{AttemptKey, TaskId};

/// The name of the setting with the seed.
pub const SEED_SETTING: &str = "publish_seed";

/// Which text is handed out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceIdentity {
    /// The task that it was made for.
    pub task_id: TaskId,
    /// Which version of its piece, from 1.
    pub version: u32,
    /// SHA-256 of the text, in hexadecimal.
    pub content_hash: String,
}

/// The key of the handing out number `nth` of a piece, from 1, over all its entries of the pool.
pub fn publish_key(seed: &str, piece: &PieceIdentity, nth: u64) -> AttemptKey {
    let mut hash = Sha256::new();
    // None of these has a line break in it.
    let PieceIdentity { task_id, version, content_hash } = piece;
    hash.update(format!("contentd publish key 1\n{seed}\n{task_id}\n{version}\n{content_hash}\n{nth}\n"));
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    AttemptKey::from_random(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_follows_from_all_of_its_parts_and_from_nothing_else() {
        let piece = PieceIdentity { task_id: TaskId("task-1".into()), version: 1, content_hash: "aa".into() };
        let key = publish_key("seed", &piece, 1);
        assert_eq!(key, publish_key("seed", &piece.clone(), 1));
        // A version of contentd that made others would publish again what it restores.
        assert_eq!(key.as_str(), "b19d7a76530ec16e847bf7ff28ecfc75");
        let others = [
            publish_key("another", &piece, 1),
            publish_key("seed", &PieceIdentity { task_id: TaskId("task-2".into()), ..piece.clone() }, 1),
            publish_key("seed", &PieceIdentity { version: 2, ..piece.clone() }, 1),
            publish_key("seed", &PieceIdentity { content_hash: "ab".into(), ..piece.clone() }, 1),
            publish_key("seed", &piece, 2),
        ];
        for (n, other) in others.iter().enumerate() {
            assert_ne!(*other, key);
            assert!(!others[..n].contains(other));
        }
    }
}
