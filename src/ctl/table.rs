//! How a table is laid out in the columns of a terminal.
//!
//! On a terminal no line of a table wraps by itself. Where the whole does not fit, columns in which nothing stands go first, then
//! cells that are only looked over are cut and sentences go on in the next line of their column, and what is worth least makes way
//! for what the table is asked for. Reasons, which a column would break into many short lines, then stand below their row. In a pipe
//! nothing is cut, broken or left out. The surprise: what makes way goes in an order that each table says, because the least important
//! column is not always the last one.

use serde_json::Value;

use super::output::cell;
use super::text::{broken, fitted, padded, width};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// The field.
    pub field: &'static str,
    narrows: Narrows,
    /// The table is asked for it, so others make way before it is too narrow to read.
    is_wanted: bool,
    /// When it makes way: the smaller first, of equal ones the rightmost; never where there is none.
    goes: Option<u8>,
    /// An empty cell of it says something, so it stays though all are empty.
    is_kept: bool,
    /// Where it does not fit beside the others it stands below the row.
    is_below: bool,
    /// A field that says the same now and then: this column is empty then.
    unless: Option<&'static str>,
}

/// What becomes of cells that are too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Narrows {
    /// They keep their width.
    Not,
    /// They are cut.
    Cut,
    /// They go on in the next line, at words.
    Break,
}

impl Column {
    const fn of(title: &'static str, field: &'static str, narrows: Narrows) -> Self {
        Self { title, field, narrows, is_wanted: false, goes: None, is_kept: false, is_below: false, unless: None }
    }

    /// Empty where it would only repeat what this field says.
    pub const fn unless(self, field: &'static str) -> Self {
        Self { unless: Some(field), ..self }
    }

    /// It makes way where there is no room for what the table is asked for: those with the smaller number first.
    pub const fn goes(self, order: u8) -> Self {
        Self { goes: Some(order), ..self }
    }

    /// It is read to its end where there is room, and others are worth more.
    pub const fn aside(self) -> Self {
        Self { is_wanted: false, ..self }
    }

    /// It stands on lines of its own below the row where there is no room for it beside the others.
    pub const fn below(self) -> Self {
        Self { is_below: true, ..self }
    }

    /// It stays, though every cell of it is empty.
    pub const fn kept(self) -> Self {
        Self { is_kept: true, ..self }
    }
}

/// A column that keeps its width.
pub const fn fixed(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Narrows::Not)
}

/// A column whose cells are cut.
pub const fn flexible(title: &'static str, field: &'static str) -> Column {
    Column::of(title, field, Narrows::Cut)
}

/// What the table is asked for: it is cut last.
pub const fn wanted(title: &'static str, field: &'static str) -> Column {
    Column { is_wanted: true, ..flexible(title, field) }
}

/// Sentences, which are read to their end: they are broken at words.
pub const fn sentences(title: &'static str, field: &'static str) -> Column {
    Column { is_wanted: true, ..Column::of(title, field, Narrows::Break) }
}

/// A column that keeps its width and is the first to make way.
pub const fn spare(title: &'static str, field: &'static str) -> Column {
    fixed(title, field).goes(0)
}

/// The narrowest that a column becomes whose cells are cut.
const NARROWEST: usize = 8;
/// The narrowest that reads well, of what a table is asked for.
const READABLE: usize = 24;
/// The narrowest that can be read at all: for more, nothing goes that says something of its own.
const LEGIBLE: usize = 16;
const GAP: usize = 2;
/// How far in the lines below a row begin, and those that they go on with.
const BELOW: (&str, &str) = ("  ", "    ");

/// A table as it is printed.
pub struct Table {
    /// Its lines.
    pub text: String,
    /// Headings of columns with something in them for which there was no room.
    pub left_out: Vec<&'static str>,
    /// Whether a line had to be cut at its end.
    pub is_cut: bool,
}

