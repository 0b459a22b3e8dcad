//! The verbs on pieces: `result`, `content`, `pool`.

use serde::Serialize;

use super::Session;
use super::args::{ContentVerb, PieceArgs, PoolVerb, ResultArgs, ReviewArgs};
use super::failure::Failure;
use super::output::{Column, fixed, flexible, write_out};
use super::text::safe_lines;
use crate::control::api::checked::MAX_LIMIT;
use crate::control::api::{
    ContentListParams, ContentParams, ContentReply, ContentView, ContentsReply, PoolListParams, PoolReleaseParams,
    PoolReleaseReply, PoolReply, ReviewParams, TaskParams,
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
const POOL_FIELDS: &[&str] = &[
    "pool_id",
    "content_id",
    "priority",
    "scheduled_at",
    "status",
    "retry_count",
    "last_error",
    "published_at",
    "held_reason",
];
const POOL_COLUMNS: &[Column] = &[
    fixed("ID", "pool_id"),
    fixed("CONTENT", "content_id"),
    fixed("PRI", "priority"),
    fixed("STATUS", "status"),
    fixed("DUE", "scheduled_at"),
    fixed("PUBLISHED", "published_at"),
    fixed("RETRIES", "retry_count"),
    flexible("ERROR", "last_error"),
    flexible("HELD", "held_reason"),
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
    let params = TaskParams { task: args.task };
    let reply = session.call_joined("io.contentd.Tasks.Result", &params, ContentReply::join)?;
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
            let join = |whole: &mut ContentsReply, part: ContentsReply| whole.contents.extend(part.contents);
            let reply = session.call_joined("io.contentd.Content.List", &params, join)?;
            session.printer.rows(&reply.contents, CONTENT_COLUMNS, CONTENT_FIELDS)
        }
        ContentVerb::Show { content_id, piece } => {
            let params = ContentParams { content_id };
            let reply = session.call_joined("io.contentd.Content.Get", &params, ContentReply::join)?;
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

/// `contentctl pool`.
pub fn pool(session: &Session, verb: PoolVerb) -> Result<(), Failure> {
    let (account, status, page, before) = match verb {
        PoolVerb::List { account, status, page, before } => (account, status, page, before),
        PoolVerb::Release { pool_ids, all } => return release(session, pool_ids, all),
    };
    let params = PoolListParams {
        account: account.map(TextOrNumber),
        status,
        limit: Some(i64::from(page.limit.min(MAX_LIMIT))),
        offset: Some(i64::from(page.offset)),
        before,
    };
    let reply: PoolReply = session.call("io.contentd.Pool.List", &params)?;
    session.printer.rows(&reply.entries, POOL_COLUMNS, POOL_FIELDS)
}

fn release(session: &Session, pool_ids: Vec<i64>, all: bool) -> Result<(), Failure> {
    let params = PoolReleaseParams { pool_ids: (!all).then_some(pool_ids), all: all.then_some(true) };
    let reply: PoolReleaseReply = session.call("io.contentd.Pool.Release", &params)?;
    session.printer.record(&reply, &["released"])
}
