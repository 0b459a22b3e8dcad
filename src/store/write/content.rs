//! Versions of a piece, what is asked of one that comes, and pieces that are to be written again.
//!
//! A record is never written over: an edit makes a new one, and the old one is kept as superseded. The newest is the
//! task's. The surprise: what a person has approved is never taken away by the daemon. Where a second piece of a task comes
//! while the first is approved, the second waits for a person, who then decides which of them goes out.

use std::sync::Arc;

use super::image::NewImage;
use super::review::{doubt_of, doubt_of_entry, may_be_out, take_out, write_audit};
use super::rows::Rows;
use super::submit::submit_tasks;
use super::{NewTask, SubmittedTask, WriteError, Written};
use crate::publish::PoolRefusal;
use crate::publish::PublishTimes;
use crate::task::content::{
    ContentRecord, NewContent, PoolEntry, PoolState, PublishState, RenderedPiece, ReviewMove, ReviewState, Version,
    summary_of, word_count,
};
use crate::task::image::ImageState;
use crate::task::review::{Judged, ReviewRules, broken_characters};
use crate::task::{ContentId, Now, Task, TaskId, TaskState, Timestamp};

/// What is asked of a piece when it comes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PieceRules {
    /// Before it is approved by itself.
    pub review: ReviewRules,
    /// So many of its images are kept beside it; none: the addresses alone are.
    pub images_kept: Option<u32>,
    /// Nothing is approved by itself, whatever the task was submitted with.
    pub is_four_eyes: bool,
    /// When approved pieces are due; none: at once.
    pub times: Option<PublishTimes>,
}

impl PieceRules {
    /// When a piece is due that is approved now.
    pub fn due_after(&self, approved: Timestamp) -> Timestamp {
        self.times.as_ref().and_then(|times| times.due_after(approved)).unwrap_or(approved)
    }

    /// Why a record is not approved by itself.
    pub(super) fn judge(&self, content: &NewContent, plain_text: &str) -> Vec<String> {
        // A generator may give HTML of its own.
        let broken = [&content.content, &content.html_content].into_iter().find_map(|text| broken_characters(text));
        let mut findings: Vec<String> = broken.into_iter().collect();
        findings.extend(self.review.judge(&Judged {
            title: &content.title,
            plain_text,
            html: &content.html_content,
            word_count: content.word_count,
            score: content.quality_score,
            images: content.images.len(),
        }));
        findings
    }

    /// Notes the images of a new record that are to be kept.
    pub(super) fn note_images(
        &self,
        rows: &mut dyn Rows,
        id: ContentId,
        content: &NewContent,
    ) -> Result<(), WriteError> {
        let Some(most) = self.images_kept else { return Ok(()) };
        for (position, image) in (0..).zip(&content.images) {
            let (url, now) = (image.url.clone(), content.created_at);
            let why = if position >= most {
                Some(format!("only the first {most} images of a piece are kept (images.max_per_piece)"))
            } else if is_on_the_web(&url) {
                None
            } else {
                Some("only http and https addresses are fetched".to_owned())
            };
            let state = if why.is_none() { ImageState::Waiting { wake_at: now } } else { ImageState::GivenUp };
            rows.insert_image(&NewImage { content_id: id, position, url, state, error: why, now })?;
        }
        Ok(())
    }
}

