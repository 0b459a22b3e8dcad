//! The kinds of event that contentd tells about: one table, each with a stable id for the journal and words for its catalog.
//!
//! | file | question |
//! | --- | --- |
//! | [`kinds`] | which kinds are there, and what can an operator do? |
//! | [`mod@catalog`] | how does systemd want to be told? (`systemd/contentd.catalog` is written from the table) |
//!
//! [`tell!`](crate::tell) writes a line of the log. Beside the text it gives the journal fields of their own ([`About`]), and
//! the text begins with `task_id=… attempt=…`, so that a log on standard error can be searched the same way. It must not be
//! given pieces, secrets or environments.

pub mod catalog;
pub mod kinds;

use std::fmt;

use log::kv::{Error, Key, Source, Value, VisitSource};

use crate::task::outcome::Verb;
use crate::task::{AccountId, Attempt, GeneratorName, Task, TaskId, TaskState};
pub use catalog::catalog;
pub use kinds::Kind;

/// What a line of the log is about: the fields that it has in the journal.
#[derive(Clone, Copy, Default, Debug)]
pub struct About<'a> {
    kind: Option<Kind>,
    task: Option<&'a str>,
    attempt: Option<u32>,
    account: Option<AccountId>,
    generator: Option<&'a str>,
    state: Option<TaskState>,
    verb: Option<Verb>,
}

impl From<Kind> for About<'_> {
    fn from(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }
}

impl<'a> About<'a> {
    /// A task with everything that is known of it, at its current attempt.
    pub fn task(task: &'a Task) -> Self {
        Self {
            kind: None,
            task: Some(task.id.as_str()),
            attempt: Some(task.attempt),
            account: Some(task.account_id),
            generator: Some(task.generator.as_str()),
            state: Some(task.state),
            verb: None,
        }
    }

    /// A task and one of its attempts.
    pub fn job(task: &'a Task, attempt: &Attempt) -> Self {
        Self { attempt: Some(attempt.number), ..Self::task(task) }
    }

    /// A task of which only the id is known.
    pub fn id(task: &'a TaskId) -> Self {
        Self { task: Some(task.as_str()), ..Self::default() }
    }

    /// A generator.
    pub fn generator(generator: &'a GeneratorName) -> Self {
        Self::default().at(generator)
    }

    /// Something of this kind.
    pub fn is(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// At this generator.
    pub fn at(self, generator: &'a GeneratorName) -> Self {
        Self { generator: Some(generator.as_str()), ..self }
    }

    /// In this attempt.
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    /// For this account.
    pub fn account(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
    }

    /// In this state.
    pub fn state(self, state: TaskState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// In a call of this verb.
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }
}

/// What the text begins with: nothing, or which task and attempt it is about.
impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = self.task {
            write!(f, "task_id={task} ")?;
        }
        match self.attempt {
            Some(attempt) if self.task.is_some() => write!(f, "attempt={attempt} "),
            Some(_) | None => Ok(()),
        }
    }
}

impl Source for About<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        let mut text = |key, value: Option<&'kvs str>| match value {
            Some(value) => visitor.visit_pair(Key::from_str(key), Value::from(value)),
            None => Ok(()),
        };
        text("MESSAGE_ID", self.kind.map(Kind::id))?;
        text("TASK_ID", self.task)?;
        text("GENERATOR", self.generator)?;
        text("TASK_STATE", self.state.map(TaskState::as_str))?;
        text("VERB", self.verb.map(Verb::as_str))?;
        if let Some(attempt) = self.attempt {
            visitor.visit_pair(Key::from_str("ATTEMPT"), Value::from(attempt))?;
        }
        if let Some(account) = self.account {
            visitor.visit_pair(Key::from_str("ACCOUNT"), Value::from(account.0))?;
        }
        Ok(())
    }
}

/// Writes a line of the log about something: `tell!(Level::Warn, About::task(&task), "not fetched: {error}")`. In place of an
/// [`About`] a [`Kind`] alone will do.
///
/// The macros of the log crate take fields one by one, and each line would have to repeat all of them.
#[macro_export]
macro_rules! tell {
    ($level:expr, $about:expr, $($text:tt)+) => {{
        let level: ::log::Level = $level;
        if level <= ::log::STATIC_MAX_LEVEL && level <= ::log::max_level() {
            let about = $crate::events::About::from($about);
            ::log::logger().log(
                &::log::Record::builder()
                    .level(level)
                    .target(module_path!())
                    .module_path_static(Some(module_path!()))
                    .file_static(Some(file!()))
                    .line(Some(line!()))
                    .key_values(&about)
                    .args(format_args!("{about}{}", format_args!($($text)+)))
                    .build(),
            );
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_that_are_known_and_the_text_begins_with_the_task() {
        struct Seen(Vec<(String, String)>);
        impl<'kvs> VisitSource<'kvs> for Seen {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
                self.0.push((key.to_string(), value.to_string()));
                Ok(())
            }
        }
        let id = TaskId::from("task-a");
        let name = GeneratorName("sample".to_owned());
        let about = About::id(&id).attempt(2).at(&name).state(TaskState::Held).is(Kind::TaskHeld).verb(Verb::Fetch);
        let mut seen = Seen(Vec::new());
        about.visit(&mut seen).expect("nothing refuses");
        let fields: Vec<_> = seen.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("MESSAGE_ID", Kind::TaskHeld.id()),
            ("TASK_ID", "task-a"),
            ("GENERATOR", "sample"),
            ("TASK_STATE", "held"),
            ("VERB", "fetch"),
            ("ATTEMPT", "2"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(about.to_string(), "task_id=task-a attempt=2 ");
        assert_eq!(About::from(Kind::DaemonReady).attempt(1).to_string(), "");
    }
}
