//! contentctl: the command line of contentd. Parse, call, print.
//!
//! | file | question |
//! | --- | --- |
//! | [`args`] | what may be typed? |
//! | `wrong` | what was meant by what may not be typed? |
//! | [`failure`] | which exit code, which message? |
//! | [`output`] | how is an answer printed? (table, JSON, CSV) |
//! | [`spreadsheet`] | how is it CSV? |
//! | [`table`] | how does a table fit a terminal? |
//! | [`text`] | how is untrusted text shown, and how wide is it? |
//! | [`when`] | how are times read and shown? |
//! | [`settings`] | how is a setting written in a file? |
//! | [`names`] | whose is it? |
//! | [`page`] | does a list go on behind its limit? |
//! | [`submit`], [`tasks`], [`follow`], [`mod@log`], [`content`], [`review`], [`pool`], [`accounts`], [`daemon`], [`doctor`], [`schedule`], [`notice`], [`stats`], [`manual`] | the verbs |
//!
//! It knows nothing that the daemon does not tell it, but for the doctor, who is asked when there is no daemon, and its own pages. JSON and CSV stand alone on standard output; everything said to
//! people goes to standard error. The surprise: texts of generators and submitters are untrusted even here, because a
//! terminal obeys control characters.

pub mod accounts;
pub mod args;
pub mod content;
pub mod daemon;
pub mod doctor;
pub mod failure;
pub mod follow;
pub mod log;
pub mod manual;
pub mod names;
pub mod notice;
pub mod output;
pub mod page;
pub mod pool;
pub mod review;
pub mod schedule;
pub mod settings;
pub mod spreadsheet;
pub mod stats;
pub mod submit;
pub mod table;
pub mod tasks;
pub mod text;
pub mod when;
mod wrong;

pub use crate::control::batch;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::control::api::ApiError;
use crate::control::client::{Client, ClientError, Repeat, call_repeatedly, places};
use crate::control::values::parse_duration_s;
use args::Verb;
use failure::Failure;
use output::Printer;

/// The calls that change nothing, by the ends of their names.
const LOOKS: [&str; 20] = [
    ".Get",
    ".GetConfig",
    ".GetStatus",
    ".GetVersion",
    ".History",
    ".Images",
    ".List",
    ".Log",
    ".Metrics",
    ".Notice",
    ".Notices",
    ".Ping",
    ".Queue",
    ".Result",
    ".Show",
    ".Statistics",
    ".Status",
    ".Summary",
    ".Versions",
    ".Workers",
];

/// What every verb needs.
pub struct Session {
    places: Vec<PathBuf>,
    retry_for: Duration,
    /// How answers are printed.
    pub printer: Printer,
}

impl Session {
    /// Calls on a connection of its own. What only looks is asked of the next daemon where one that ends has not answered it.
    pub fn call<P, R>(&self, method: &str, parameters: &P) -> Result<R, Failure>
    where
        P: serde::Serialize,
        R: serde::de::DeserializeOwned,
    {
        if LOOKS.iter().any(|look| method.ends_with(look)) {
            return self.unless_draining(|client| client.call(method, parameters));
        }
        Ok(Client::connect(&self.places)?.call(method, parameters)?)
    }

    /// The same for a look whose answer may be longer than a message: its replies are joined.
    pub fn call_joined<P, R>(&self, method: &str, parameters: &P, mut join: impl FnMut(&mut R, R)) -> Result<R, Failure>
    where
        P: serde::Serialize,
        R: serde::de::DeserializeOwned,
    {
        self.unless_draining(|client| client.call_joined(method, parameters, &mut join))
    }

    /// The same for any look. An actor that dies says that the daemon ends, too, so a call that changes something is not repeated: it
    /// may have been carried out.
    pub fn unless_draining<R>(&self, call: impl FnMut(&mut Client) -> Result<R, ClientError>) -> Result<R, Failure> {
        Ok(call_repeatedly(&self.places, self.retry_for, Repeat::Refused, self.telling_of_a_drain(call))?)
    }

