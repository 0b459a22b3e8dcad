//! `[review]` and `[images]`: how pieces are reviewed, and whether their images are kept.
//!
//! The surprise: a list of words is read whole or not at all, so that a mistake in one of them does not let pieces pass
//! that the others would have stopped.

use std::time::Duration;

use super::error::Faults;
use super::reader::{Section, wanted};
use crate::task::review::{Phrase, ReviewRules};

/// Words of one list, and characters of a word.
const MAX_WORDS: usize = 2_000;
const MAX_WORD_CHARS: usize = 200;

/// How pieces are reviewed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReviewConfig {
    /// Nobody approves what they submitted themselves, and nothing is approved by itself.
    pub four_eyes: bool,
    /// What `auto_approve` means.
    pub rules: ReviewRules,
}

/// Images of pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImagesConfig {
    /// They are fetched and kept beside the piece.
    pub keep: bool,
    /// The largest that is kept.
    pub max_bytes: u32,
    /// So many of a piece.
    pub max_per_piece: u32,
    /// How long the fetch of one may take.
    pub timeout: Duration,
    /// Addresses of this machine and of private networks are asked, too.
    pub allow_private: bool,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            keep: false,
            max_bytes: 20 << 20,
            max_per_piece: 20,
            timeout: Duration::from_secs(60),
            allow_private: false,
        }
    }
}

/// Reads `[review]`.
pub(super) fn read(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> ReviewConfig {
    let Some(mut section) = section else { return ReviewConfig::default() };
    let four_eyes = section.truth("four_eyes", faults).is_some_and(|value| value.value);
    let rules = ReviewRules {
        min_score: section.decimal("min_score", -1e12..=1e12, faults),
        min_words: section.number("min_words", 1..=100_000_000, faults),
        max_words: section.number("max_words", 1..=100_000_000, faults),
        min_images: section.number("min_images", 1..=10_000, faults),
        forbidden: phrases(&mut section, "forbidden_words", faults),
        required: phrases(&mut section, "required_words", faults),
    };
    if let (Some(least), Some(most)) = (rules.min_words, rules.max_words)
        && least > most
    {
        let why = format!("review.min_words is {least} and review.max_words is {most}: no piece would fit");
        faults.at(&section.span.clone(), why);
    }
    section.finish(faults);
    ReviewConfig { four_eyes, rules }
}

fn phrases(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Vec<Phrase> {
    let name = section.path(key);
    let Some(node) = section.node(key) else { return Vec::new() };
    let Some(array) = node.get_ref().as_array() else {
        faults.at(&node.span(), wanted(&name, node.get_ref(), "an array of words or phrases in quotes"));
        return Vec::new();
    };
    if array.len() > MAX_WORDS {
        faults.at(&node.span(), format!("{name} has {} words, and at most {MAX_WORDS} are taken", array.len()));
    }
    let mut phrases = Vec::new();
    for node in array.iter() {
        let text = node.get_ref().as_str().filter(|text| text.chars().count() <= MAX_WORD_CHARS);
        match text.and_then(Phrase::new) {
            Some(phrase) => phrases.push(phrase),
            None => {
                let right = format!("a word or phrase in quotes of 1 to {MAX_WORD_CHARS} characters that can be seen");
                faults.at(&node.span(), wanted(&name, node.get_ref(), &right));
            }
        }
    }
    phrases
}

/// Reads `[images]`.
pub(super) fn read_images(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> ImagesConfig {
    let usual = ImagesConfig::default();
    let Some(mut section) = section else { return usual };
    let mut is_said =
        |key: &'static str, faults: &mut Faults<'_>| section.truth(key, faults).is_some_and(|value| value.value);
    let (keep, allow_private) = (is_said("keep", faults), is_said("allow_private", faults));
    let images = ImagesConfig {
        keep,
        allow_private,
        max_bytes: section.number("max_bytes", 1..=1 << 30, faults).unwrap_or(usual.max_bytes),
        max_per_piece: section.number("max_per_piece", 1..=1_000, faults).unwrap_or(usual.max_per_piece),
        timeout: section.span_of_time("timeout", faults).map_or(usual.timeout, |span| span.value),
    };
    section.finish(faults);
    images
}
