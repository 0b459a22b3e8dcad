//! The verbs of `contentctl pool`.
//!
//! The surprise: `next` without a key makes one, so that a call that is repeated over a restart of the daemon takes nothing
//! a second time.

use serde_json::{Value, json};

use super::Session;
use super::args::pool::{PoolDoneArgs, PoolFailArgs, PoolNextArgs, PoolVerb};
use super::failure::Failure;
use super::output::{say, value_of};
use super::page;
use super::spreadsheet;
use super::submit::random_key;
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::safe;
use super::when;
use crate::control::api::{
    ApiError, ContentParams, ContentReply, ContentView, HandoutView, NoParams, PoolDoneParams, PoolEntryReply,
    PoolFailParams, PoolListParams, PoolNextParams, PoolNextReply, PoolParams, PoolReleaseParams, PoolReleaseReply,
    PoolRemoveParams, PoolRenewParams, PoolReply, PoolScheduleParams, PoolShowReply, PoolView, PublicationView,
    StatusReply,
};
use crate::control::client::{Client, ClientError};
use crate::control::values::TextOrNumber;
use crate::text::counted;

const FIELDS: &[&str] = &[
    "pool_id",
    "content_id",
    "priority",
    "scheduled_at",
    "status",
    "retry_count",
    "last_error",
    "published_at",
    "held_reason",
    "account_id",
    "fence",
    "lease_until",
    "account",
    "title",
    "unserved",
];
pub(super) const COLUMNS: &[Column] = &[
    fixed("ID", "pool_id"),
    spare("CONTENT", "content_id"),
    spare("PRI", "priority"),
    fixed("STATUS", "status"),
    fixed("DUE", "scheduled_at").goes(1),
    flexible("ACCOUNT", "account").goes(2),
    wanted("TITLE", "title"),
    spare("PUBLISHED", "published_at"),
    spare("RETRIES", "retry_count"),
    // It stands below the table, with who has it.
    spare("LEASE UNTIL", "lease_until"),
    sentences("ERROR", "last_error").unless("held_reason").below(),
    sentences("HELD", "held_reason").below(),
];
/// What stands beside an entry in a row of a spreadsheet: where its piece is, and a handing out.
const SHOWN_FIELDS: &[&str] = &[
    "publication.published_by",
    "publication.url",
    "publication.reference",
    "handouts.fence",
    "handouts.holder",
    "handouts.is_publisher",
    "handouts.key",
    "handouts.handed_out_at",
    "handouts.sends",
    "handouts.doubted_at",
    "handouts.ended_at",
    "handouts.outcome",
    "handouts.error",
];
const HANDED_OUT_FIELDS: &[&str] = &[
    "pool_id",
    "fence",
    "key",
    "lease_until",
    "priority",
    "account",
    "external_id",
    "content.content_id",
    "content.title",
    "content.content",
];
pub(super) const HANDED_OUT_COLUMNS: &[Column] = &[
    fixed("ID", "pool_id"),
    fixed("FENCE", "fence"),
    fixed("YOURS UNTIL", "lease_until"),
    fixed("CONTENT", "content_id"),
    flexible("ACCOUNT", "account").goes(1),
    flexible("TITLE", "title"),
];
pub(super) const HANDOUT_COLUMNS: &[Column] = &[
    fixed("FENCE", "fence"),
    flexible("HOLDER", "holder"),
    spare("KEY", "key"),
    fixed("HANDED OUT", "handed_out_at").goes(1),
    spare("SENDS", "sends"),
    fixed("ENDED", "ended_at").goes(1),
    fixed("OUTCOME", "outcome"),
    sentences("ERROR", "error"),
];
pub(super) const PUBLISHER_COLUMNS: &[Column] = &[
    flexible("PUBLISHER", "name"),
    fixed("AWAY", "is_away"),
    spare("SINCE", "since"),
    fixed("TRIED NEXT", "next_probe_at").goes(1),
    sentences("WHY", "why").below(),
];

