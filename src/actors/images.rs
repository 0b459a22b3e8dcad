//! The ImageActor has images of pieces fetched before their addresses expire.
//!
//! Which images wait, and until when, stands in the database; the actor sleeps until the next of them wakes and fetches few
//! at a time. A fetch runs on a thread of its own ([`crate::images`]) and blocks nobody. Nothing is intended before a
//! fetch, because fetching twice harms nobody: an outcome that is lost is fetched again, to the same file.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use log::Level;
use serde::Serialize;

use super::World;
use super::supervisor::{Child, ChildExited};
use crate::events::{About, Kind};
use crate::images::{KeepImages, Kept};
use crate::store::write::{ImageWrite, KeptImage, Write};
use crate::task::image::{ImageFault, ImageState, TRIES, after_fault};
use crate::task::{TaskId, Timestamp};
use crate::tell;

/// How many fetches go on at once.
const FETCHES: usize = 2;
/// The longest sleep between two looks at the database.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long to leave a database alone that refused.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// Who keeps images, as the current configuration says it; nobody where they are not kept. Clones share it.
#[derive(Clone, Default)]
pub struct SharedKeeper(Arc<Mutex<Option<Arc<dyn KeepImages>>>>);

impl SharedKeeper {
    /// Whoever does it now.
    pub fn now(&self) -> Option<Arc<dyn KeepImages>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on.
    pub fn replace(&self, keeper: Option<Arc<dyn KeepImages>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keeper;
    }
}

/// From the result handler, the backend and a reload: images may wait that did not before. If it is lost, the next look
/// finds them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ImagesChanged;

/// From the supervisor: begin nothing any more. What is being fetched is fetched again by the next daemon.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainImages;

/// What has it done?
#[derive(Message)]
#[rtype(result = "ImageStatus")]
pub struct GetImageStatus;

/// To itself.
#[derive(Message)]
#[rtype(result = "()")]
struct ImageTick;

/// The actor as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, MessageResponse)]
pub struct ImageStatus {
    /// Fetches under way.
    pub in_hand: usize,
    /// Images kept since the daemon started.
    pub kept: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Images given up.
    pub given_up: u64,
}

/// See the module.
pub struct ImageActor {
    world: World,
    supervisor: WeakRecipient<ChildExited>,
    in_hand: BTreeSet<i64>,
    is_looking: bool,
    must_look: bool,
    is_draining: bool,
    timer: Option<SpawnHandle>,
    status: ImageStatus,
}

