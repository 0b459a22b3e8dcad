//! What the sight of a run means: the table that decides whether a run may be repeated, and who pays.
//!
//! It must not touch a file, a thread or a log; [`super::runs`] does what it says. The surprise: the same sight means one
//! thing to an attempt that nobody has heard of yet and another to one that was accepted. Before, what never began costs
//! nothing. After, it was begun, and whoever says otherwise has spent a retry: else a generator that lies about its start
//! would be started for ever.

use super::super::call::{CallEnd, CallResult};
use super::super::run::Stopped;
use super::super::run::directory::Sight;

/// What is to be reported of a run, and so what is to be done first.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Meaning {
    /// It may yet begin.
    Starting,
    /// It has begun. That is told first; the next look tells the rest.
    Began {
        /// Nothing is left to wait for.
        is_over: bool,
    },
    /// It goes on.
    Running,
    /// Nothing was begun: another attempt may follow, so the directory is to be sealed first.
    NeverBegan,
    /// Its command could not be started: likewise, and the ending in its directory is the seal.
    CouldNotBegin(String),
    /// It has ended, and wrote how.
    Ended(CallResult, Option<Stopped>),
    /// It was accepted, and now it is said that nothing was started.
    Denied(String),
    /// It was accepted, and there is no trace of it.
    Vanished,
    /// It was accepted, not detached, and there is no trace of it: it went with the daemon.
    VanishedWithDaemon,
    /// Nobody is left, and nobody wrote how it ended.
    Left(Left),
}

/// Why nobody wrote how a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// It was not detached and ended with the daemon.
    WithDaemon,
    /// Its end was asked for.
    Killed,
    /// Nobody knows.
    Lost,
}

/// `is_new`: the core has not heard yet that it began.
pub(super) fn of(sight: Sight, is_new: bool, is_detached: bool) -> Meaning {
    match (sight, is_new) {
        (Sight::Starting, _) => Meaning::Starting,
        (Sight::Running, true) => Meaning::Began { is_over: false },
        (Sight::Running, false) => Meaning::Running,
        (Sight::NeverStarted, true) => Meaning::NeverBegan,
        (Sight::NeverStarted, false) if is_detached => Meaning::Vanished,
        (Sight::NeverStarted, false) => Meaning::VanishedWithDaemon,
        (Sight::Ended(CallResult { end: CallEnd::NotStarted(why), .. }, _), true) => Meaning::CouldNotBegin(why),
        (Sight::Ended(CallResult { end: CallEnd::NotStarted(why), .. }, _), false) => Meaning::Denied(why),
        (Sight::Ended(..) | Sight::Lost { .. }, true) => Meaning::Began { is_over: true },
        // Only a plain child ends with the daemon, and that costs nothing. A detached one cannot say so of itself.
        (Sight::Ended(result, Some(Stopped::Interrupted)), false) if is_detached => {
            Meaning::Ended(result, Some(Stopped::Terminated))
        }
        (Sight::Ended(result, stopped), false) => Meaning::Ended(result, stopped),
        (Sight::Lost { .. }, false) if !is_detached => Meaning::Left(Left::WithDaemon),
        (Sight::Lost { is_cancel_asked: true }, false) => Meaning::Left(Left::Killed),
        (Sight::Lost { is_cancel_asked: false }, false) => Meaning::Left(Left::Lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sight_of_every_run_means_one_thing() {
        let exit = CallResult { end: CallEnd::Exited(0), ..CallResult::not_started("") };
        let refused = CallResult::not_started("why");
        let ended = |stopped| Sight::Ended(exit.clone(), stopped);
        let means = |stopped| Meaning::Ended(exit.clone(), stopped);
        let (over, new) = (Meaning::Began { is_over: true }, Meaning::Began { is_over: false });
        let (interrupted, terminated) = (Some(Stopped::Interrupted), Some(Stopped::Terminated));
        let cancelled = Some(Stopped::Cancelled);
        let lost = |is_cancel_asked| Sight::Lost { is_cancel_asked };
        // The sight; of a new run; of an accepted one that is detached; of one that is not.
        let rows = [
            (Sight::Starting, Meaning::Starting, Meaning::Starting, Meaning::Starting),
            (Sight::Running, new, Meaning::Running, Meaning::Running),
            (Sight::NeverStarted, Meaning::NeverBegan, Meaning::Vanished, Meaning::VanishedWithDaemon),
            (
                Sight::Ended(refused.clone(), None),
                Meaning::CouldNotBegin("why".into()),
                Meaning::Denied("why".into()),
                Meaning::Denied("why".into()),
            ),
            (
                Sight::Ended(refused, interrupted),
                Meaning::CouldNotBegin("why".into()),
                Meaning::Denied("why".into()),
                Meaning::Denied("why".into()),
            ),
            (ended(None), over.clone(), means(None), means(None)),
            (ended(cancelled), over.clone(), means(cancelled), means(cancelled)),
            (ended(terminated), over.clone(), means(terminated), means(terminated)),
            (ended(interrupted), over.clone(), means(terminated), means(interrupted)),
            (lost(true), over.clone(), Meaning::Left(Left::Killed), Meaning::Left(Left::WithDaemon)),
            (lost(false), over, Meaning::Left(Left::Lost), Meaning::Left(Left::WithDaemon)),
        ];
        for (sight, new, detached, plain) in rows {
            for is_detached in [true, false] {
                assert_eq!(of(sight.clone(), true, is_detached), new, "new: {sight:?}");
            }
            assert_eq!(of(sight.clone(), false, true), detached, "detached: {sight:?}");
            assert_eq!(of(sight.clone(), false, false), plain, "plain: {sight:?}");
        }
    }
}
