//! What becomes of a piece: the content record, its review and its way to the publish pool.
//!
//! The third small machine. Rendering (Markdown to HTML and to plain text) happens outside and comes in as text,
//! because this core knows no markup; counting, titles and summaries are here.

use serde::{Deserialize, Serialize};

use super::ids::{AccountId, ContentId, PoolId, TaskId};
use super::outcome::Image;
use super::state::{IllegalMove, named};
use super::time::Timestamp;

named! {
    /// Whether a person, or the task's rule, has approved a piece.
    ReviewState {
        /// Waits for a person.
        PendingReview = "pending_review",
        /// May be published.
        Approved = "approved",
        /// Must not be published.
        Rejected = "rejected",
        /// A newer version of the same piece has taken its place.
        Superseded = "superseded",
    }
}

named! {
    /// What can happen to a content record; each is the `event` of an audit row.
    ReviewMove {
        /// Approved, by the task's rule or by a person.
        Approved = "content_approved",
        /// Rejected by a person.
        Rejected = "content_rejected",
        /// A newer version took its place.
        Superseded = "content_superseded",
    }
}

impl ReviewState {
    /// The transition table of the review. A rejected piece may be approved after all; an approved one is rejected only
    /// while it has not been published, which the store checks. A superseded one is only kept.
    pub const fn target(self, event: ReviewMove) -> Option<Self> {
        match event {
            ReviewMove::Approved => match self {
                Self::PendingReview | Self::Rejected => Some(Self::Approved),
                Self::Approved | Self::Superseded => None,
            },
            ReviewMove::Rejected => match self {
                Self::PendingReview | Self::Approved => Some(Self::Rejected),
                Self::Rejected | Self::Superseded => None,
            },
            ReviewMove::Superseded => match self {
                Self::PendingReview | Self::Approved | Self::Rejected => Some(Self::Superseded),
                Self::Superseded => None,
            },
        }
    }

    /// As [`ReviewState::target`], with a named error.
    pub fn after(self, event: ReviewMove) -> Result<Self, IllegalMove> {
        self.target(event).ok_or(IllegalMove { from: self.as_str(), event: event.as_str() })
    }
}

named! {
    /// How far publishing has come.
    PublishState {
        /// Not in the pool.
        Unpublished = "unpublished",
        /// In the pool.
        Pooled = "pooled",
        /// Out in the world.
        Published = "published",
    }
}

named! {
    /// Where an entry of the publish pool stands.
    PoolState {
        /// Waits to be handed out.
        Pending = "pending",
        /// Handed to a publisher.
        Publishing = "publishing",
        /// Published.
        Published = "published",
        /// Given up.
        Failed = "failed",
        /// It may be out already: a person decides.
        Held = "held",
        /// Taken out, by a person or because its approval was withdrawn.
        Removed = "removed",
    }
}

named! {
    /// What the due time of an entry comes from.
    DueBy {
        /// Nobody's wish: the time of its approval, or the end of a back-off.
        AtOnce = "at_once",
        /// A time of the clock at which pieces go out.
        Calendar = "calendar",
        /// A person gave it.
        Person = "person",
    }
}

impl DueBy {
    /// By how much a due time moves with a clock that is set by `by_ms`. A time of the clock keeps its hour, and moves only where
    /// the days before it come again; a person's stays.
    pub const fn shifted_by(self, by_ms: i64) -> i64 {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        match self {
            Self::AtOnce => by_ms,
            Self::Calendar if by_ms < 0 => by_ms - by_ms % DAY_MS,
            Self::Calendar | Self::Person => 0,
        }
    }
}

/// A content record before it has a number.
#[derive(Clone, PartialEq, Debug)]
pub struct NewContent {
    /// The task that it is of.
    pub task_id: TaskId,
    /// Who it is for.
    pub account_id: AccountId,
    /// Which version of the piece, from 1.
    pub version: u32,
    /// From the topic or by hand, at most [`TITLE_CHARS`] characters.
    pub title: String,
    /// The piece as it was written.
    pub content: String,
    /// Its HTML, sanitised.
    pub html_content: String,
    /// The beginning of its text, at most [`SUMMARY_CHARS`] characters.
    pub summary: String,
    /// Its images.
    pub images: Vec<Image>,
    /// The first of them.
    pub cover_image: Option<String>,
    /// See [`word_count`].
    pub word_count: u32,
    /// The generator's own score.
    pub quality_score: Option<f64>,
    /// The task's category.
    pub category: Option<String>,
    /// Where its review stands.
    pub review_status: ReviewState,
    /// Why.
    pub review_reason: Option<String>,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// Why the rules of the review refused it, a sentence each; kept when a person decides otherwise.
    pub findings: Vec<String>,
    /// Who made this version by hand; none: the generator.
    pub edited_by: Option<String>,
    /// The task that writes it again.
    pub rewritten_by: Option<TaskId>,
    /// How far publishing has come.
    pub publish_status: PublishState,
    /// SHA-256 of content, HTML and images in hexadecimal, and of the title in a version by hand; an approval names it.
    pub content_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A version of a piece, as small as deciding about the others needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its content record.
    pub id: ContentId,
    /// From 1.
    pub version: u32,
    /// Where its review stands.
    pub review_status: ReviewState,
    /// How far publishing has come.
    pub publish_status: PublishState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A content record as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct ContentRecord {
    /// Its number.
    pub id: ContentId,
    /// Everything else.
    pub record: NewContent,
    /// Where and when it went out; none while it did not.
    pub publication: Option<Publication>,
}

/// Where and when a piece went out, and by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// When contentd heard of it.
    pub at: Timestamp,
    /// The publisher of the configuration, or the `uid:name` of who took it from the pool or settled it.
    pub by: String,
    /// Its address.
    pub url: Option<String>,
    /// What it is called there.
    pub reference: Option<String>,
}

