//! Where the log goes: natively to journald when standard error is the journal, else to standard error.
//!
//! `RUST_LOG` means the same in both, because both use the filter of env_logger; without it, `info` counts. In the journal a
//! record has the fields of [`crate::events::About`]; on standard error they stand in the text already and are not repeated.
//! A journal that cannot be reached is no reason not to start, because standard error still leads to it. The surprise: whatever
//! `RUST_LOG` says, the library that takes HTML apart is not heard, because it logs every word of a piece.

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// The variable that says what is logged.
const VARIABLE: &str = "RUST_LOG";
/// What is logged where the variable says nothing.
const DEFAULT: &str = "info";
/// What `journalctl -t` finds, whatever the program file is called.
const IDENTIFIER: &str = "contentd";

/// Sets the log up for this process. To be called once, first of all.
pub fn init() {
    let asked = std::env::var(VARIABLE).ok();
    let (wanted, fault) = readable(asked.as_deref());
    init_at(wanted);
    if let Some(fault) = fault {
        log::warn!("{fault}");
    }
}

fn init_at(wanted: &str) {
    if connected_to_journal() {
        match JournalLog::empty() {
            Ok(journal) => return init_journal(journal.with_syslog_identifier(IDENTIFIER.to_owned()), wanted),
            Err(error) => {
                init_stderr(wanted);
                log::warn!("the journal's socket cannot be reached ({error}): the log goes to standard error");
                return;
            }
        }
    }
    init_stderr(wanted);
}

fn init_stderr(wanted: &str) {
    let logger = env_logger::Builder::new()
        .parse_filters(wanted)
        .parse_write_style(&std::env::var("RUST_LOG_STYLE").unwrap_or_default())
        .format_timestamp_millis()
        .build();
    let most = logger.filter();
    install(logger, most);
}

fn init_journal(journal: JournalLog, wanted: &str) {
    let filter = filter_of(Some(wanted));
    let most = filter.filter();
    install(Journal { filter, journal }, most);
}

/// What the variable says, or what is logged without it, and what is wrong with it. The filter's own reading leaves out what it
/// cannot read: of a variable that is a slip of the pen nothing would be left, and nothing logged.
fn readable(variable: Option<&str>) -> (&str, Option<String>) {
    let Some(asked) = variable else { return (DEFAULT, None) };
    match env_filter::Builder::new().try_parse(asked) {
        Ok(_) => (asked, None),
        Err(_) => {
            let fault = format!(
                "{VARIABLE} is {asked:?} and cannot be read, so {DEFAULT} is logged: write a level (error, warn, info, debug, trace, \
                 off), or MODULE=LEVEL with commas between"
            );
            (DEFAULT, Some(fault))
        }
    }
}

fn install(logger: impl Log + 'static, most: LevelFilter) {
    log::set_max_level(most);
    // Nobody else sets a logger in this process, and a second one would only lose this one's lines.
    let _ = log::set_boxed_logger(Box::new(WithoutPieces(logger)));
}

/// Lets nothing through from those that log what they work on: that is a piece, which belongs to an account and not into a log.
struct WithoutPieces<L>(L);

/// They take the HTML of pieces apart, for ammonia.
const TALK_OF_PIECES: [&str; 3] = ["html5ever", "markup5ever", "ammonia"];

fn talks_of_pieces(target: &str) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    TALK_OF_PIECES.contains(&crate_name)
}

impl<L: Log> Log for WithoutPieces<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !talks_of_pieces(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !talks_of_pieces(record.target()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// What a value of the variable lets through.
fn filter_of(variable: Option<&str>) -> Filter {
    env_filter::Builder::new().parse(variable.unwrap_or(DEFAULT)).build()
}

struct Journal {
    filter: Filter,
    journal: JournalLog,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            // There is nowhere to say that the journal took nothing.
            let _ = self.journal.journal_send(&record.to_builder().level(shifted(record.level())).build());
        }
    }

    fn flush(&self) {}
}

/// The level that the crate must be given so that the journal gets the right priority. It takes info for 5 (notice) and
/// debug for 6 (info); a life that goes its way is information and nothing to take notice of, and `journalctl -p info`
/// would show what is meant for debugging.
fn shifted(level: Level) -> Level {
    match level {
        Level::Error => Level::Error,
        Level::Warn => Level::Warn,
        Level::Info => Level::Debug,
        Level::Debug | Level::Trace => Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_logged(filter: &Filter, level: Level, target: &str) -> bool {
        filter.enabled(&Metadata::builder().level(level).target(target).build())
    }

    #[test]
    fn levels_come_out_as_the_priorities_that_are_meant() {
        // What the crate makes of a level, as its documentation says.
        let priority = |level| match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 5,
            Level::Debug => 6,
            Level::Trace => 7,
        };
        let of = |level| priority(shifted(level));
        let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        assert_eq!(all.map(of), [3, 4, 6, 7, 7]);
    }

    #[test]
    fn who_takes_pieces_apart_is_not_heard() {
        assert!(talks_of_pieces("html5ever::tree_builder") && talks_of_pieces("html5ever"));
        assert!(!talks_of_pieces("contentd::render") && !talks_of_pieces("html5everything"));
    }

    #[test]
    fn a_variable_that_cannot_be_read_silences_nothing() {
        let (wanted, fault) = readable(Some("nonsense=foo"));
        assert_eq!(wanted, DEFAULT);
        assert!(fault.is_some_and(|fault| fault.contains("\"nonsense=foo\"") && fault.contains("MODULE=LEVEL")));
        for variable in ["warn", "contentd::actors=debug,warn", "off", "", "contentd"] {
            assert_eq!(readable(Some(variable)), (variable, None));
        }
        assert_eq!(readable(None), (DEFAULT, None));
    }

    #[test]
    fn the_variable_means_what_it_means_to_env_logger() {
        let variables = [
            None,
            Some("warn"),
            Some("contentd::actors=debug,warn"),
            Some("off"),
            Some(""),
            Some("contentd"),
            Some("info,contentd::generator=off"),
        ];
        let targets = ["contentd::actors::queue", "contentd::generator", "other"];
        for variable in variables {
            let mut builder = env_logger::Builder::new();
            builder.parse_filters(variable.unwrap_or(DEFAULT));
            let theirs = builder.build();
            let ours = filter_of(variable);
            assert_eq!(ours.filter(), theirs.filter(), "{variable:?}");
            for target in targets {
                for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
                    let metadata = Metadata::builder().level(level).target(target).build();
                    assert_eq!(ours.enabled(&metadata), theirs.enabled(&metadata), "{variable:?} {target} {level}");
                }
            }
        }
        let silent = filter_of(Some("warn"));
        assert!(is_logged(&silent, Level::Warn, "contentd") && !is_logged(&silent, Level::Info, "contentd"));
        assert!(is_logged(&filter_of(None), Level::Info, "contentd"));
    }
}
