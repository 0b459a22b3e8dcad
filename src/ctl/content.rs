//! The verbs on pieces: `result`, `content`.

use serde::Serialize;

use super::Session;
use super::args::{ContentVerb, PieceArgs, ResultArgs, ReviewArgs};
use super::failure::Failure;
use super::names;
use super::output::write_out;
use super::page;
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::safe_lines;
use crate::control::api::{
    ApiError, ContentListParams, ContentParams, ContentReply, ContentView, ContentsReply, ImagesReply, ReviewParams,
    TaskParams, VersionsReply,
};
use crate::control::client::ClientError;
use crate::control::values::TextOrNumber;

/// Every field of a content record, in the order of the wire.
pub(super) const CONTENT_FIELDS: &[&str] = &[
    "content_id",
    "task_id",
    "account_id",
    "title",
    "content",
    "html_content",
    "summary",
    "images",
    "cover_image",
    "word_count",
    "quality_score",
    "category",
    "review_status",
    "publish_status",
    "content_hash",
    "created_at",
    "published_at",
    "published_by",
    "published_url",
];
/// Those of a record in a list, which carries no pieces: a spreadsheet has no use for two columns that are always empty.
pub(super) fn listed_fields() -> Vec<&'static str> {
    let fields = CONTENT_FIELDS.iter().copied().filter(|field| !matches!(*field, "content" | "html_content"));
    fields.chain(["review_reason"]).collect()
}

pub(super) const CONTENT_COLUMNS: &[Column] = &[
    fixed("ID", "content_id"),
    fixed("TASK", "task_id").goes(1),
    fixed("REVIEW", "review_status"),
    fixed("PUBLISH", "publish_status").goes(2),
    spare("WORDS", "word_count"),
    spare("SCORE", "quality_score"),
    spare("CREATED", "created_at"),
    wanted("TITLE", "title"),
];
/// What a reply says of a record beside its fields.
const REPLY_FIELDS: &[&str] = &["version", "reviewed_by", "review_reason", "findings", "edited_by", "rewritten_by"];
const VERSION_FIELDS: &[&str] = &[
    "content_id",
    "version",
    "title",
    "review_status",
    "publish_status",
    "edited_by",
    "reviewed_by",
    "review_reason",
    "word_count",
    "content_hash",
    "created_at",
];
pub(super) const VERSION_COLUMNS: &[Column] = &[
    fixed("VERSION", "version"),
    fixed("ID", "content_id"),
    fixed("REVIEW", "review_status"),
    fixed("PUBLISH", "publish_status").goes(1),
    spare("WORDS", "word_count"),
    fixed("CREATED", "created_at").goes(1),
    flexible("TITLE", "title").goes(0),
    flexible("EDITED BY", "edited_by").goes(2),
    flexible("REVIEWED BY", "reviewed_by").goes(2),
    sentences("REASON", "review_reason"),
];
const IMAGE_FIELDS: &[&str] =
    &["position", "url", "state", "tries", "next_try_at", "file", "media_type", "bytes", "error"];
pub(super) const IMAGE_COLUMNS: &[Column] = &[
    fixed("N", "position"),
    fixed("STATE", "state"),
    spare("TRIES", "tries"),
    fixed("NEXT TRY", "next_try_at").goes(1),
    spare("BYTES", "bytes"),
    flexible("FILE", "file"),
    flexible("URL", "url"),
    sentences("ERROR", "error"),
];
#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    content: ContentView,
    version: u32,
    reviewed_by: Option<String>,
    findings: Vec<String>,
    edited_by: Option<String>,
    rewritten_by: Option<String>,
}

/// An approved record with its entry in the publish pool.
#[derive(Serialize)]
struct Approved<'a> {
    #[serde(flatten)]
    content: &'a ContentView,
    pool_id: i64,
    pool_status: &'a str,
    held_reason: &'a Option<String>,
}

/// `contentctl result`.
pub fn result(session: &Session, args: ResultArgs) -> Result<(), Failure> {
    let params = TaskParams { task: args.task };
    let reply = session.call_joined("io.contentd.Tasks.Result", &params, ContentReply::join)?;
    print_piece(session, reply, &args.piece)
}

