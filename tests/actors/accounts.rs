//! An account's own limits, beside those of the generators; and images of pieces, fetched until they are kept or given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::actors::queue::QueueChanged;
use contentd::actors::supervisor::Crash;
use contentd::generator::Driver;
use contentd::generator::registry::Limits;
use contentd::images::{KeepImages, Kept};
use contentd::store::query::Queries;
use contentd::store::write::{AccountWrite, Env, PieceRules, Transition, Write, Written};
use contentd::task::account::AccountChange;
use contentd::task::image::{ImageFault, ImageState, TRIES};
use contentd::task::outcome::{FetchAnswer, Image, Piece, SubmitAnswer, Verb};
use contentd::task::{AccountId, AttemptKey, Clock, ContentId, Event, Policy, TaskId, TaskState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::rig::{Ask, Rig, Setup, limits, logged, policy, sample};

async fn set(rig: &Rig, account: i64, change: AccountChange) {
    let write = Write::Account(AccountWrite::Set { id: AccountId(account), change: Box::new(change) });
    rig.world.store.write(write).await.unwrap();
    // As the backend does it: from here on nothing starts before the limits were read.
    rig.queue().send(QueueChanged { task: None }).await.unwrap();
}

fn two_generators() -> Setup {
    let limits = Limits { max_in_flight: 10, ..limits() };
    let generators = vec![(sample(), policy(), limits), ("other".into(), policy(), limits)];
    Setup { generators, workers: 8, notices: Default::default() }
}

#[actix::test]
async fn an_accounts_jobs_are_counted_over_all_generators_and_starve_nobody() {
    let rig = Rig::start(two_generators()).await;
    set(&rig, 1, AccountChange { max_in_flight: Some(Some(2)), ..AccountChange::default() }).await;
    let at = |n: usize| if n.is_multiple_of(2) { sample() } else { "other".into() };
    let many =
        rig.submit_all((0..20).map(|n| Ask { generator: at(n), ..Ask::about(format!("{n}")).priority(10) })).await;
    let one = rig.submit(Ask::about("small").priority(1).account(2)).await;
    rig.until_state(&one, TaskState::Completed).await;
    let begun = rig.scripts.iter().map(|script| script.jobs().len()).sum::<usize>();
    assert!(begun <= 6, "the other account did not wait: {begun}");
    let why = rig.explain(&many[19]).await;
    assert!(why.contains("account 1 has 2 jobs at generators") && why.contains("max_in_flight is 2"), "{why}");
    rig.until_all(&many, TaskState::Completed).await;
    let spans: Vec<(i64, i64)> = many
        .iter()
        .map(|id| {
            let task = rig.task(id);
            (task.submitted_at.unwrap().0, task.completed_at.unwrap().0)
        })
        .collect();
    let most = spans.iter().map(|(at, _)| spans.iter().filter(|(from, to)| from <= at && at < to).count()).max();
    assert_eq!(most, Some(2), "no more than allowed, and no less than possible");
}

#[actix::test]
async fn an_accounts_day_is_counted_over_all_generators_and_a_restart() {
    let rig = Rig::start(two_generators()).await;
    set(&rig, 1, AccountChange { submits_per_day: Some(Some(3)), ..AccountChange::default() }).await;
    let at = |n: usize| if n.is_multiple_of(2) { sample() } else { "other".into() };
    let ids = rig.submit_all((0..5).map(|n| Ask { generator: at(n), ..Ask::about(format!("{n}")) })).await;
    rig.pass(Duration::from_secs(3600)).await;
    let submits = |rig: &Rig| rig.scripts.iter().map(|script| script.calls(Verb::Submit).len()).sum::<usize>();
    assert_eq!(submits(&rig), 3);
    let why = rig.explain(&ids[4]).await;
    assert!(why.contains("submits_per_day is 3"), "{why}");
    let rig = rig.restart().await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(submits(&rig), 3, "a restart is not a new day");
    set(&rig, 1, AccountChange { submits_per_day: Some(None), ..AccountChange::default() }).await;
    rig.until_all(&ids, TaskState::Completed).await;
    assert!(rig.elapsed_ms() < 4 * 3_600_000, "a limit that is taken away holds nobody");
    rig.assert_paid_once(&ids[..1]);
}

/// A generator that is taken out of the configuration takes its submits along: they can be counted no more, and would hold the
/// account for ever.
#[actix::test]
async fn submits_at_a_generator_that_is_gone_hold_no_account() {
    let rig = Rig::start(two_generators()).await;
    set(&rig, 1, AccountChange { submits_per_day: Some(Some(2)), ..AccountChange::default() }).await;
    let spent = rig.submit_all((0..2).map(|n| Ask { generator: "other".into(), ..Ask::about(format!("{n}")) })).await;
    rig.until_all(&spent, TaskState::Completed).await;
    let waits = rig.submit(Ask::about("one more")).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert_eq!(rig.state(&waits), TaskState::Pending);
    let driver: Arc<dyn Driver> = Arc::new(rig.script().clone());
    rig.reload(&driver).await;
    rig.until_state(&waits, TaskState::Completed).await;
    assert!(rig.elapsed_ms() < 3 * 3_600_000, "nobody waited for the next day");
}

/// Keeps what its script says, and remembers when it was asked.
#[derive(Clone, Default)]
struct FakeKeeper {
    faults: Arc<Mutex<BTreeMap<String, Vec<ImageFault>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    at_once: Arc<Mutex<(usize, usize)>>,
}

impl KeepImages for FakeKeeper {
    fn keep(&self, url: String) -> BoxFuture<'static, Result<Kept, ImageFault>> {
        let this = self.clone();
        async move {
            {
                let mut now = this.at_once.lock().unwrap();
                now.0 += 1;
                now.1 = now.1.max(now.0);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            this.at_once.lock().unwrap().0 -= 1;
            this.asked.lock().unwrap().push(url.clone());
            let mut faults = this.faults.lock().unwrap();
            let next = faults.get_mut(&url).filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0));
            next.map_or_else(|| Ok(Kept { file: format!("{}.png", url.len()), media_type: "image/png", bytes: 7 }), Err)
        }
        .boxed()
    }
}