impl ImageActor {
    /// A fresh one.
    pub fn new(world: World, supervisor: WeakRecipient<ChildExited>) -> Self {
        Self {
            world,
            supervisor,
            in_hand: BTreeSet::new(),
            is_looking: false,
            must_look: false,
            is_draining: false,
            timer: None,
            status: ImageStatus::default(),
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.must_look = true;
        if self.is_looking || self.is_draining {
            return;
        }
        let Some(keeper) = self.world.images.now() else { return self.sleep(LONGEST_SLEEP, ctx) };
        (self.is_looking, self.must_look) = (true, false);
        let now = self.world.clock.now().utc;
        let (store, most) = (self.world.store.clone(), u32::try_from(FETCHES * 2).unwrap_or(u32::MAX));
        let read = async move {
            store.read(move |queries| Ok((queries.images_due(now, most)?, queries.next_image_after(now)?))).await
        };
        ctx.spawn(read.into_actor(self).map(move |found, actor, ctx| {
            actor.is_looking = false;
            match found {
                Ok((due, next)) => actor.begin(&keeper, due, next, now, ctx),
                Err(error) => actor.trouble(&error, ctx),
            }
        }));
    }

    fn begin(
        &mut self,
        keeper: &Arc<dyn KeepImages>,
        due: Vec<KeptImage>,
        next: Option<Timestamp>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        for image in due {
            if self.is_draining || self.in_hand.len() >= FETCHES {
                break;
            }
            if self.in_hand.insert(image.id) {
                let fetched = keeper.keep(image.url.clone());
                ctx.spawn(fetched.into_actor(self).map(move |outcome, actor, ctx| actor.note(image, outcome, ctx)));
            }
        }
        if self.must_look {
            return self.look(ctx);
        }
        // The end of a fetch looks again by itself.
        self.sleep(next.map_or(LONGEST_SLEEP, |at| at.since(now)), ctx);
    }

    /// Commits what came of an image, then tells.
    fn note(&mut self, image: KeptImage, outcome: Result<Kept, ImageFault>, ctx: &mut Context<Self>) {
        let now = self.world.clock.now().utc;
        let (state, error) = match &outcome {
            Ok(kept) => {
                let (file, media_type) = (kept.file.clone(), kept.media_type.to_owned());
                (ImageState::Kept { file, media_type, bytes: kept.bytes }, None)
            }
            Err(fault) => {
                let (ImageFault::Passing(why) | ImageFault::Final(why)) = fault;
                (after_fault(image.tries, fault, now), Some(why.clone()))
            }
        };
        let (store, content_id) = (self.world.store.clone(), image.content_id);
        let write = Write::Image(ImageWrite {
            id: image.id,
            tries_before: image.tries,
            state: state.clone(),
            error: error.clone(),
            now,
        });
        let work = async move {
            store.write(write).await.map_err(|error| error.to_string())?;
            let read =
                store.read(move |queries| Ok(queries.content(content_id)?.map(|content| content.record.task_id)));
            Ok(read.await.ok().flatten())
        };
        ctx.spawn(work.into_actor(self).map(move |written: Result<Option<TaskId>, String>, actor, ctx| {
            actor.in_hand.remove(&image.id);
            match written {
                Ok(task) => actor.told(&image, task, &state, error.as_deref()),
                Err(error) => {
                    // What cannot be written now is fetched again, and a server is not asked every second for that.
                    actor.trouble(&error, ctx);
                    return actor.sleep(LONGEST_SLEEP, ctx);
                }
            }
            actor.look(ctx);
        }));
    }

    fn told(&mut self, image: &KeptImage, task: Option<TaskId>, state: &ImageState, error: Option<&str>) {
        let (place, content, why) = (image.position + 1, image.content_id, error.unwrap_or_default());
        let task = task.unwrap_or_else(|| TaskId(String::new()));
        match state {
            ImageState::Kept { .. } => self.status.kept += 1,
            ImageState::Waiting { .. } => {
                self.status.failed += 1;
                log::debug!("image {place} of content {content} is tried again: {why}");
            }
            ImageState::GivenUp => {
                self.status.failed += 1;
                self.status.given_up += 1;
                let tries = image.tries + 1;
                let about = About::id(&task).is(Kind::ImageGivenUp);
                tell!(
                    Level::Warn,
                    about,
                    "image {place} of content {content} is given up after {tries} of {TRIES} tries: {why}"
                );
            }
        }
    }

    fn trouble(&mut self, error: &impl std::fmt::Display, ctx: &mut Context<Self>) {
        tell!(Level::Error, Kind::StorageTrouble, "images cannot be looked after, trying again: {error}");
        self.sleep(COOL_DOWN, ctx);
    }

    fn sleep(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = wait.clamp(Duration::from_millis(1), LONGEST_SLEEP);
        self.timer = Some(ctx.notify_later(ImageTick, wait));
    }
}

impl Actor for ImageActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        ChildExited::report(&self.supervisor, Child::Images, None);
    }
}

impl Handler<ImageTick> for ImageActor {
    type Result = ();

    fn handle(&mut self, _: ImageTick, ctx: &mut Self::Context) {
        self.timer = None;
        self.look(ctx);
    }
}

impl Handler<ImagesChanged> for ImageActor {
    type Result = ();

    fn handle(&mut self, _: ImagesChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<DrainImages> for ImageActor {
    type Result = ();

    fn handle(&mut self, _: DrainImages, _: &mut Self::Context) {
        self.is_draining = true;
    }
}

impl Handler<GetImageStatus> for ImageActor {
    type Result = ImageStatus;

    fn handle(&mut self, _: GetImageStatus, _: &mut Self::Context) -> Self::Result {
        ImageStatus { in_hand: self.in_hand.len(), ..self.status.clone() }
    }
}
