//! Whether a generator could be called now, asked so that nobody waits for it.
//!
//! The look reads directories, programs and secrets. Where one of them lies on a file system that does not answer, the look
//! hangs, and whoever asked must not hang with it: it runs on a thread of its own, and the asker waits a few seconds. It must
//! not pile up: a look that still hangs is the one that everybody waits for.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

use super::Driver;

/// How long somebody waits for a look.
const PATIENCE: Duration = Duration::from_secs(3);

type Look = Shared<BoxFuture<'static, Vec<String>>>;

/// The look of one generator that is under way, if one is.
#[derive(Default)]
pub(super) struct Fitness(Mutex<Option<Look>>);

impl Fitness {
    /// What the driver lacks, or that this could not be seen in time.
    pub(super) async fn faults(&self, driver: &Arc<dyn Driver>) -> Vec<String> {
        let driver = Arc::clone(driver);
        self.answer(move || driver.faults()).await
    }

    async fn answer(&self, look: impl FnOnce() -> Vec<String> + Send + 'static) -> Vec<String> {
        tokio::time::timeout(PATIENCE, self.under_way(look)).await.unwrap_or_else(|_| {
            vec![format!(
                "whether it can be called was not to be seen within {} s: its working directory, its program or a secret \
                 lies on a file system that does not answer",
                PATIENCE.as_secs()
            )]
        })
    }

    fn under_way(&self, look: impl FnOnce() -> Vec<String> + Send + 'static) -> Look {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = under_way.as_ref().filter(|look| look.peek().is_none()) {
            return look.clone();
        }
        let (answer, answered) = oneshot::channel();
        // Not a thread of the runtime's, which waits for all of those when it ends.
        let started = thread::Builder::new().name("fitness".into()).spawn(move || {
            // Whoever asked may have gone.
            let _ = answer.send(look());
        });
        let unseen = started.err().map_or_else(|| "it panicked".to_owned(), |error| error.to_string());
        let told = move |faults: Result<Vec<String>, _>| {
            faults.unwrap_or_else(|_| vec![format!("whether it can be called was not looked at: {unseen}")])
        };
        let look = answered.map(told).boxed().shared();
        *under_way = Some(look.clone());
        look
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_waited_for_once_and_holds_nobody_up() {
        let fitness = Fitness::default();
        let (release, hangs) = mpsc::channel::<()>();
        let told = fitness.answer(move || hangs.recv().map(|()| Vec::new()).unwrap_or_default()).await;
        assert!(told[0].contains("does not answer"), "{told:?}");
        let told = fitness.answer(|| unreachable!("the first look still hangs")).await;
        assert!(told[0].contains("does not answer"), "{told:?}");
        release.send(()).expect("the look is there still");
        let under_way = fitness.0.lock().expect("nobody panicked").clone().expect("a look");
        assert_eq!(under_way.await, Vec::<String>::new());
        tokio::time::resume();
        assert_eq!(fitness.answer(|| vec!["no secret".into()]).await, ["no secret"]);
    }

    #[tokio::test]
    async fn a_look_that_panics_is_a_fault() {
        // Without the hook that prints a stack, which takes seconds on a busy machine.
        let told = Fitness::default().answer(|| std::panic::resume_unwind(Box::new("on purpose"))).await;
        assert!(told[0].contains("panicked"), "{told:?}");
    }
}
