//! Which topics a fire takes, and whose they are.
//!
//! Topics are dealt in turn, one for each account, then the second for each, so that a source that runs short is short for
//! all. No topic is taken twice in one fire, however often a source begins again.

use std::collections::BTreeSet;

use super::record::{AtEnd, Topic};
use crate::task::AccountId;

/// What a fire takes of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FromList {
    /// The topics.
    pub topics: Vec<Topic>,
    /// Where the list is afterwards.
    pub cursor: u32,
    /// Whether the last topic was taken and nothing more will come.
    pub is_at_end: bool,
}

/// Takes the next `wanted` topics of a list, of which `cursor` were taken.
pub fn from_list(list: &[Topic], cursor: u32, at_end: AtEnd, wanted: usize) -> FromList {
    let cursor = (cursor as usize).min(list.len());
    let rest = &list[cursor..];
    let mut topics: Vec<Topic> = rest.iter().take(wanted).cloned().collect();
    let mut next = cursor + topics.len();
    if at_end == AtEnd::Again {
        let more = wanted.saturating_sub(topics.len()).min(list.len() - topics.len());
        if more > 0 {
            topics.extend(list[..more].iter().cloned());
            next = more;
        }
        if next == list.len() {
            next = 0;
        }
    }
    let is_at_end = at_end == AtEnd::Stop && next >= list.len();
    FromList { topics, cursor: u32::try_from(next).unwrap_or(u32::MAX), is_at_end }
}

/// What a fire takes of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FromFile {
    /// The topics, each with the digest by which it is remembered.
    pub topics: Vec<(Topic, String)>,
    /// Every topic was taken before: what is remembered is forgotten, and it begins again.
    pub begins_again: bool,
}

/// Takes the first `wanted` entries of a file that were not taken. One that stands there twice is one.
pub fn from_file(entries: Vec<(Topic, String)>, taken: &BTreeSet<String>, at_end: AtEnd, wanted: usize) -> FromFile {
    let mut seen = BTreeSet::new();
    let entries: Vec<_> = entries.into_iter().filter(|(_, digest)| seen.insert(digest.clone())).collect();
    let (old, fresh): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, digest)| taken.contains(digest));
    let mut topics: Vec<_> = fresh.into_iter().take(wanted).collect();
    let more = wanted - topics.len();
    let begins_again = at_end == AtEnd::Again && more > 0 && !old.is_empty();
    if begins_again {
        topics.extend(old.into_iter().take(more));
    }
    FromFile { topics, begins_again }
}

/// Deals topics to accounts in turn.
pub fn dealt<T>(topics: Vec<T>, accounts: &[AccountId]) -> Vec<(AccountId, T)> {
    accounts.iter().copied().cycle().zip(topics).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(count: usize) -> Vec<Topic> {
        (0..count).map(|n| Topic { topic: n.to_string(), ..Topic::default() }).collect()
    }

    fn names(topics: &[Topic]) -> Vec<&str> {
        topics.iter().map(|topic| topic.topic.as_str()).collect()
    }

    #[test]
    fn a_list_ends_or_begins_again() {
        let took = from_list(&list(5), 3, AtEnd::Stop, 4);
        assert_eq!((names(&took.topics), took.cursor, took.is_at_end), (vec!["3", "4"], 5, true));
        let took = from_list(&list(5), 3, AtEnd::Again, 4);
        assert_eq!((names(&took.topics), took.cursor, took.is_at_end), (vec!["3", "4", "0", "1"], 2, false));
        let took = from_list(&list(2), 1, AtEnd::Again, 9);
        assert_eq!((names(&took.topics), took.cursor), (vec!["1", "0"], 1), "none twice in a fire");
        let took = from_list(&list(3), 0, AtEnd::Again, 3);
        assert_eq!((names(&took.topics), took.cursor), (vec!["0", "1", "2"], 0));
        let took = from_list(&list(3), 3, AtEnd::Stop, 1);
        assert!(took.topics.is_empty() && took.is_at_end);
    }

    #[test]
    fn topics_are_dealt_in_turn() {
        let accounts = [AccountId(7), AccountId(3)];
        let dealt: Vec<_> =
            dealt(vec!["a", "b", "c"], &accounts).into_iter().map(|(id, topic)| (id.0, topic)).collect();
        assert_eq!(dealt, [(7, "a"), (3, "b"), (7, "c")]);
        assert!(super::dealt(vec!["a"], &[]).is_empty());
    }

    proptest! {
        #[test]
        fn a_list_that_stops_gives_each_topic_once(count in 0..40_usize, wanted in proptest::collection::vec(1..9_usize, 60)) {
            let list = list(count);
            let (mut cursor, mut all) = (0, Vec::new());
            for wanted in wanted {
                let took = from_list(&list, cursor, AtEnd::Stop, wanted);
                cursor = took.cursor;
                all.extend(took.topics);
            }
            prop_assert_eq!(all, list);
        }

        #[test]
        fn a_file_that_is_edited_neither_repeats_nor_skips(
            edits in proptest::collection::vec((proptest::collection::vec(0..30_u32, 0..20), 1..6_usize), 1..20),
        ) {
            let (mut taken, mut all) = (BTreeSet::new(), Vec::new());
            for (lines, wanted) in edits {
                let entry = |n: &u32| (Topic { topic: n.to_string(), ..Topic::default() }, n.to_string());
                let took = from_file(lines.iter().map(entry).collect(), &taken, AtEnd::Stop, wanted);
                let fresh: BTreeSet<String> =
                    lines.iter().map(u32::to_string).filter(|line| !taken.contains(line)).collect();
                prop_assert_eq!(took.topics.len(), wanted.min(fresh.len()), "none is skipped");
                for (_, digest) in took.topics {
                    prop_assert!(taken.insert(digest.clone()), "none is repeated");
                    all.push(digest);
                }
            }
        }
    }
}
