//! The verbs on pieces: `result`, `content`.

use serde::Serialize;

use super::Session;
use super::args::{ContentVerb, PieceArgs, ResultArgs, ReviewArgs};
use super::failure::Failure;
use super::output::{Column, fixed, flexible, write_out};
use super::text::safe_lines;
use crate::control::api::checked::MAX_LIMIT;
use crate::control::api::{
    ContentListParams, ContentParams, ContentReply, ContentView, ContentsReply, ReviewParams, TaskParams,
};
use crate::control::values::TextOrNumber;

/// Every field of a content record, in the order of the wire.
const CONTENT_FIELDS: &[&str] = &[
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
const CONTENT_COLUMNS: &[Column] = &[
    fixed("ID", "content_id"),
    fixed("TASK", "task_id"),
    fixed("REVIEW", "review_status"),
    fixed("PUBLISH", "publish_status"),
    fixed("WORDS", "word_count"),
    fixed("SCORE", "quality_score"),
    fixed("CREATED", "created_at"),
    flexible("TITLE", "title"),
];
#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    content: ContentView,
    version: u32,
    reviewed_by: Option<String>,
    review_reason: Option<String>,
}

/// `contentctl result`.
pub fn result(session: &Session, args: ResultArgs) -> Result<(), Failure> {
    let reply: ContentReply = session.call("io.contentd.Tasks.Result", &TaskParams { task: args.task })?;
    print_piece(session, reply, &args.piece)
}

/// `contentctl content`.
pub fn content(session: &Session, verb: ContentVerb) -> Result<(), Failure> {
    match verb {
        ContentVerb::List { account, review, task, page, before } => {
            let params = ContentListParams {
                account: account.map(TextOrNumber),
                review_status: review,
                task,
                limit: Some(i64::from(page.limit.min(MAX_LIMIT))),
                offset: Some(i64::from(page.offset)),
                before,
            };
            let reply: ContentsReply = session.call("io.contentd.Content.List", &params)?;
            session.printer.rows(&reply.contents, CONTENT_COLUMNS, CONTENT_FIELDS)
        }
        ContentVerb::Show { content_id, piece } => {
            let reply: ContentReply = session.call("io.contentd.Content.Get", &ContentParams { content_id })?;
            print_piece(session, reply, &piece)
        }
        ContentVerb::Approve(args) => review(session, args, "io.contentd.Content.Approve"),
        ContentVerb::Reject(args) => review(session, args, "io.contentd.Content.Reject"),
    }
}

/// Prints a record for programs, its piece for people.
fn print_piece(session: &Session, reply: ContentReply, how: &PieceArgs) -> Result<(), Failure> {
    let ContentReply { content, version, reviewed_by, review_reason } = reply;
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
    let fields: Vec<&str> = CONTENT_FIELDS.iter().copied().chain(["version", "reviewed_by", "review_reason"]).collect();
    session.printer.record(&Record { content, version, reviewed_by, review_reason }, &fields)
}

fn review(session: &Session, args: ReviewArgs, method: &str) -> Result<(), Failure> {
    let params = ReviewParams { content_id: args.content_id, content_hash: args.hash, reason: args.reason };
    let reply: ContentReply = session.call(method, &params)?;
    let fields = ["content_id", "task_id", "review_status", "publish_status", "content_hash"];
    session.printer.record(&reply.content, &fields)
}