/// Commits a piece with these images, in one breath, so that no actor looks in between.
async fn piece_with(rig: &Rig, urls: &[&str]) -> (TaskId, ContentId) {
    rig.pause(None, None).await;
    let id = rig.submit(Ask::about("with images")).await;
    let images = urls.iter().map(|url| Image::bare(*url)).collect();
    let piece = Box::new(Piece { content: "text".into(), images, ..Piece::default() });
    let accepted = SubmitAnswer::Accepted { reference: "job".into(), vars: BTreeMap::new() };
    let mut content = None;
    for event in [
        Event::Claimed { key: AttemptKey("k".into()) },
        Event::SubmitAnswered(accepted),
        Event::FetchAnswered(FetchAnswer::Piece(piece)),
    ] {
        let env = Env {
            now: rig.clock.now(),
            policy: Arc::new(Policy::default()),
            draw: 0.5,
            who: "contentd".into(),
            is_late_piece_wanted: false,
            is_outage: false,
        };
        let rules = Arc::new(PieceRules { images_kept: Some(20), ..PieceRules::default() });
        let rendered = Some(Default::default());
        let transition = Transition { task_id: id.clone(), attempt: None, event, env, rendered, rules };
        match rig.world.store.write(Write::Transition(Box::new(transition))).await.unwrap() {
            Written::Changed(changed) => content = changed.content_id,
            other => panic!("{other:?}"),
        }
    }
    rig.world.tell_images();
    (id, content.unwrap())
}

fn states(rig: &Rig, content: ContentId) -> Vec<ImageState> {
    rig.db.images(content).unwrap().into_iter().map(|image| image.state).collect()
}

#[actix::test]
async fn images_are_kept_two_at_a_time_and_tried_again_until_they_are_given_up() {
    let rig = Rig::start(Setup::default()).await;
    let keeper = FakeKeeper::default();
    let away = || ImageFault::Passing("503".into());
    keeper.faults.lock().unwrap().extend([
        ("https://e.org/late".to_owned(), vec![away(), away()]),
        ("https://e.org/away".to_owned(), vec![away(); 99]),
        ("https://e.org/svg".to_owned(), vec![ImageFault::Final("no PNG".into())]),
    ]);
    rig.world.images.replace(Some(Arc::new(keeper.clone())));
    let urls = ["https://e.org/1", "https://e.org/late", "https://e.org/away", "https://e.org/svg", "https://e.org/5"];
    let (_, content) = piece_with(&rig, &urls).await;
    rig.until("every image is decided", async |rig| {
        states(rig, content).iter().all(|state| !matches!(state, ImageState::Waiting { .. }))
    })
    .await;
    let names: Vec<_> = states(&rig, content).iter().map(ImageState::as_str).collect();
    assert_eq!(names, ["kept", "kept", "given_up", "given_up", "kept"]);
    let asked = keeper.asked.lock().unwrap().clone();
    let count = |url: &str| asked.iter().filter(|asked| *asked == url).count();
    assert_eq!(urls.map(count), [1, 3, TRIES as usize, 1, 1], "what is kept or given up is not asked again");
    assert_eq!(keeper.at_once.lock().unwrap().1, 2, "two at a time");
    let images = rig.db.images(content).unwrap();
    assert_eq!((images[2].tries, images[2].error.as_deref()), (TRIES, Some("503")));
    assert_eq!(logged("is given up").len(), 2, "each is said once");
    let status = rig.status().await.images.unwrap();
    assert_eq!((status.kept, status.given_up, status.in_hand), (3, 2, 0));
}

#[actix::test]
async fn images_survive_the_death_of_their_actor_and_wait_where_nobody_keeps_them() {
    let rig = Rig::start(Setup::default()).await;
    let (_, content) = piece_with(&rig, &["https://e.org/1"]).await;
    rig.pass(Duration::from_secs(3600)).await;
    assert!(matches!(states(&rig, content)[0], ImageState::Waiting { .. }), "images are not kept here");
    let keeper = FakeKeeper::default();
    rig.world.images.replace(Some(Arc::new(keeper.clone())));
    let images = rig.world.peers.borrow().images.clone().unwrap();
    // It dies with its fetch in hand.
    rig.world.tell_images();
    tokio::time::sleep(Duration::from_millis(500)).await;
    images.do_send(Crash);
    rig.until("the image is kept", async |rig| matches!(states(rig, content)[0], ImageState::Kept { .. })).await;
    assert_eq!(rig.status().await.restarts, 1);
    let rig = rig.restart().await;
    assert!(rig.world.peers.borrow().images.is_some());
}
