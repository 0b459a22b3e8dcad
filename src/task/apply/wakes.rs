//! When a task wakes next: the back-offs, the pace of polls, and the slow looks at a job that outlived its task.
//!
//! Every change leaves an unfinished task with a time at which it wakes. The surprise: a held task has none, whatever is asked
//! here, because a person is its owner.

use std::time::Duration;

use super::super::policy::{LATE_INTERVAL, LATE_WATCH};
use super::super::retry::jittered;
use super::super::state::TaskState;
use super::Draft;

impl Draft<'_> {
    pub(super) fn wake_now(&mut self) {
        self.wake_in(Duration::ZERO);
    }

    /// Sets the next step's time. A held task has none: a person is its owner.
    pub(super) fn wake_in(&mut self, wait: Duration) {
        if self.task.state != TaskState::Held {
            self.task.wake_at = Some(self.now().plus(wait));
        }
    }

    /// As [`Draft::wake_in`], but the end of the time limit is not slept through.
    pub(super) fn wake_in_time(&mut self, wait: Duration) {
        let deadline = self.attempt.as_ref().and_then(|attempt| attempt.deadline.as_ref());
        let left = deadline.map(|deadline| deadline.remaining(self.context.now)).filter(|left| !left.is_zero());
        self.wake_in(left.map_or(wait, |left| wait.min(left)));
        self.keep_late_pace();
    }

    /// Wakes after the back-off of an answer that was bad or did not come.
    pub(super) fn wake_after_bad_answer(&mut self) {
        let backoff = self.context.policy.verb_backoff();
        let count = self.attempt.as_mut().map_or(0, |attempt| {
            attempt.bad_answers = attempt.bad_answers.saturating_add(1);
            attempt.bad_answers - 1
        });
        self.wake_in_time(backoff.delay(count, self.context.draw));
    }

    /// Wakes for the next poll of a job that answers.
    pub(super) fn wake_for_next_poll(&mut self) {
        let draw = self.context.draw;
        let (schedule, now) = (self.context.policy.polls, self.now());
        let wait = self.attempt.as_mut().map_or(schedule.interval, |attempt| {
            let age = attempt.accepted_at.map_or(Duration::ZERO, |accepted| now.since(accepted));
            let wait = schedule.wait(attempt.polls, age, draw);
            attempt.polls = attempt.polls.saturating_add(1);
            wait
        });
        self.wake_in_time(wait);
    }

    /// A job that outlived its task is looked at slowly, whatever its answers are.
    pub(super) fn keep_late_pace(&mut self) {
        if self.task.state.is_final() {
            let wait = jittered(LATE_INTERVAL, 0.1, self.context.draw);
            self.task.wake_at = Some(self.now().plus(wait));
        }
    }

    /// A piece that is known to be there, or a person who wants a look, is worth one more look after the day has passed.
    pub(super) fn watch_once_more(&mut self) {
        let until = self.now().plus(LATE_INTERVAL);
        if self.task.state.is_final()
            && let Some(attempt) = self.attempt.as_mut()
        {
            attempt.watch_until = attempt.watch_until.max(Some(until));
        }
    }

    /// The task is final and its job may be alive: look for a day.
    pub(super) fn watch_late(&mut self) {
        let until = self.now().plus(LATE_WATCH);
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.state.may_be_alive()) {
            attempt.watch_until = Some(until);
            self.keep_late_pace();
        }
    }
}