/// `contentctl content`.
pub fn content(session: &Session, verb: ContentVerb) -> Result<(), Failure> {
    match verb {
        ContentVerb::List { account, review, task, page, before } => {
            let is_everything = (&account, &review, &task, before, page.offset) == (&None, &None, &None, None, 0);
            let params = ContentListParams {
                account: account.map(TextOrNumber),
                review_status: review,
                task,
                limit: Some(page::asked(&page)),
                offset: Some(i64::from(page.offset)),
                before,
                oldest_first: None,
            };
            let join = |whole: &mut ContentsReply, part: ContentsReply| whole.contents.extend(part.contents);
            let mut reply = session.call_joined("io.contentd.Content.List", &params, join)?;
            let more = page::kept(&mut reply.contents, &page, |content| Some(content.content_id.to_string()));
            if reply.contents.is_empty() {
                session.tell(if is_everything { "there is no piece yet" } else { "no piece fits" });
            }
            // No column of the table has the account, so nobody is asked for its name in vain.
            if session.printer.is_for_people() {
                session.printer.rows(&reply.contents, CONTENT_COLUMNS, CONTENT_FIELDS)?;
            } else {
                names::rows(session, &reply.contents, CONTENT_COLUMNS, &listed_fields())?;
            }
            page::tell_more(more);
            Ok(())
        }
        ContentVerb::Show { content_id, piece } => {
            let params = ContentParams { content_id };
            let reply = session.call_joined("io.contentd.Content.Get", &params, ContentReply::join)?;
            print_piece(session, reply, &piece)
        }
        ContentVerb::Approve(args) => review(session, args, "io.contentd.Content.Approve"),
        ContentVerb::Reject(args) => review(session, args, "io.contentd.Content.Reject"),
        ContentVerb::History { content_id } => {
            let reply: VersionsReply = session.call("io.contentd.Content.Versions", &ContentParams { content_id })?;
            session.printer.rows(&reply.versions, VERSION_COLUMNS, VERSION_FIELDS)
        }
        ContentVerb::Images { content_id } => {
            let reply: ImagesReply = session.call("io.contentd.Content.Images", &ContentParams { content_id })?;
            if reply.images.is_empty() {
                session.tell("none of its images was asked for: `images.keep` is not set, or it has none");
            }
            session.printer.rows(&reply.images, IMAGE_COLUMNS, IMAGE_FIELDS)
        }
    }
}

/// Prints a record for programs, its piece for people.
pub(super) fn print_piece(session: &Session, reply: ContentReply, how: &PieceArgs) -> Result<(), Failure> {
    let ContentReply { mut content, version, reviewed_by, review_reason, findings, edited_by, rewritten_by, .. } =
        reply;
    // An older daemon says it of the record's answer alone.
    content.review_reason = review_reason;
    let text = content.content.as_deref().unwrap_or_default();
    if how.raw {
        return write_out(text.as_bytes());
    }
    if how.html {
        return session.printer.text(&safe_lines(content.html_content.as_deref().unwrap_or_default()));
    }
    if session.printer.is_for_people() {
        return session.printer.text(&safe_lines(text));
    }
    let fields: Vec<&str> = CONTENT_FIELDS.iter().copied().chain(REPLY_FIELDS.iter().copied()).collect();
    session.printer.record(&Record { content, version, reviewed_by, findings, edited_by, rewritten_by }, &fields)
}

pub(super) fn review(session: &Session, args: ReviewArgs, method: &str) -> Result<(), Failure> {
    let id = args.content_id;
    let params = ReviewParams { content_id: id, content_hash: args.hash, reason: args.reason };
    let reply: ContentReply = session.call(method, &params).map_err(|failure| of_old(session, id, failure))?;
    print_reviewed(session, &reply)
}

/// The record of a piece that is its newest version; none where nobody says so.
pub(super) fn newest_of(session: &Session, content_id: i64) -> Option<i64> {
    let reply = session.call::<_, VersionsReply>("io.contentd.Content.Versions", &ContentParams { content_id });
    reply.ok()?.versions.first().map(|version| version.content_id)
}

/// A refusal about a version that another one replaced names that one: nobody looks for it in a list then.
pub(super) fn of_old(session: &Session, content_id: i64, failure: Failure) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(ApiError::WrongReviewState { ref review_status, .. }))
            if review_status == "superseded" =>
        {
            let newest = newest_of(session, content_id);
            match newest {
                Some(newest) => Failure::Refused(format!("{failure}; {}", is_newest(newest))),
                None => failure,
            }
        }
        failure => failure,
    }
}

pub(super) fn is_newest(content_id: i64) -> String {
    format!("content {content_id} is the newest (`contentctl review show {content_id}`)")
}

/// Prints what became of a record, and of an approved one whether it goes out: one that is held never does by itself.
pub(super) fn print_reviewed(session: &Session, reply: &ContentReply) -> Result<(), Failure> {
    let mut fields = vec!["content_id", "task_id", "title", "review_status", "publish_status", "content_hash"];
    // The columns of a spreadsheet keep their places.
    if session.printer.is_for_people() && reply.content.review_reason.is_some() {
        fields.push("review_reason");
    }
    let Some(entry) = &reply.pool_entry else { return session.printer.record(&reply.content, &fields) };
    let (pool_id, pool_status, held_reason) = (entry.pool_id, &entry.status, &entry.held_reason);
    fields.extend(["pool_id", "pool_status", "held_reason"]);
    session.printer.record(&Approved { content: &reply.content, pool_id, pool_status, held_reason }, &fields)?;
    if pool_status == "held" {
        session.tell(format!(
            "it does not go out before somebody has looked whether it is out: `contentctl pool release {pool_id}` lets it go out, \
             `contentctl pool done {pool_id}` with --reason says that it is out"
        ));
    }
    Ok(())
}