/// The publishers and the pool of a status, where there is anything to say.
pub fn print_publishing(session: &Session, status: &StatusReply) -> Result<(), Failure> {
    if !status.publishers.is_empty() {
        session.printer.text("")?;
        session.printer.rows(&status.publishers, PUBLISHER_COLUMNS, &[])?;
        if status.publishers.iter().any(|publisher| publisher.is_away) {
            session.tell("`contentctl resume --publisher NAME` has a publisher that was mended tried at once");
        }
    }
    if let Some(said) = unserved(&status.unserved_accounts) {
        session.printer.prose(&said)?;
    }
    let said: Vec<_> =
        status.pool.iter().filter(|(_, count)| **count > 0).map(|(state, count)| format!("{count} {state}")).collect();
    if said.is_empty() {
        return Ok(());
    }
    session.printer.prose(&format!("\nin the publish pool: {}", safe(&said.join(", "))))
}

/// That no publisher serves these accounts, with the cure once for all of them.
fn unserved(accounts: &[String]) -> Option<String> {
    let first = safe(accounts.first()?);
    let names: Vec<String> = accounts.iter().map(|account| format!("{:?}", safe(account))).collect();
    let (whose, them, name) = match names.as_slice() {
        [only] => (format!("account {only}"), "it", first.as_str()),
        several => (format!("accounts {}", several.join(", ")), "them", "NAME"),
    };
    Some(format!(
        "\napproved pieces of {whose} wait, and no publisher serves {them}: add {them} to `accounts` of a [publishers.NAME] and \
         reload, or take the pieces with `contentctl pool next --account {name}`"
    ))
}

/// `contentctl pool`.
pub fn pool(session: &Session, verb: PoolVerb) -> Result<(), Failure> {
    match verb {
        PoolVerb::List { account, status, page, before } => {
            let is_everything = (&account, &status, before, page.offset) == (&None, &None, None, 0);
            let params = PoolListParams {
                account: account.map(TextOrNumber),
                status,
                limit: Some(page::asked(&page)),
                offset: Some(i64::from(page.offset)),
                before,
            };
            let mut reply: PoolReply = session.call("io.contentd.Pool.List", &params)?;
            // Not in the order of their numbers, so none of them is where the list goes on.
            let more = page::kept(&mut reply.entries, &page, |_| None);
            if reply.entries.is_empty() {
                session.tell(if is_everything { "there is nothing in the pool" } else { "no piece fits" });
            }
            session.printer.rows(&reply.entries, COLUMNS, FIELDS)?;
            page::tell_more(more);
            if session.printer.is_for_people() {
                tell_holders(session, &reply.entries);
                tell_unserved(session, &reply);
                tell_away(session);
            }
            Ok(())
        }
        PoolVerb::Show { pool_id } => show(session, pool_id),
        PoolVerb::Next(args) => next(session, args),
        PoolVerb::Done(args) => done(session, args),
        PoolVerb::Fail(args) => fail(session, args),
        PoolVerb::Renew { pool_id, fence, lease } => {
            let params = PoolRenewParams { pool_id, fence, lease: lease.map(TextOrNumber) };
            said(session, "io.contentd.Pool.Renew", &params)
        }
        PoolVerb::Schedule { pool_id, at, priority } => {
            let now = jiff::Timestamp::now();
            let at = at.map(|at| when::from_now("--at", &at, now)).transpose()?;
            said(session, "io.contentd.Pool.Schedule", &PoolScheduleParams { pool_id, at, priority })
        }
        PoolVerb::Remove { pool_id, reason } => {
            said(session, "io.contentd.Pool.Remove", &PoolRemoveParams { pool_id, reason })
        }
        PoolVerb::Release { pool_ids, all } => release(session, pool_ids, all),
    }
}

