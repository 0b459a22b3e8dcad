//! `review`: what waits, a piece to read, and what is decided of it.
//!
//! A piece is untrusted text: what a terminal would obey is shown, also in the pager. The surprise: nothing that a person
//! has typed is lost. Where an edit is refused, its file stays and is named.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Session;
use super::args::{EditArgs, RejectArgs, ReviewVerb};
use super::content::{is_newest, listed_fields, newest_of, of_old, print_piece, print_reviewed, review};
use super::failure::Failure;
use super::names;
use super::output::{columns_of, write_out};
use super::page;
use super::submit::read_file;
use super::table::{Column, fixed, flexible, sentences, spare, wanted};
use super::text::{counted, hanging, safe, safe_lines, wrapped};
use crate::control::api::{
    ApiError, ContentListParams, ContentParams, ContentReply, ContentsReply, EditParams, ReviewParams,
    WriteAgainParams, WriteAgainReply,
};
use crate::control::client::ClientError;
use crate::control::values::TextOrNumber;

pub(super) const WAITING_COLUMNS: &[Column] = &[
    fixed("ID", "content_id"),
    flexible("ACCOUNT", "account").goes(1),
    spare("CREATED", "created_at"),
    spare("WORDS", "word_count"),
    spare("SCORE", "quality_score"),
    wanted("TITLE", "title"),
    flexible("BEGINS", "summary").goes(1),
    sentences("REASON", "review_reason").below(),
];

/// `contentctl review`.
pub fn run(session: &Session, verb: ReviewVerb) -> Result<(), Failure> {
    match verb {
        ReviewVerb::List { account, page } => {
            let params = ContentListParams {
                account: account.map(TextOrNumber),
                review_status: Some("pending_review".to_owned()),
                limit: Some(page::asked(&page)),
                offset: Some(i64::from(page.offset)),
                oldest_first: Some(true),
                ..ContentListParams::default()
            };
            let join = |whole: &mut ContentsReply, part: ContentsReply| whole.contents.extend(part.contents);
            let mut reply = session.call_joined("io.contentd.Content.List", &params, join)?;
            let more = page::kept(&mut reply.contents, &page, |_| None);
            if session.printer.is_for_people() {
                // The title has a column of its own.
                for content in &mut reply.contents {
                    content.summary = behind_title(&content.title, &content.summary).to_owned();
                }
            }
            names::rows(session, &reply.contents, WAITING_COLUMNS, &listed_fields())?;
            if reply.contents.is_empty() {
                session.tell("nothing waits for a review");
            }
            page::tell_more(more);
            Ok(())
        }
        ReviewVerb::Show { content_id, piece } => {
            let reply = get(session, content_id)?;
            if piece.raw || piece.html || !session.printer.is_for_people() {
                return print_piece(session, reply, &piece);
            }
            let is_old = reply.content.review_status == "superseded";
            show(&reply, if is_old { newest_of(session, content_id) } else { None })
        }
        ReviewVerb::Approve(args) => review(session, args, "io.contentd.Content.Approve"),
        ReviewVerb::Reject(args) => reject(session, args),
        ReviewVerb::Edit(args) => edit(session, &args),
    }
}

/// The beginning of a piece without its title, with which most begin.
fn behind_title<'a>(title: &str, summary: &'a str) -> &'a str {
    match summary.strip_prefix(title) {
        Some(rest) if !title.is_empty() && !rest.starts_with(char::is_alphanumeric) => {
            rest.trim_start_matches(|char: char| char.is_whitespace() || ":：-–—.。".contains(char))
        }
        _ => summary,
    }
}

fn get(session: &Session, content_id: i64) -> Result<ContentReply, Failure> {
    session.call_joined("io.contentd.Content.Get", &ContentParams { content_id }, ContentReply::join)
}