/// Lays out a table: a heading and a line or more for each row, in columns of a terminal.
pub fn table(rows: &[Value], columns: &[Column], terminal: Option<usize>) -> Table {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| shown(row, column)).collect()).collect();
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            cells.iter().map(|row| width(&row[index])).chain([width(column.title)]).max().unwrap_or(0)
        })
        .collect();
    let terminal = terminal.unwrap_or(usize::MAX);
    let mut beside: Vec<usize> = (0..columns.len()).collect();
    let mut below = Vec::new();
    let mut laid = Laid { kept: beside.clone(), widths: natural.clone(), left_out: Vec::new() };
    if line_of(&natural) > terminal {
        let has_words = |index: usize| rows.is_empty() || cells.iter().any(|row| !row[index].is_empty());
        beside.retain(|index| columns[*index].is_kept || has_words(*index));
        loop {
            laid = laid_out(beside.clone(), columns, &natural, terminal);
            let squeezed = laid.squeezed(columns, &natural);
            if rows.is_empty() || squeezed.is_empty() {
                break;
            }
            beside.retain(|index| !squeezed.contains(index));
            below.extend(squeezed);
        }
    }
    below.sort_unstable();
    let Laid { kept, widths, mut left_out } = laid;
    let is_cut = line_of(&widths) > terminal;
    let heading: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut text = String::new();
    push_row(&mut text, &heading, &kept, columns, &widths, terminal);
    for row in &cells {
        let row: Vec<&str> = row.iter().map(String::as_str).collect();
        push_row(&mut text, &row, &kept, columns, &widths, terminal);
        below.iter().for_each(|index| push_below(&mut text, columns[*index].title, row[*index], terminal));
    }
    if rows.is_empty() {
        // There was nothing in them.
        left_out.clear();
    }
    left_out.sort_unstable();
    Table { text, left_out: left_out.into_iter().map(|index| columns[index].title).collect(), is_cut }
}

/// Which columns stand beside each other, how wide, and for which there was no room.
struct Laid {
    kept: Vec<usize>,
    widths: Vec<usize>,
    left_out: Vec<usize>,
}

impl Laid {
    /// Those that may stand below their rows and have no room here for what is in them.
    fn squeezed(&self, columns: &[Column], natural: &[usize]) -> Vec<usize> {
        let narrow = self.kept.iter().zip(&self.widths).filter(|(index, width)| **width < natural[**index]);
        let squeezed = narrow.map(|(index, _)| index).chain(&self.left_out);
        squeezed.copied().filter(|index| columns[*index].is_below).collect()
    }
}

/// Columns in a terminal of so many: made narrower, and left out where that is not enough.
fn laid_out(mut kept: Vec<usize>, columns: &[Column], natural: &[usize], terminal: usize) -> Laid {
    let mut left_out = Vec::new();
    loop {
        let next = kept.iter().enumerate().rev().filter_map(|(place, index)| Some((columns[*index].goes?, place)));
        let next = next.min_by_key(|(order, _)| *order);
        let least = if next.is_some_and(|(order, _)| order == 0) { READABLE } else { LEGIBLE };
        let widths = narrowed(&kept, columns, natural, terminal, least);
        let is_readable =
            |(index, width): (&usize, &usize)| !columns[*index].is_wanted || *width >= natural[*index].min(least);
        let is_fitting = line_of(&widths) <= terminal && kept.iter().zip(&widths).all(is_readable);
        match next {
            Some((_, place)) if !is_fitting => left_out.push(kept.remove(place)),
            _ => return Laid { kept, widths, left_out },
        }
    }
}

fn shown(row: &Value, column: &Column) -> String {
    let value = row.get(column.field).unwrap_or(&Value::Null);
    if column.unless.is_some_and(|other| row.get(other) == Some(value)) {
        return String::new();
    }
    cell(value, column.field)
}