/// Why pieces wait that nobody takes, each reason once.
fn tell_unserved(session: &Session, reply: &PoolReply) {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut reasons: Vec<(&String, u64, u64)> = Vec::new();
    for (why, entry) in reply.entries.iter().filter_map(|entry| Some((entry.unserved.as_ref()?, entry))) {
        let at = reasons.iter().position(|(known, ..)| *known == why).unwrap_or_else(|| {
            reasons.push((why, 0, 0));
            reasons.len() - 1
        });
        let is_due = entry.scheduled_at.0.0 <= now;
        let count = if is_due { &mut reasons[at].1 } else { &mut reasons[at].2 };
        *count += 1;
    }
    for (why, due, later) in reasons {
        session.tell(format!("{}: {}", waiting(due, later), safe(why)));
    }
}

/// How many pieces wait that are due, and how many that will be.
fn waiting(due: u64, later: u64) -> String {
    let wait = counted(due, "piece waits", "pieces wait");
    match (due, later) {
        (_, 0) => wait,
        (0, later) => counted(later, "piece is due later", "pieces are due later"),
        (_, later) => format!("{wait}, and {}", counted(later, "is due later", "are due later")),
    }
}

/// How many entries are asked about, of those that somebody has.
const MOST_ASKED: usize = 20;

/// Who has what is going out now. Whoever cannot be told has the list all the same.
fn tell_holders(session: &Session, entries: &[PoolView]) {
    for entry in entries.iter().filter(|entry| entry.status == "publishing").take(MOST_ASKED) {
        let params = PoolParams { pool_id: entry.pool_id };
        let Ok(shown) = session.call::<_, PoolShowReply>("io.contentd.Pool.Show", &params) else { return };
        let Some(handout) = shown.handouts.iter().find(|handout| handout.fence == entry.fence) else { continue };
        session.tell(match doubt(entry, handout) {
            Some(doubt) => format!("{doubt} (`contentctl pool show {}`)", entry.pool_id),
            None => {
                let until = entry.lease_until.map(|until| format!(" until {}", when::local(&until.to_string())));
                let (id, holder) = (entry.pool_id, safe(&handout.holder));
                format!("pool entry {id} is with {holder}{}", until.unwrap_or_default())
            }
        });
    }
}

/// That nobody knows whether an entry is out: its time is no lease then, but when it is looked at next.
fn doubt(entry: &PoolView, handout: &HandoutView) -> Option<String> {
    let is_current = entry.status == "publishing" && handout.fence == entry.fence && handout.ended_at.is_none();
    handout.doubted_at.filter(|_| is_current && handout.is_publisher)?;
    let next = entry.lease_until.map(|at| format!(", looked at again at {}", when::local(&at.to_string())));
    Some(format!(
        "nobody knows whether pool entry {} is out: {} was called {}{}; what comes of that settles it, or holds it for a person",
        entry.pool_id,
        safe(&handout.holder),
        counted(u64::from(handout.sends), "time", "times"),
        next.unwrap_or_default()
    ))
}

/// Which publishers are away: pieces wait for them. Whoever cannot be told has the list all the same.
fn tell_away(session: &Session) {
    let status = session.call::<_, StatusReply>("io.contentd.Daemon.GetStatus", &NoParams {});
    for publisher in status.iter().flat_map(|status| &status.publishers).filter(|publisher| publisher.is_away) {
        let (name, why) = (safe(&publisher.name), safe(publisher.why.as_deref().unwrap_or_default()));
        session.tell(format!(
            "publisher {name} is away, and one piece at a time tries it: {why}; once it is mended, `contentctl resume \
             --publisher {name}` has it tried at once"
        ));
    }
}