/// What stands above a piece: what it is, what was found about it, and which version is the newest where that is known; on a terminal
/// of so many columns.
fn heading(reply: &ContentReply, newest: Option<i64>, columns: Option<usize>) -> String {
    let content = &reply.content;
    let score = content.quality_score.map(|score| format!(", score {score}")).unwrap_or_default();
    let mut lines = vec![
        safe(&content.title),
        format!(
            "content {}, version {}, of {}: {} words, {}{score}",
            content.content_id,
            reply.version,
            safe(&content.task_id),
            content.word_count,
            counted(content.images.len() as u64, "image")
        ),
        format!("review: {}, publishing: {}", safe(&content.review_status), safe(&content.publish_status)),
    ];
    let named =
        [("reviewed by", &reply.reviewed_by), ("reason", &reply.review_reason), ("edited by", &reply.edited_by)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    lines.extend(named.map(|(name, value)| format!("{name}: {}", safe(value))));
    lines.extend(reply.rewritten_by.iter().map(|task| format!("written again by {}", safe(task))));
    lines.extend(reply.findings.iter().map(|finding| format!("the rules say: {}", safe(finding))));
    match content.review_status.as_str() {
        "superseded" => {
            let newest = newest.map(|id| format!("; {}", is_newest(id))).unwrap_or_default();
            lines.push(format!(
                "a newer version replaced it: `contentctl content history {}` shows which{newest}",
                content.content_id
            ));
        }
        // A rejection may be taken back.
        "pending_review" | "rejected" => lines.push(format!(
            "contentctl review approve {} --hash {}",
            content.content_id,
            safe(&content.content_hash)
        )),
        // What is approved is not approved again.
        _ => {}
    }
    let width = lines.iter().map(|line| super::text::width(line)).max().unwrap_or(0).clamp(8, 72);
    lines.push("─".repeat(width.min(columns.unwrap_or(usize::MAX))));
    let Some(columns) = columns else { return lines.join("\n") + "\n" };
    // What is to be typed stays one line.
    let is_typed = |line: &str| line.starts_with("contentctl ");
    let fitting = |line: String| if is_typed(&line) { line } else { hanging(&line, columns, 0) };
    lines.into_iter().map(fitting).collect::<Vec<_>>().join("\n") + "\n"
}

/// A piece with its heading, as it is read; on a terminal of so many columns.
fn readable(reply: &ContentReply, newest: Option<i64>, columns: Option<usize>) -> String {
    let piece = safe_lines(reply.content.content.as_deref().unwrap_or_default());
    let piece = columns.map_or(piece.clone(), |columns| wrapped(&piece, columns));
    let end = if piece.ends_with('\n') { "" } else { "\n" };
    format!("{}{piece}{end}", heading(reply, newest, columns))
}

fn show(reply: &ContentReply, newest: Option<i64>) -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal();
    // A pager would break lines in the middle of words.
    let text = readable(reply, newest, is_terminal.then(|| columns_of(io::stdout())).flatten());
    if is_terminal && page(&text)? {
        return Ok(());
    }
    write_out(text.as_bytes())
}

/// Shows a text in the pager. False where there is none that starts.
fn page(text: &str) -> Result<bool, Failure> {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let mut command = shell(&pager.unwrap_or_else(|| "less".to_owned()), &[]);
    // Short texts need no key to leave, and nothing but text is shown.
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FX");
    }
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else { return Ok(false) };
    if let Some(mut input) = child.stdin.take() {
        // Whoever leaves the pager early has seen enough.
        let _ = input.write_all(text.as_bytes());
    }
    let status = child.wait()?;
    // The shell's word for a program that is not there.
    Ok(!matches!(status.code(), Some(126 | 127)))
}

/// A command line of the user's own, as a shell reads it, with more arguments.
fn shell(line: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{line} \"$@\"")).arg("contentctl").args(arguments);
    command
}

fn reject(session: &Session, args: RejectArgs) -> Result<(), Failure> {
    let RejectArgs { content_id, hash: content_hash, reason, again } = args;
    let Some(remark) = again else {
        let params = ReviewParams { content_id, content_hash, reason };
        let reply = session.call("io.contentd.Content.Reject", &params);
        return print_reviewed(session, &reply.map_err(|failure| of_old(session, content_id, failure))?);
    };
    let params = WriteAgainParams { content_id, content_hash, remark };
    // Twice is once, so a call that was cut is repeated.
    let asked = session.repeat(|client| client.call("io.contentd.Content.WriteAgain", &params));
    let reply: WriteAgainReply = asked.map_err(|failure| match failure {
        // A content was named, and what it was asked with went with its task.
        Failure::Client(ClientError::Refused(ApiError::TaskNotFound { task })) => Failure::Refused(format!(
            "content {content_id} is kept, and its task {} was deleted by a cleanup, with what was asked: `contentctl submit` asks \
             for it anew",
            safe(&task)
        )),
        failure => of_old(session, content_id, failure),
    })?;
    session.printer.record(&reply, &["content_id", "review_status", "task_id", "state", "was_known"])?;
    if reply.was_known {
        session.tell(format!("it was written again before: {} is that task, and nothing was added", reply.task_id));
    } else {
        session.tell(format!("{} writes it again; `contentctl wait {0}` waits for it", reply.task_id));
    }
    Ok(())
}