fn is_on_the_web(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// What a person makes of a piece beside approving and rejecting it.
#[derive(Clone, Debug)]
pub enum ContentWrite {
    /// A new version by hand.
    Edit {
        /// Of which record.
        content_id: ContentId,
        /// The hash of what was edited; another one is refused.
        base_hash: String,
        /// Its new title; none: the one that it has.
        title: Option<String>,
        /// The new piece.
        rendered: RenderedPiece,
        /// What is asked of it, for whoever reviews it.
        rules: Arc<PieceRules>,
        /// Who.
        who: String,
        /// When.
        now: Timestamp,
    },
    /// It is rejected, and a new task writes it again. Asked for twice it is done once.
    WriteAgain {
        /// Which record.
        content_id: ContentId,
        /// The hash that was looked at; another one is refused.
        expected_hash: Option<String>,
        /// What is to be better.
        remark: String,
        /// The new task.
        task: Box<NewTask>,
        /// As for any submit.
        max_pending: u64,
        /// Who.
        who: String,
        /// When.
        now: Now,
    },
}

/// The task that writes a piece again.
#[derive(Clone, PartialEq, Debug)]
pub struct Rewriting {
    /// Its id.
    pub task_id: TaskId,
    /// As it stands; none where it was deleted since.
    pub submitted: Option<SubmittedTask>,
    /// It was made before, and nothing was added.
    pub was_known: bool,
}

pub(super) fn execute(rows: &mut dyn Rows, write: &ContentWrite) -> Result<Written, WriteError> {
    match write {
        ContentWrite::Edit { content_id, base_hash, title, rendered, rules, who, now } => {
            let edit = Edit { base_hash, title: title.as_deref(), rendered, rules, who, now: *now };
            edit.carry_out(rows, *content_id)
        }
        ContentWrite::WriteAgain { content_id, expected_hash, remark, task, max_pending, who, now } => {
            let again = Again { expected_hash, remark, task, max_pending: *max_pending, who, now };
            again.carry_out(rows, *content_id)
        }
    }
}

/// The record, if its hash is the one that was looked at.
pub(super) fn looked_at(
    rows: &mut dyn Rows,
    content_id: ContentId,
    expected: Option<&String>,
) -> Result<ContentRecord, WriteError> {
    let content = rows.content(content_id)?.ok_or(WriteError::ContentNotFound(content_id))?;
    match expected.filter(|hash| !names_hash(hash, &content.record.content_hash)) {
        Some(expected) => {
            let (expected, actual) = (expected.clone(), content.record.content_hash.clone());
            Err(WriteError::HashChanged { content_id, expected, actual })
        }
        None => Ok(content),
    }
}

/// Digits of a hash that name it as well as all of them do: by chance another piece of the same record has them once in four billion.
const ENOUGH_DIGITS: usize = 8;

/// Whether a hash is named, in full or by its beginning.
fn names_hash(named: &str, hash: &str) -> bool {
    let is_beginning = named.len() >= ENOUGH_DIGITS && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    named == hash || is_beginning && hash.starts_with(named)
}

fn moved(content: &ContentRecord, event: ReviewMove) -> Result<ReviewState, WriteError> {
    let state = content.record.review_status;
    let refused = |illegal| WriteError::ReviewRefused { content_id: content.id, state, illegal };
    state.after(event).map_err(refused)
}

/// Puts a version aside for a newer one. Its pool entry is the caller's to take out.
pub(super) fn supersede(rows: &mut dyn Rows, id: ContentId, now: Timestamp) -> Result<(), WriteError> {
    let mut old = rows.content(id)?.ok_or(WriteError::ContentNotFound(id))?;
    old.record.review_status = moved(&old, ReviewMove::Superseded)?;
    old.record.publish_status = PublishState::Unpublished;
    Ok(rows.update_content_review(&old, now)?)
}

/// Before a new piece of a task is kept: an older one that nobody approved makes way. Gives the one that stays.
pub(super) fn make_way(
    rows: &mut dyn Rows,
    versions: &[Version],
    now: Timestamp,
) -> Result<Option<ContentId>, WriteError> {
    let mut approved = None;
    for version in versions {
        match version.review_status {
            ReviewState::Approved => approved = Some(version.id),
            ReviewState::PendingReview | ReviewState::Rejected => supersede(rows, version.id, now)?,
            ReviewState::Superseded => {}
        }
    }
    Ok(approved)
}

/// A piece that is out or may be, in whatever version, is not written again before somebody says that it is not: the second one is
/// paid for, and goes out too. A rejection before, or another text, says nothing of that.
fn check_settled(rows: &mut dyn Rows, content: &ContentRecord) -> Result<(), WriteError> {
    let versions = rows.versions_of(&content.record.task_id)?;
    // What a restore leaves in the pool is held, as is what is approved after it. So where an entry stands there and is not, a
    // person or a publisher has said since that the piece is not out.
    let mut is_known = false;
    for version in &versions {
        if let Some(entry) = rows.pool_entry_of(version.id)? {
            check_entry(rows, content.id, &entry)?;
            is_known = true;
        }
    }
    if let Some(entry) = doubt_of(rows, &versions)? {
        let refusal = PoolRefusal::InDoubt(entry.held_reason.unwrap_or_default());
        return Err(WriteError::PoolRefused { id: entry.id, state: entry.status, refusal });
    }
    let task = rows.task(&content.record.task_id)?;
    if !is_known && may_be_out(rows, task.as_ref(), &versions)? {
        let (content_id, task_id) = (content.id, content.record.task_id.clone());
        let state = task.map_or(TaskState::Completed, |task| task.state);
        return Err(WriteError::OutSinceRestore { content_id, task_id, state });
    }
    Ok(())
}

/// Whether an entry of the piece lets content `content_id` be written again.
fn check_entry(rows: &mut dyn Rows, content_id: ContentId, entry: &PoolEntry) -> Result<(), WriteError> {
    let is_other = entry.content_id != content_id;
    let refused = |refusal| Err(WriteError::PoolRefused { id: entry.id, state: entry.status, refusal });
    match entry.status {
        PoolState::Held => refused(PoolRefusal::NotDue),
        PoolState::Publishing | PoolState::Published if is_other => {
            Err(WriteError::OtherVersionOut { content_id, other: entry.content_id })
        }
        PoolState::Publishing | PoolState::Published => Err(WriteError::AlreadyPublished(content_id)),
        PoolState::Pending if is_other => refused(PoolRefusal::OtherVersion(entry.content_id)),
        PoolState::Pending | PoolState::Failed | PoolState::Removed => match doubt_of_entry(rows, entry)? {
            Some(why) => refused(PoolRefusal::InDoubt(why)),
            None => Ok(()),
        },
    }
}

struct Edit<'a> {
    base_hash: &'a String,
    title: Option<&'a str>,
    rendered: &'a RenderedPiece,
    rules: &'a PieceRules,
    who: &'a str,
    now: Timestamp,
}

