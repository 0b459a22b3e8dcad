//! `log`: what a task's generator wrote to standard error.
//!
//! For people, each call is a line that says when and how it ended, with its text indented below. The text is the
//! generator's: a terminal must not obey it.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::Session;
use super::args::LogArgs;
use super::failure::Failure;
use super::text::{safe, safe_lines};
use super::when::local;
use crate::control::api::{LogEntryView, LogReply, TaskParams};
use crate::control::client::ClientError;
use crate::control::values::WireTime;

const METHOD: &str = "io.contentd.Tasks.Log";
const FIELDS: &[&str] = &["at", "attempt", "verb", "end", "outcome", "times", "last_at", "text"];

/// `contentctl log`.
pub fn log(session: &Session, args: LogArgs) -> Result<(), Failure> {
    let params = TaskParams { task: args.task };
    if args.follow {
        return follow(session, &params);
    }
    let log: LogReply = session.call(METHOD, &params)?;
    tell_what_is_missing(
        session,
        &log,
        &params.task,
        "its generator has written nothing to standard error that is kept",
    );
    if !session.printer.is_for_people() {
        return session.printer.rows(&log.entries, &[], FIELDS);
    }
    log.entries.iter().try_for_each(|entry| session.printer.text(&shown(entry)))
}

fn tell_what_is_missing(session: &Session, log: &LogReply, task: &str, nothing: &str) {
    if log.dropped > 0 {
        session.tell(format!("{} older entries made way for newer ones", log.dropped));
    }
    if log.entries.is_empty() {
        session.tell(format!("{}: {nothing}", safe(task)));
    }
}

/// Goes on over a restart of the daemon. Entries that were shown are not shown again; of a run under way everything is.
fn follow(session: &Session, params: &TaskParams) -> Result<(), Failure> {
    let is_first_item = Cell::new(true);
    let is_first_reply = Cell::new(true);
    let last: Cell<Option<WireTime>> = Cell::new(None);
    let mut under_way: Option<(i64, String)> = None;
    // What happens to our own output must not look like the daemon's fault, so it is carried out beside.
    let mut broken = None;
    let result = session.repeat(|client| {
        let seen = last.get();
        let mut is_again = seen.is_some();
        client.call_more(METHOD, params, None, |reply: LogReply| {
            if is_first_reply.replace(false) {
                tell_what_is_missing(session, &reply, &params.task, "nothing on standard error yet; following");
            }
            // Only the first reply of a new daemon tells old entries.
            let is_old = |entry: &LogEntryView| is_again && seen.is_some_and(|seen| entry.at <= seen);
            for entry in reply.entries.iter().filter(|entry| !is_old(entry)) {
                last.set(last.get().max(Some(entry.at)));
                let is_first = is_first_item.replace(false);
                if let Err(failure) = session.printer.item(entry, FIELDS, is_first, &followed(&mut under_way, entry)) {
                    broken = Some(failure);
                    return Ok(ControlFlow::Break(()));
                }
            }
            is_again = false;
            Ok::<_, ClientError>(ControlFlow::Continue(()))
        })
    });
    match broken {
        Some(failure) => Err(failure),
        None => result,
    }
}

/// An entry of a stream: what a run under way goes on to write stands under the heading that it has already.
fn followed(under_way: &mut Option<(i64, String)>, entry: &LogEntryView) -> String {
    let call = (entry.end == "running").then(|| (i64::from(entry.attempt), entry.verb.clone()));
    let is_same = call.is_some() && call == *under_way;
    *under_way = call;
    let whole = shown(entry);
    let text = if is_same { whole.split_once('\n').map_or("", |(_, lines)| lines) } else { whole.as_str() };
    text.trim_end().to_owned()
}

fn shown(entry: &LogEntryView) -> String {
    let outcome = entry.outcome.as_deref().map(|outcome| format!(", {}", safe(outcome))).unwrap_or_default();
    let again = match entry.times {
        0 | 1 => String::new(),
        times => format!("; {times} times, last at {}", local(&entry.last_at.to_string())),
    };
    let head = format!(
        "{}  attempt {}  {} ({}{outcome}{again})",
        local(&entry.at.to_string()),
        entry.attempt,
        safe(&entry.verb),
        safe(&entry.end),
    );
    let text = safe_lines(&entry.text);
    let lines = text.trim_end().lines().map(|line| format!("\n    {line}"));
    lines.fold(head, |all, line| all + &line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Timestamp;

    #[test]
    fn an_entry_is_shown_with_its_lines_and_without_what_a_terminal_obeys() {
        let at = WireTime(Timestamp(1_769_847_330_250));
        let entry = LogEntryView {
            at,
            attempt: 2,
            verb: "poll".to_owned(),
            end: "exit 1".to_owned(),
            outcome: Some("unavailable".to_owned()),
            text: "\u{1b}[2Jredis\r\nis down\n\n".to_owned(),
            times: 3,
            last_at: at,
        };
        let time = local(&at.to_string());
        let expected = format!(
            "{time}  attempt 2  poll (exit 1, unavailable; 3 times, last at {time})\n    \\u{{1b}}[2Jredis\\r\n    is down"
        );
        assert_eq!(shown(&entry), expected);
    }
}