fn edit(session: &Session, args: &EditArgs) -> Result<(), Failure> {
    let current = get(session, args.content_id)?;
    // Said before somebody types, and not after.
    if current.content.review_status == "superseded" {
        let newest = newest_of(session, args.content_id).map(|id| format!("; {}", is_newest(id))).unwrap_or_default();
        return Err(Failure::Refused(format!(
            "content {0} was replaced by a newer version, and only the newest is edited: `contentctl content history {0}` \
             shows them{newest}",
            args.content_id
        )));
    }
    let base_hash = args.hash.clone().unwrap_or_else(|| current.content.content_hash.clone());
    match &args.file {
        None if args.title.is_some() => send(session, args.content_id, base_hash, args.title.clone(), None),
        Some(file) => {
            let (name, bytes) = read_file(file)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::Refused(format!("{name}: the text is not UTF-8; nothing was changed")))?;
            send(session, args.content_id, base_hash, args.title.clone(), Some(text))
        }
        None => edit_by_hand(session, &current, base_hash),
    }
}

/// Editors that draw on a screen. Without one they hang or end at once, and what a script of the caller's own does nobody can know.
const DRAWS: [&str; 12] =
    ["editor", "hx", "joe", "kak", "mcedit", "micro", "nano", "nvim", "pico", "sensible-editor", "vi", "vim"];

/// Whether this command line needs a terminal.
fn draws(editor: &str) -> bool {
    let program = editor.split_whitespace().next().unwrap_or_default();
    Path::new(program).file_name().is_some_and(|name| DRAWS.iter().any(|one| name == *one))
}

fn edit_by_hand(session: &Session, current: &ContentReply, base_hash: String) -> Result<(), Failure> {
    let named = ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok());
    let editor = named.into_iter().find(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    let id = current.content.content_id;
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) && draws(&editor) {
        return Err(Failure::Refused(format!(
            "the editor {editor:?} needs a terminal, and here is none: `contentctl review edit {id} --file FILE` takes the new text \
             from a file, and from standard input where FILE is -"
        )));
    }
    let before = current.content.content.as_deref().unwrap_or_default();
    let path = draft(id, before)?;
    let kept = |why: String| Failure::Refused(format!("{why}; what you typed is in {}", path.display()));
    let ended = shell(&editor, &[&path]).status();
    let after = fs::read_to_string(&path);
    let failed = match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("the editor {editor:?} ended with {status}, and nothing was changed")),
        Err(error) => Some(format!("the editor {editor:?} could not be started ({error}), and nothing was changed")),
    };
    if after.as_ref().is_ok_and(|after| after == before) {
        remove(&path);
        return match failed {
            Some(why) => {
                Err(Failure::Refused(format!("{why}; $VISUAL or $EDITOR names another one, --file FILE needs none")))
            }
            None => {
                session.tell("nothing was changed");
                Ok(())
            }
        };
    }
    if let Some(why) = failed {
        return Err(kept(why));
    }
    let after = after.map_err(|error| {
        kept(match error.kind() {
            io::ErrorKind::InvalidData => "the text is not UTF-8; nothing was changed".to_owned(),
            _ => format!("the edited text cannot be read ({error}), and nothing was changed"),
        })
    })?;
    let sent = send(session, id, base_hash, None, Some(after));
    sent.map_err(|failure| kept(failure.to_string()))?;
    remove(&path);
    Ok(())
}

fn remove(path: &Path) {
    // A draft that stays harms nobody but the room it takes.
    let _ = fs::remove_file(path);
}