impl Edit<'_> {
    fn carry_out(&self, rows: &mut dyn Rows, content_id: ContentId) -> Result<Written, WriteError> {
        let mut old = looked_at(rows, content_id, Some(self.base_hash))?;
        let before = old.record.review_status;
        let aside = moved(&old, ReviewMove::Superseded)?;
        // Not by the hash: that of a generator's version is without its title.
        if self.keeps_the_text(&old) && self.title.is_none_or(|title| title == old.record.title) {
            return Ok(Written::Reviewed(Box::new(old)));
        }
        take_out(rows, &mut old)?;
        let new = self.new_version(rows, &old)?;
        old.record.review_status = aside;
        rows.update_content_review(&old, self.now)?;
        let id = rows.insert_content(&new)?;
        for image in rows.images_of(old.id)? {
            let (url, state, error) = (image.url, image.state, image.error);
            let position = image.position;
            rows.insert_image(&NewImage { content_id: id, position, url, state, error, now: self.now })?;
        }
        if let Some(before) = rows.task(&new.task_id)?.filter(|task| task.content_id == Some(old.id)) {
            let task = Task { content_id: Some(id), updated_at: self.now, ..before.clone() };
            rows.update_task(&task, &before)?;
        }
        let why = format!("edited: content {id} is version {}", new.version);
        write_audit(rows, &old, before, ReviewMove::Superseded, Some(&why), self.who, self.now)?;
        Ok(Written::Reviewed(Box::new(ContentRecord { id, record: new, publication: None })))
    }

    fn keeps_the_text(&self, old: &ContentRecord) -> bool {
        self.rendered.content == old.record.content && self.rendered.html == old.record.html_content
    }

    fn new_version(&self, rows: &mut dyn Rows, old: &ContentRecord) -> Result<NewContent, WriteError> {
        let versions = rows.versions_of(&old.record.task_id)?;
        let mut new = NewContent {
            version: versions.iter().map(|version| version.version).max().unwrap_or(0) + 1,
            title: self.title.map_or_else(|| old.record.title.clone(), str::to_owned),
            content: self.rendered.content.clone(),
            html_content: self.rendered.html.clone(),
            summary: summary_of(&self.rendered.plain_text),
            word_count: word_count(&self.rendered.plain_text),
            // The generator gave it to this text and to no other.
            quality_score: old.record.quality_score.filter(|_| self.keeps_the_text(old)),
            review_status: ReviewState::PendingReview,
            review_reason: Some(format!("edited by {}", self.who)),
            reviewed_by: None,
            findings: Vec::new(),
            edited_by: Some(self.who.to_owned()),
            rewritten_by: None,
            publish_status: PublishState::Unpublished,
            content_hash: self.rendered.content_hash.clone(),
            created_at: self.now,
            ..old.record.clone()
        };
        // A score is the generator's to give, so the rule about it says nothing of a person's text.
        let min_score = self.rules.review.min_score.filter(|_| new.quality_score.is_some());
        let review = ReviewRules { min_score, ..self.rules.review.clone() };
        let rules = PieceRules { review, ..PieceRules::default() };
        new.findings = rules.judge(&new, &self.rendered.plain_text);
        Ok(new)
    }
}