/// Columns of a line of so wide columns.
fn line_of(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// The widths of the columns that are kept. Taken from the widest that gives way, one at a time, until the line fits or none can
/// give more; what the table is asked for keeps `least` while others can.
fn narrowed(kept: &[usize], columns: &[Column], natural: &[usize], terminal: usize, least: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = kept.iter().map(|index| natural[*index]).collect();
    for least_wanted in [least, NARROWEST] {
        while line_of(&widths) > terminal {
            let floor = |place: usize| {
                let column = &columns[kept[place]];
                NARROWEST.max(width(column.title)).max(if column.is_wanted { least_wanted } else { 0 })
            };
            let gives = |place: &usize| columns[kept[*place]].narrows != Narrows::Not && widths[*place] > floor(*place);
            let Some(widest) = (0..widths.len()).filter(gives).max_by_key(|place| widths[*place]) else { break };
            widths[widest] -= 1;
        }
    }
    widths
}

/// A row, of as many lines as its longest sentence takes.
fn push_row(text: &mut String, cells: &[&str], kept: &[usize], columns: &[Column], widths: &[usize], terminal: usize) {
    let lines_of = |(index, width): (&usize, &usize)| match columns[*index].narrows {
        Narrows::Break => broken(cells[*index], *width),
        _ => vec![fitted(cells[*index], *width)],
    };
    let cells: Vec<Vec<String>> = kept.iter().zip(widths).map(lines_of).collect();
    for number in 0..cells.iter().map(Vec::len).max().unwrap_or(1) {
        let line: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(lines, width)| padded(lines.get(number).map_or("", String::as_str), *width))
            .collect();
        text.push_str(&fitted(line.join(&" ".repeat(GAP)).trim_end(), terminal));
        text.push('\n');
    }
}