/// A file of the caller's alone with the piece in it.
fn draft(content_id: i64, text: &str) -> Result<PathBuf, Failure> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|error| Failure::Io(io::Error::other(error)))?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = std::env::temp_dir().join(format!("contentctl-{content_id}-{random}.md"));
    let named = |error: io::Error| Failure::Refused(format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(named)?;
    file.write_all(text.as_bytes()).map_err(named)?;
    Ok(path)
}

fn send(
    session: &Session,
    content_id: i64,
    content_hash: String,
    title: Option<String>,
    content: Option<String>,
) -> Result<(), Failure> {
    let params = EditParams { content_id, content_hash, content, title };
    let reply: ContentReply = session.call("io.contentd.Content.Edit", &params)?;
    print_reviewed(session, &reply)?;
    let (id, version) = (reply.content.content_id, reply.version);
    if id == content_id {
        session.tell("nothing was changed");
        return Ok(());
    }
    for finding in &reply.findings {
        session.tell(format!("the rules say: {}", safe(finding)));
    }
    session.tell(format!("content {id} is version {version} and waits for a review; content {content_id} is kept"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_a_shell_does_and_a_path_is_one_argument() {
        let path = Path::new("/tmp/a b;c");
        let output = shell("printf '<%s>' -n", &[path]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "<-n></tmp/a b;c>");
    }

    #[test]
    fn an_editor_that_draws_is_known_by_its_name() {
        for editor in ["vi", "/usr/bin/nvim -n", "  nano"] {
            assert!(draws(editor), "{editor}");
        }
        for editor in ["", "sed -i s/a/b/", "/home/ada/bin/vi-less"] {
            assert!(!draws(editor), "{editor}");
        }
    }

    #[test]
    fn a_piece_is_broken_at_words_for_a_pager_alone() {
        let reply: ContentReply = serde_json::from_value(serde_json::json!({
            "content": {
                "content_id": 7, "task_id": "task-a", "account_id": 1, "title": "Salt", "summary": "", "images": [],
                "content": format!("# Salt\n\n{}\n", "Why the sea is salt, and why rivers are not. ".repeat(9).trim_end()),
                "word_count": 90, "review_status": "pending_review", "publish_status": "unpublished",
                "content_hash": "ab".repeat(32), "created_at": "2026-01-31T08:00:00Z",
            },
            "version": 1, "findings": ["it has 90 words, and at least 300 are wanted, as each of the rules says"],
        }))
        .expect("it is one");
        let shown = readable(&reply, None, Some(60));
        let is_whole = |line: &str| {
            super::super::text::width(line) <= 60 || line.starts_with("contentctl review approve 7 --hash abab")
        };
        assert!(shown.lines().all(is_whole) && shown.contains("--hash abab"), "{shown}");
        let piped = readable(&reply, None, None);
        assert_eq!(piped.lines().last().map(|line| line.matches("salt").count()), Some(9), "{piped}");
        assert_eq!(shown.split_whitespace().filter(|word| *word == "salt,").count(), 9, "{shown}");
        for (status, is_offered) in [("pending_review", true), ("approved", false), ("rejected", true)] {
            let mut reply = reply.clone();
            reply.content.review_status = status.to_owned();
            assert_eq!(readable(&reply, None, None).contains("review approve"), is_offered, "{status}");
        }
    }

    #[test]
    fn a_draft_is_the_callers_alone() {
        use std::os::unix::fs::PermissionsExt;
        let path = draft(7, "文").expect("a file");
        assert_eq!(fs::read_to_string(&path).expect("read"), "文");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        remove(&path);
    }

    #[test]
    fn a_beginning_does_not_say_the_title_again() {
        for (title, summary, shown) in [
            ("Salt", "Salt There is much to be said.", "There is much to be said."),
            ("Salt", "Salt: a history", "a history"),
            ("Salt", "Salt", ""),
            ("Salt", "Salty water boils late.", "Salty water boils late."),
            ("面包为什么会发酵", "面包为什么会发酵 导语。", "导语。"),
            ("Salt", "It is in the sea.", "It is in the sea."),
            ("", "- a list", "- a list"),
        ] {
            assert_eq!(behind_title(title, summary), shown, "{title}: {summary}");
        }
    }
}