fn show(session: &Session, pool_id: i64) -> Result<(), Failure> {
    let reply: PoolShowReply = session.call("io.contentd.Pool.Show", &PoolParams { pool_id })?;
    if session.printer.is_json() {
        return session.printer.json(&reply);
    }
    if !session.printer.is_for_people() {
        let mut entry = value_of(&reply.entry)?;
        entry["publication"] = value_of(&reply.publication)?;
        let handouts = reply.handouts.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        let rows = spreadsheet::beside(&entry, "handouts", &handouts, None);
        let fields: Vec<&str> = FIELDS.iter().chain(SHOWN_FIELDS).copied().collect();
        return session.printer.rows(&rows, &[], &fields);
    }
    print_entry(session, &reply.entry)?;
    if let Some(publication) = &reply.publication {
        print_publication(session, publication)?;
    }
    if reply.handouts.is_empty() {
        let is_over = matches!(reply.entry.status.as_str(), "removed" | "published");
        session.tell(if is_over { "it was not handed out" } else { "it was not handed out yet" });
    }
    session.printer.rows(&reply.handouts, HANDOUT_COLUMNS, &[])?;
    if let Some(doubt) = reply.handouts.iter().find_map(|handout| doubt(&reply.entry, handout)) {
        session.tell(doubt);
    }
    Ok(())
}

fn next(session: &Session, args: PoolNextArgs) -> Result<(), Failure> {
    let params = PoolNextParams {
        account: args.account.map(TextOrNumber),
        lease: args.lease.map(TextOrNumber),
        limit: Some(args.limit),
        key: Some(args.key.map_or_else(random_key, Ok)?),
    };
    let mut reply: PoolNextReply = session.repeat(|client| client.call("io.contentd.Pool.Next", &params))?;
    if !session.printer.is_for_people() {
        let missing: Vec<Failure> =
            reply.handed_out.iter_mut().filter_map(|one| join_piece(session, &mut one.content).err()).collect();
        // Each is the caller's now, and without its fence nobody could answer for it.
        session.printer.rows(&reply.handed_out, HANDED_OUT_COLUMNS, HANDED_OUT_FIELDS)?;
        return missing.into_iter().next().map_or(Ok(()), Err);
    }
    let rows: Vec<Value> = reply
        .handed_out
        .iter()
        .map(|one| {
            json!({
                "pool_id": one.pool_id, "fence": one.fence, "lease_until": one.lease_until, "account": one.account,
                "content_id": one.content.content_id, "title": one.content.title,
            })
        })
        .collect();
    if rows.is_empty() {
        session.tell("no piece is due; `contentctl pool list --status pending` shows those that will be, and when");
        return Ok(());
    }
    session.printer.rows(&rows, HANDED_OUT_COLUMNS, HANDED_OUT_FIELDS)?;
    session.tell(
        "publish each, then `contentctl pool done ID --fence N --url URL`; `content show CONTENT` prints the piece",
    );
    Ok(())
}

/// Reads a piece that was too long for the answer. One that cannot be read is said to be missing, also to programs.
fn join_piece(session: &Session, content: &mut ContentView) -> Result<(), Failure> {
    if content.content.is_some() {
        return Ok(());
    }
    let params = ContentParams { content_id: content.content_id };
    let ask = |client: &mut Client| client.call_joined("io.contentd.Content.Get", &params, ContentReply::join);
    match session.repeat(ask) {
        Ok(reply) => {
            *content = reply.content;
            Ok(())
        }
        Err(failure) => {
            let id = content.content_id;
            say(&format!(
                "contentctl: content {id} is yours and is printed without its piece: `contentctl content show {id}` reads it"
            ));
            Err(failure)
        }
    }
}

fn done(session: &Session, args: PoolDoneArgs) -> Result<(), Failure> {
    let PoolDoneArgs { pool_id, fence, url, reference, reason } = args;
    if fence.is_none() && reason.is_none() {
        return Err(nameless(session, pool_id, "done"));
    }
    // The same word again changes nothing, and its answer is the same: only what stood before tells them apart.
    let look = || session.call::<_, PoolShowReply>("io.contentd.Pool.Show", &PoolParams { pool_id });
    let before = session.printer.is_for_people().then(look).and_then(Result::ok);
    said(session, "io.contentd.Pool.Done", &PoolDoneParams { pool_id, fence, url, reference, reason })?;
    // Where it is, its entry does not say. Whoever cannot be told has said it all the same.
    if session.printer.is_for_people()
        && let Some(publication) = look().ok().and_then(|after| after.publication)
    {
        print_publication(session, &publication)?;
    }
    if before.is_some_and(|before| before.entry.status == "published") {
        session.tell(format!("pool entry {pool_id} was published already, and nothing was changed"));
    }
    Ok(())
}