/// What stands below a row, with its heading in front.
fn push_below(text: &mut String, title: &str, cell: &str, terminal: usize) {
    if cell.is_empty() {
        return;
    }
    let columns = terminal.saturating_sub(width(BELOW.1)).max(1);
    for (number, line) in broken(&format!("{title}: {cell}"), columns).iter().enumerate() {
        let inset = if number == 0 { BELOW.0 } else { BELOW.1 };
        text.push_str(&fitted(&format!("{inset}{line}"), terminal));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[fixed("ID", "id"), flexible("TOPIC", "topic")];

    #[test]
    fn tables_are_aligned_by_display_width_and_fit() {
        let rows = [json!({"id": 1, "topic": "人工智能\x1b[2J"}), json!({"id": 22, "topic": null})];
        assert_eq!(table(&rows, COLUMNS, None).text, "ID  TOPIC\n1   人工智能\\u{1b}[2J\n22\n");
        let rows = [json!({"id": 1, "topic": "人".repeat(50)})];
        let narrow = table(&rows, COLUMNS, Some(20)).text;
        assert!(narrow.lines().all(|line| width(line) <= 20), "{narrow}");
        let tiny = table(&rows, COLUMNS, Some(3));
        assert!(tiny.text.contains('…') && tiny.is_cut, "{}", tiny.text);
    }

    #[test]
    fn no_line_wraps_on_a_terminal_and_none_is_cut_in_a_pipe() {
        let columns = [
            fixed("TASK", "id"),
            fixed("CREATED", "at"),
            flexible("TOPIC", "topic"),
            fixed("ENDED", "ended_at"),
            sentences("REASON", "reason"),
            flexible("ERROR", "error"),
        ];
        let at = "2026-01-31 08:00:00";
        let rows =
            [json!({"id": "task-0123456789ab", "at": at, "topic": "Why bread rises ".repeat(9), "reason": null})];
        for columns_there in [1, 20, 40, 60, 80, 100, 250] {
            let text = table(&rows, &columns, Some(columns_there)).text;
            assert!(text.lines().all(|line| width(line) <= columns_there), "{columns_there}: {text}");
        }
        for columns_there in [56, 60, 80, 100] {
            let narrow = table(&rows, &columns, Some(columns_there));
            let (text, is_whole) = (&narrow.text, !narrow.is_cut && narrow.left_out.is_empty());
            assert!(is_whole && text.contains("TOPIC") && text.contains('…'), "{text}");
            assert!(!text.contains("REASON") && !text.contains("ENDED"), "an empty one goes, fixed or not: {text}");
        }
        let wide = table(&rows, &columns, Some(250)).text;
        assert!(wide.contains("REASON") && wide.contains("ERROR"), "it is there while there is room: {wide}");
        let piped = table(&rows, &columns, None).text;
        assert!(piped.contains(rows[0]["topic"].as_str().expect("a text").trim_end()), "{piped}");
    }

    #[test]
    fn what_a_table_is_asked_for_stays_and_what_makes_way_is_named() {
        let columns = [
            fixed("AT", "at"),
            fixed("EVENT", "event"),
            spare("FROM", "from"),
            spare("ATTEMPT", "attempt"),
            flexible("WHO", "who"),
            wanted("WHY", "why"),
        ];
        let why = "the generator said: 429 too many requests, try again in ten minutes";
        let rows = [json!({"at": "2026-01-31 08:00:00", "event": "retry_scheduled", "from": "processing",
            "attempt": 1, "who": "contentd", "why": why})];
        let narrow = table(&rows, &columns, Some(80));
        assert!(narrow.text.contains("the generator said: 429"), "{}", narrow.text);
        assert!(narrow.text.lines().all(|line| width(line) <= 80), "{}", narrow.text);
        assert_eq!(narrow.left_out, ["FROM", "ATTEMPT"]);
        assert_eq!(table(&rows, &columns, Some(86)).left_out, ["ATTEMPT"]);
        for whole in [None, Some(200)] {
            assert_eq!(table(&rows, &columns, whole).left_out, Vec::<&str>::new());
        }
    }

    #[test]
    fn sentences_go_on_under_their_heading_and_what_is_worth_least_goes_first() {
        let columns =
            [fixed("STATUS", "status"), flexible("CHECK", "name"), spare("SINCE", "since"), sentences("WHAT", "text")];
        let rows = [
            json!({"status": "critical", "name": "disk", "since": "2026-01-31 08:00:00",
                "text": "1.0 GiB are free where the database lies: make room, or `contentctl cleanup` deletes old tasks"}),
            json!({"status": "ok", "name": "failures", "text": "none"}),
        ];
        let expected = "STATUS    CHECK     WHAT\n\
                        critical  disk      1.0 GiB are free where the database\n\
                        \u{20}                   lies: make room, or `contentctl cleanup`\n\
                        \u{20}                   deletes old tasks\n\
                        ok        failures  none\n";
        let narrow = table(&rows, &columns, Some(60));
        assert_eq!((narrow.text.as_str(), narrow.left_out.as_slice()), (expected, ["SINCE"].as_slice()));
        let none = table(&[], &columns, Some(24));
        assert_eq!((none.text.as_str(), none.left_out.len()), ("STATUS  CHECK  WHAT\n", 0));
        let wide = table(&rows, &columns, Some(80));
        assert_eq!((wide.text.lines().count(), wide.left_out.len()), (5, 0), "{}", wide.text);
        assert_eq!(table(&rows, &columns, None).text.lines().count(), 3);
    }

    #[test]
    fn a_long_reason_stands_below_its_row_on_a_terminal() {
        let columns = [fixed("ID", "id"), wanted("TITLE", "title"), sentences("REASON", "reason").below()];
        let reason = "the generator said: 429 too many requests, `contentctl pool release 1` lets it go out";
        let rows = [json!({"id": 1, "title": "Salt", "reason": reason}), json!({"id": 2, "title": "Tea"})];
        let expected = "ID  TITLE\n\
                        1   Salt\n\
                        \u{20} REASON: the generator said: 429 too many\n\
                        \u{20}   requests, `contentctl pool release 1` lets\n\
                        \u{20}   it go out\n\
                        2   Tea\n";
        assert_eq!(table(&rows, &columns, Some(46)).text, expected);
        let piped = table(&rows, &columns, None).text;
        assert!(piped.starts_with("ID  TITLE  REASON\n") && piped.lines().count() == 3, "{piped}");
        let short = [json!({"id": 1, "title": "Why bread rises ".repeat(5), "reason": "waits for a worker"})];
        assert!(table(&short, &columns, Some(60)).text.starts_with("ID  TITLE"), "it fits beside the others");
        assert_eq!(table(&short, &columns, Some(60)).text.lines().count(), 2);
    }

    #[test]
    fn what_one_column_says_the_next_does_not_repeat() {
        let columns = [fixed("REASON", "reason"), flexible("ERROR", "error").unless("reason")];
        let rows = [json!({"reason": "restored", "error": "restored"}), json!({"reason": "waits", "error": "429"})];
        assert_eq!(table(&rows, &columns, None).text, "REASON    ERROR\nrestored\nwaits     429\n");
    }

    /// What a cell of this field looks like at its longest that is usual.
    fn usual(field: &str) -> Value {
        let at = |field: &str| field.ends_with("_at") || field.ends_with("_until") || matches!(field, "at" | "since");
        match field {
            "text" | "why" | "reason" | "error" | "topic" | "title" | "summary" | "held_reason" | "last_error"
            | "review_reason" | "paused_why" | "trouble" | "breaker_reason" => {
                json!("the generator said: 429 too many requests, try again in ten minutes and not before")
            }
            "faults" => json!(["/usr/bin/content-creator is not there", "it is not to be executed"]),
            "next_local" => json!("2026-01-31T08:00:00+08:00"),
            "next_utc" => json!("2026-01-31T00:00:00.000Z"),
            "task_id" => json!("task-0123456789ab"),
            "notice_id" => json!("4de6fdcb9b0-0123456789abcdef012345"),
            "state" | "from_state" | "to_state" => json!("processing"),
            "status" => json!("publishing"),
            "review_status" => json!("pending_review"),
            "event" => json!("retry_scheduled"),
            "key" => json!("cd".repeat(16)),
            "who" | "holder" | "edited_by" | "reviewed_by" | "acknowledged_by" => json!("1000:ada"),
            "when" => json!("0 8 * * mon-fri"),
            "url" | "file" => json!("https://example.org/images/salt-a-history.png"),
            "told" => json!(["mail delivered", "pager waiting"]),
            "name" | "generator" | "account" | "hook" | "external_id" | "external_ref" => json!("content-creator"),
            field if at(field) => json!("2026-01-31T00:00:00.000Z"),
            _ => json!(1234),
        }
    }

    #[test]
    fn what_says_more_makes_way_last() {
        use crate::ctl::{daemon, notice, pool, schedule, tasks};
        let shown = |columns: &[Column], terminal| {
            let row = columns.iter().map(|column| (column.field.to_owned(), usual(column.field)));
            table(&[Value::Object(row.collect())], columns, Some(terminal))
        };
        let notices = shown(notice::NOTICE_COLUMNS, 60);
        assert!(notices.text.contains("many requests") && notices.text.contains("4de6fdcb"), "{}", notices.text);
        assert!(!shown(notice::NOTICE_COLUMNS, 80).left_out.contains(&"KIND"));
        let attempts = shown(tasks::ATTEMPT_COLUMNS, 60);
        assert!(attempts.left_out.contains(&"REF") && !attempts.left_out.contains(&"ENDED"), "{}", attempts.text);
        for columns in [daemon::GENERATOR_COLUMNS, pool::PUBLISHER_COLUMNS] {
            let away = shown(columns, 60).text;
            assert!(away.contains("\n  WHY: the generator said: 429"), "below its row: {away}");
        }
        let entries = shown(pool::COLUMNS, 100);
        assert!(entries.left_out.contains(&"LEASE UNTIL") && !entries.left_out.contains(&"DUE"), "{}", entries.text);
        for (terminal, gone) in [(100, "TAKEN"), (80, "SOURCE")] {
            let schedules = shown(schedule::COLUMNS, terminal);
            let is_whole = schedules.text.contains("0 8 * * mon-fri") && schedules.text.contains("content-creator");
            assert!(is_whole && schedules.left_out.contains(&gone), "{}", schedules.text);
        }
        let held = shown(tasks::TASK_COLUMNS, 80).text;
        assert!(held.lines().last().is_some_and(|line| line.contains("before")), "the reason is whole: {held}");
    }

    #[test]
    fn every_table_fits_a_terminal_of_sixty_columns_and_none_of_its_lines_is_cut() {
        use crate::ctl::{accounts, content, daemon, notice, pool, review, schedule, stats, submit, tasks};
        let tables = [
            ("list", tasks::TASK_COLUMNS, &["TASK", "STATE", "TOPIC", "REASON"][..]),
            ("show", tasks::ATTEMPT_COLUMNS, &["ATTEMPT", "STATE", "ERROR"]),
            ("history", tasks::HISTORY_COLUMNS, &["AT", "EVENT", "WHY"]),
            ("submit", submit::COLUMNS, &["TASK", "STATE"]),
            ("status", daemon::GENERATOR_COLUMNS, &["GENERATOR", "BREAKER", "TRIED NEXT", "WHY", "FAULTS"]),
            ("pause", daemon::PAUSE_COLUMNS, &["GENERATOR", "ACCOUNT", "REASON"]),
            ("workers", daemon::WORKER_COLUMNS, &["WORKER", "STATE", "TASK", "SINCE"]),
            ("health", notice::CHECK_COLUMNS, &["STATUS", "CHECK", "WHAT"]),
            ("notice list", notice::NOTICE_COLUMNS, &["ID", "AT", "WHAT"]),
            ("notice list, hooks", notice::HOOK_COLUMNS, &["HOOK", "WAITING", "GIVEN UP"]),
            ("notice show", notice::DELIVERY_COLUMNS, &["HOOK", "STATE", "LAST WORDS"]),
            ("stats --by day", stats::DAY_COLUMNS, &["DAY", "CREATED", "DONE", "FAILED", "TIMEOUT"]),
            ("content list", content::CONTENT_COLUMNS, &["ID", "REVIEW", "TITLE"]),
            ("content history", content::VERSION_COLUMNS, &["VERSION", "ID", "REVIEW", "REASON"]),
            ("content images", content::IMAGE_COLUMNS, &["N", "STATE", "FILE", "URL", "ERROR"]),
            ("review list", review::WAITING_COLUMNS, &["ID", "TITLE"]),
            ("pool list", pool::COLUMNS, &["ID", "STATUS", "TITLE", "HELD"]),
            ("pool next", pool::HANDED_OUT_COLUMNS, &["ID", "FENCE", "YOURS UNTIL", "CONTENT"]),
            ("pool show", pool::HANDOUT_COLUMNS, &["FENCE", "HOLDER", "OUTCOME", "ERROR"]),
            ("status, publishers", pool::PUBLISHER_COLUMNS, &["PUBLISHER", "AWAY", "TRIED NEXT", "WHY"]),
            ("schedule list", schedule::COLUMNS, &["ID", "NAME", "WHEN", "PAUSED", "TROUBLE"]),
            ("schedule history", schedule::FIRE_COLUMNS, &["ID", "DUE", "STATE", "REASON"]),
            ("account list", accounts::COLUMNS, &["ID", "NAME", "ENABLED", "GENERATOR"]),
            ("account import", accounts::IMPORT_COLUMNS, &["OUTCOME", "ID", "NAME", "ENABLED"]),
        ];
        for (name, columns, stay) in tables {
            let row = columns.iter().map(|column| (column.field.to_owned(), usual(column.field)));
            let rows = [Value::Object(row.collect())];
            for terminal in [60, 80, 100] {
                let Table { text, left_out, is_cut } = table(&rows, columns, Some(terminal));
                assert!(!is_cut && text.lines().all(|line| width(line) <= terminal), "{name} at {terminal}:\n{text}");
                assert!(
                    stay.iter().all(|title| !left_out.contains(title)),
                    "{name} at {terminal}: {left_out:?}\n{text}"
                );
            }
        }
    }
}