struct Again<'a> {
    expected_hash: &'a Option<String>,
    remark: &'a str,
    task: &'a NewTask,
    max_pending: u64,
    who: &'a str,
    now: &'a Now,
}

impl Again<'_> {
    fn carry_out(&self, rows: &mut dyn Rows, content_id: ContentId) -> Result<Written, WriteError> {
        let mut content = looked_at(rows, content_id, self.expected_hash.as_ref())?;
        if let Some(task_id) = content.record.rewritten_by.clone() {
            let known = rows.task(&task_id)?;
            // What is asked again is known by what it would ask of the generator; another remark must not seem to be taken.
            if known.as_ref().is_some_and(|known| known.requirements != self.task.task.requirements) {
                return Err(WriteError::OtherRemark { content_id, task_id, remark: self.remark.to_owned() });
            }
            let submitted = known.map(|task| SubmittedTask { task, attempt: None, was_known: true });
            let rewriting = Rewriting { task_id, submitted, was_known: true };
            return Ok(Written::Rewritten(Box::new(content), Box::new(rewriting)));
        }
        let before = content.record.review_status;
        let after = if before == ReviewState::Rejected { before } else { moved(&content, ReviewMove::Rejected)? };
        check_settled(rows, &content)?;
        if after != before {
            take_out(rows, &mut content)?;
            content.record.review_status = after;
        }
        let mut submitted = submit_tasks(rows, std::slice::from_ref(self.task), self.max_pending, self.now)?;
        let task_id = self.task.task.id.clone();
        content.record.review_reason = Some(self.remark.to_owned());
        content.record.reviewed_by = Some(self.who.to_owned());
        content.record.rewritten_by = Some(task_id.clone());
        rows.update_content_review(&content, self.now.utc)?;
        let why = format!("{task_id} writes it again: {}", self.remark);
        write_audit(rows, &content, before, ReviewMove::Rejected, Some(&why), self.who, self.now.utc)?;
        let rewriting = Rewriting { task_id, submitted: submitted.pop(), was_known: false };
        Ok(Written::Rewritten(Box::new(content), Box::new(rewriting)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_named_by_eight_of_its_digits_and_by_nothing_else() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015";
        assert!([hash, "9f86d081", "9f86d081884c"].iter().all(|named| names_hash(named, hash)));
        assert!(!["9f86d08", "", "86d08188", "9f86d081884d", "9f86d081…"].iter().any(|named| names_hash(named, hash)));
        assert!(!names_hash("hash of ", "hash of a task"), "only digits are a beginning");
    }
}