/// An entry of the publish pool.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolEntry {
    /// Its number.
    pub id: PoolId,
    /// Which piece.
    pub content_id: ContentId,
    /// For whom.
    pub account_id: AccountId,
    /// The task's priority: 10 goes out first.
    pub priority: u8,
    /// Not before this time.
    pub scheduled_at: Timestamp,
    /// Where it stands.
    pub status: PoolState,
    /// Publishing attempts that failed.
    pub retry_count: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When it went out.
    pub published_at: Option<Timestamp>,
    /// When it was pooled.
    pub created_at: Timestamp,
    /// Why it must not go out before a person decides; none where it may.
    pub held_reason: Option<String>,
    /// How often it was handed out; the number of the last one. It only grows, so that a late answer is known as one.
    pub fence: u64,
    /// While it is being published: when somebody must look at it. For a consumer, the end of the lease.
    pub wake_at: Option<Timestamp>,
    /// What `scheduled_at` comes from.
    pub due_by: DueBy,
    /// A database that this one replaced may have put it out: nobody has handed it out since.
    pub may_be_out: bool,
}

impl PoolEntry {
    /// It is due at once, or after a back-off that ends then.
    pub fn due_at_once(&mut self, at: Timestamp) {
        (self.scheduled_at, self.due_by) = (at, DueBy::AtOnce);
    }
}

/// A piece with its renderings: what the result handler hands to the store.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RenderedPiece {
    /// The piece as it was written.
    pub content: String,
    /// Sanitised HTML.
    pub html: String,
    /// The same without markup.
    pub plain_text: String,
    /// SHA-256 in hexadecimal, see [`NewContent::content_hash`].
    pub content_hash: String,
}

/// The longest title.
pub const TITLE_CHARS: usize = 255;
/// The longest summary.
pub const SUMMARY_CHARS: usize = 200;

/// The title of a piece: its task's topic on one line.
pub fn title_of(topic: &str) -> String {
    shortened(&one_line(topic), TITLE_CHARS)
}

/// The beginning of a text, on one line.
pub fn summary_of(plain_text: &str) -> String {
    // Only as much is folded as can be shown: a piece may be megabytes.
    let head: String = plain_text.chars().take(SUMMARY_CHARS * 8).collect();
    shortened(&one_line(&head), SUMMARY_CHARS)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.push('…');
    short
}

/// Counts words as people do who write Chinese: each Han, kana or Hangul-free East Asian character is one word, each
/// run of other letters and digits is one word, punctuation and space are none. Hangul is written with spaces and is
/// counted by runs.
pub fn word_count(plain_text: &str) -> u32 {
    let mut count: u32 = 0;
    let mut is_inside_word = false;
    for character in plain_text.chars() {
        if is_counted_singly(character) {
            count = count.saturating_add(1);
            is_inside_word = false;
        } else if character.is_alphanumeric() {
            count = count.saturating_add(u32::from(!is_inside_word));
            is_inside_word = true;
        } else if !joins_words(character) {
            is_inside_word = false;
        }
    }
    count
}

/// How [`word_count`] counts, in a sentence for people.
pub const WORD_COUNT_RULE: &str = "each Chinese or Japanese character counts one, each other word counts one";

pub(super) fn is_counted_singly(character: char) -> bool {
    matches!(u32::from(character),
        0x3040..=0x30FF // Hiragana, Katakana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF // Han
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
        && character != '・'
}

/// `don't`, `state-of-the-art` and `3.14` are one word each.
fn joins_words(character: char) -> bool {
    matches!(character, '\'' | '’' | '-' | '.' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_people_do() {
        assert_eq!(word_count("人工智能"), 4);
        assert_eq!(word_count("使用 Rust 编写，很快！"), 7);
        assert_eq!(word_count("It doesn't cost 3.14 dollars."), 5);
        assert_eq!(word_count("한국어 문장"), 2);
        assert_eq!(word_count("カタカナ"), 4);
        assert_eq!(word_count(" \n—…!!! "), 0);
    }

    #[test]
    fn titles_and_summaries_are_bounded_in_characters() {
        let long = "字".repeat(300);
        assert_eq!(title_of(&long).chars().count(), TITLE_CHARS);
        assert!(title_of(&long).ends_with('…'));
        assert_eq!(summary_of(&long).chars().count(), SUMMARY_CHARS);
        assert_eq!(title_of("two\nlines"), "two lines");
    }

    #[test]
    fn a_review_is_decided_once_and_can_be_changed() {
        use ReviewMove::{Approved, Rejected};
        assert_eq!(ReviewState::PendingReview.target(Approved), Some(ReviewState::Approved));
        assert_eq!(ReviewState::Approved.target(Approved), None);
        assert_eq!(ReviewState::Approved.target(Rejected), Some(ReviewState::Rejected));
        assert_eq!(ReviewState::Rejected.target(Approved), Some(ReviewState::Approved));
        assert!(ReviewMove::ALL.iter().all(|event| ReviewState::Superseded.target(*event).is_none()));
    }
}