    /// A connection for several calls.
    pub fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.places)?)
    }

    /// Calls, and again after a restart of the daemon. Only for what may be repeated.
    pub fn repeat<R>(&self, call: impl FnMut(&mut Client) -> Result<R, ClientError>) -> Result<R, Failure> {
        Ok(call_repeatedly(&self.places, self.retry_for, Repeat::Lost, self.telling_of_a_drain(call))?)
    }

    /// A call that says once why it is repeated: else it seems to hang.
    fn telling_of_a_drain<R>(
        &self,
        mut call: impl FnMut(&mut Client) -> Result<R, ClientError>,
    ) -> impl FnMut(&mut Client) -> Result<R, ClientError> {
        let mut is_told = self.retry_for.is_zero();
        move |client| {
            let result = call(client);
            if matches!(result, Err(ClientError::Refused(ApiError::Draining))) && !std::mem::replace(&mut is_told, true)
            {
                let seconds = self.retry_for.as_secs();
                self.tell(format!("contentd is draining; waiting up to {seconds} s for the next one"));
            }
            result
        }
    }

    /// Calls for what lasts, and again for as long as somebody answers; where nobody does, until the time is over if there is one.
    pub fn await_end<R>(
        &self,
        until: Option<Instant>,
        call: impl FnMut(&mut Client) -> Result<R, ClientError>,
    ) -> Result<R, Failure> {
        Ok(call_repeatedly(&self.places, self.retry_for, Repeat::Awaited { until }, call)?)
    }

    /// Says something to people, unless a program reads the output.
    pub fn tell(&self, message: impl AsRef<str>) {
        if self.printer.is_for_people() {
            output::say(message.as_ref());
        }
    }
}

/// Runs the command line to its exit code.
pub fn main() -> u8 {
    let args = wrong::typed();
    let Some(verb) = args.verb else {
        return failure::exit_code(overview());
    };
    let retry_for = parse_duration_s(&args.retry_for);
    let session = retry_for.map(Duration::from_secs).map(|retry_for| Session {
        places: places(
            args.socket
                .or_else(|| std::env::var_os("CONTENTD_SOCKET").map(PathBuf::from))
                .filter(|path| !path.as_os_str().is_empty()),
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            rustix::process::geteuid().as_raw(),
        ),
        retry_for,
        printer: Printer::new(args.output),
    });
    let result = session
        .ok_or_else(|| Failure::usage("--retry-for", &args.retry_for, crate::control::values::DURATION_FORMS))
        .and_then(|session| run(&session, verb));
    failure::exit_code(result)
}

fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Submit(args) => submit::submit(session, *args),
        Verb::Status(args) => tasks::status(session, &args.tasks),
        Verb::Show(args) => tasks::show(session, args.task),
        Verb::History(args) => tasks::history(session, args.task),
        Verb::Log(args) => log::log(session, args),
        Verb::List(args) => tasks::list(session, args),
        Verb::Queue(args) => tasks::queue(session, &args),
        Verb::Result(args) => content::result(session, args),
        Verb::Cancel(args) => tasks::cancel(session, args),
        Verb::Release(args) => tasks::release(session, args),
        Verb::Retry(args) => tasks::retry(session, args),
        Verb::Correct(args) => tasks::correct(session, args),
        Verb::Settle(args) => tasks::settle(session, args),
        Verb::Set(args) => tasks::set(session, args),
        Verb::Cleanup(args) => tasks::cleanup(session, &args),
        Verb::Stats(args) => stats::stats(session, args),
        Verb::Health => notice::health(session),
        Verb::Metrics(args) => notice::metrics(session, &args),
        Verb::Notice(verb) => notice::notice(session, verb),
        Verb::Report(args) => notice::report(session, args),
        Verb::Poll(args) => tasks::poll(session, args),
        Verb::Wait(args) => follow::wait(session, &args),
        Verb::Watch(args) => follow::watch(session, args),
        Verb::Workers => daemon::workers(session),
        Verb::Pause(args) => daemon::pause(session, args),
        Verb::Resume(args) => daemon::resume(session, args),
        Verb::Account(verb) => accounts::account(session, verb),
        Verb::Content(verb) => content::content(session, verb),
        Verb::Review(verb) => review::run(session, verb),
        Verb::Pool(verb) => pool::pool(session, verb),
        Verb::Schedule(verb) => schedule::schedule(session, verb),
        Verb::Doctor(args) => doctor::doctor(session, &args),
        Verb::Backup(args) => daemon::backup(session, args),
        Verb::Config => daemon::config(session),
        Verb::Call(args) => daemon::call(session, &args),
        Verb::Ping => daemon::ping(session),
        Verb::Drain => daemon::drain(session),
        Verb::Version => daemon::version(session),
        Verb::Reload => daemon::reload(session),
        Verb::Manual(args) => manual::manual(session, &args),
        Verb::Completions(args) => manual::completions(&args),
    }
}

const OVERVIEW: &str = "\
contentctl asks contentd to write content, and shows what became of it.

  contentctl account add --name blog          somebody to write for
  contentctl submit --account blog --topic T  a task: its id is printed at once
  contentctl wait ID                          until it has ended
  contentctl result ID                        the piece
  contentctl list --state running,failed      what goes on, what went wrong
  contentctl status [ID]                      the daemon, or one task and why it waits
  contentctl content list                     pieces, and their review
  contentctl review list                      pieces that wait for you

Every verb with its options: `contentctl --help`, `contentctl VERB --help`.
";

fn overview() -> Result<(), Failure> {
    std::io::stdout().write_all(OVERVIEW.as_bytes())?;
    Ok(())
}