fn fail(session: &Session, args: PoolFailArgs) -> Result<(), Failure> {
    let PoolFailArgs { pool_id, fence, error, give_up, reason, retry: _ } = args;
    if fence.is_none() && reason.is_none() {
        return Err(nameless(session, pool_id, "fail"));
    }
    if reason.is_none() && error.is_none() {
        return Err(Failure::Usage(
            "--error is missing: say what was wrong, as --error \"the editor refused it\"".into(),
        ));
    }
    let params = PoolFailParams { pool_id, fence, error, give_up: give_up.then_some(true), reason };
    said(session, "io.contentd.Pool.Fail", &params)
}

/// What to say instead of a word that names neither who had the entry nor why it is settled: which one depends on its state.
fn nameless(session: &Session, pool_id: i64, verb: &str) -> Failure {
    let reply: PoolShowReply = match session.call("io.contentd.Pool.Show", &PoolParams { pool_id }) {
        Ok(reply) => reply,
        Err(failure) => return failure,
    };
    let entry = &reply.entry;
    let why = if verb == "done" { "seen on the site" } else { "not needed any more" };
    let cure = match entry.status.as_str() {
        "held" => {
            let release = format!(", and `contentctl pool release {pool_id}` lets it go out");
            let more = if verb == "done" { "" } else { release.as_str() };
            format!("say why you know, as in `contentctl pool {verb} {pool_id} --reason {why:?}`{more}")
        }
        "publishing" => format!("name --fence {}, if you have it", entry.fence),
        "pending" => "nobody has it: `contentctl pool next` hands it out, with a fence to name".to_owned(),
        _ => format!("nobody has it; `contentctl pool show {pool_id}` says what became of it"),
    };
    Failure::Usage(format!("--fence is missing, and pool entry {pool_id} is {}: {cure}", safe(&entry.status)))
}

/// Says something of an entry and prints it as it then is. The same word again changes nothing, so it may be repeated.
fn said<P: serde::Serialize>(session: &Session, method: &str, params: &P) -> Result<(), Failure> {
    let reply: PoolEntryReply = session.call(method, params).map_err(|failure| of_fence(session, failure))?;
    print_entry(session, &reply.entry)
}

/// A fence that the entry does not have, in words that fit what the entry is now: it need not have been handed out anew.
fn of_fence(session: &Session, failure: Failure) -> Failure {
    let Failure::Client(ClientError::Refused(ApiError::StaleFence { pool_id, fence, .. })) = &failure else {
        return failure;
    };
    let reply = session.call::<_, PoolShowReply>("io.contentd.Pool.Show", &PoolParams { pool_id: *pool_id });
    match reply {
        Ok(reply) if reply.entry.status != "publishing" => Failure::Refused(without_holder(&reply, *fence)),
        _ => failure,
    }
}

/// What to say of a fence that was named for an entry which nobody has.
fn without_holder(shown: &PoolShowReply, fence: u64) -> String {
    let (id, status) = (shown.entry.pool_id, safe(&shown.entry.status));
    let named = if shown.handouts.iter().any(|handout| handout.fence == fence) {
        format!("it had fence {fence} before")
    } else {
        format!("it was never handed out with fence {fence}")
    };
    let cure = match status.as_str() {
        "pending" => "`contentctl pool next` hands it out, with a fence to name".to_owned(),
        _ => format!("`contentctl pool show {id}` says what became of it"),
    };
    format!("pool entry {id} is {status}: nobody has it, {named}, and nothing was changed; {cure}")
}

/// Where a piece is, below its entry, which has said when.
fn print_publication(session: &Session, publication: &PublicationView) -> Result<(), Failure> {
    session.printer.record(publication, &["published_by", "url", "reference"])
}

/// An entry; for people without an error that its being held says, or its being out has made a matter of the past.
fn print_entry(session: &Session, entry: &PoolView) -> Result<(), Failure> {
    let is_said = entry.last_error == entry.held_reason || entry.status == "published";
    let is_left_out = |field: &str| session.printer.is_for_people() && is_said && field == "last_error";
    let fields: Vec<&str> = FIELDS.iter().copied().filter(|field| !is_left_out(field)).collect();
    session.printer.record(entry, &fields)
}

fn release(session: &Session, pool_ids: Vec<i64>, all: bool) -> Result<(), Failure> {
    let named = if all { Vec::new() } else { pool_ids.clone() };
    let params = PoolReleaseParams { pool_ids: (!all).then_some(pool_ids), all: all.then_some(true) };
    let reply: PoolReleaseReply = session.call("io.contentd.Pool.Release", &params)?;
    if all && reply.released.is_empty() {
        session.tell("nothing was released: none is held");
    }
    session.printer.record(&reply, &["released"])?;
    let passed: Vec<i64> = named.into_iter().filter(|id| !reply.released.contains(id)).collect();
    if passed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = passed.iter().map(|id| why_passed(session, *id)).collect();
    Err(Failure::Refused(format!("{} skipped:\n{}", passed.len(), lines.join("\n"))))
}

/// Why an entry that was named was not released. What it is now need not be what it was then, and nearly always is.
fn why_passed(session: &Session, pool_id: i64) -> String {
    match session.call::<_, PoolShowReply>("io.contentd.Pool.Show", &PoolParams { pool_id }) {
        Ok(reply) => format!("pool entry {pool_id} is not held, but {}", safe(&reply.entry.status)),
        Err(failure) => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cure_for_accounts_without_a_publisher_is_said_once() {
        let said = |names: &[&str]| unserved(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&[]), None);
        let one = said(&["blog"]).expect("it waits");
        assert!(one.contains("account \"blog\" wait") && one.contains("pool next --account blog`"), "{one}");
        let two = said(&["blog", "news"]).expect("they wait");
        assert_eq!(two.matches("no publisher serves").count(), 1);
        assert!(two.contains("accounts \"blog\", \"news\" wait"), "{two}");
    }

    #[test]
    fn a_piece_that_is_not_due_does_not_wait() {
        assert_eq!(waiting(2, 0), "2 pieces wait");
        assert_eq!(waiting(1, 1), "1 piece waits, and 1 is due later");
        assert_eq!(waiting(0, 3), "3 pieces are due later");
    }

    #[test]
    fn an_entry_in_doubt_is_no_lease() {
        let entry = |status: &str| -> PoolView {
            serde_json::from_value(json!({
                "pool_id": 14, "content_id": 7, "priority": 5, "scheduled_at": "2026-01-31T08:00:00Z", "status": status,
                "retry_count": 0, "account_id": 1, "fence": 2, "lease_until": "2026-01-31T08:00:00Z",
            }))
            .expect("an entry")
        };
        let handout = |doubted_at: Value, fence: u64| -> HandoutView {
            serde_json::from_value(json!({
                "fence": fence, "holder": "site", "is_publisher": true, "key": "k", "sends": 1,
                "handed_out_at": "2026-01-31T07:00:00Z", "doubted_at": doubted_at,
            }))
            .expect("a handing out")
        };
        let at = json!("2026-01-31T07:01:00Z");
        let said = doubt(&entry("publishing"), &handout(at.clone(), 2)).expect("it is in doubt");
        assert!(
            said.starts_with("nobody knows whether pool entry 14 is out: site was called 1 time, looked"),
            "{said}"
        );
        for (entry, handout) in [
            (entry("publishing"), handout(Value::Null, 2)),
            (entry("publishing"), handout(at.clone(), 1)),
            (entry("held"), handout(at, 2)),
        ] {
            assert_eq!(doubt(&entry, &handout), None);
        }
    }
}
