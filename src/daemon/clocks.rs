//! What a wall clock that was set means for what is stored, and who hears of it.

use std::time::Duration;

use log::Level;
use tokio::time::{Instant, sleep_until};

use crate::events::Kind;
use crate::host::SystemClock;
use crate::host::clock::Anchor;
use crate::store::Store;
use crate::store::write::{ANCHOR_SETTING, Write};
use crate::tell;

/// How often the wall clock is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Moves what is stored, if the wall clock was set since the last start in this boot.
pub async fn settle(store: &Store, clock: &SystemClock) -> anyhow::Result<()> {
    let stored = store.read(|queries| queries.settings(ANCHOR_SETTING)).await?;
    let before = stored.first().and_then(|(_, json)| serde_json::from_str::<Anchor>(json).ok());
    let anchor = serde_json::to_string(clock.anchor())?;
    if let Some(by_ms) = before.and_then(|before| clock.anchor().jump_since(&before)) {
        tell!(
            Level::Warn,
            Kind::ClockSet,
            "the wall clock was set by {by_ms} ms since the last start; every time that is still measured by moves with it"
        );
        store.write(Write::ShiftWakeTimes { by_ms, anchor }).await?;
        return Ok(());
    }
    store.write(Write::PutSetting { name: ANCHOR_SETTING.to_owned(), value: Some(anchor) }).await?;
    Ok(())
}

/// Looks at the wall clock now and then, and says once that it was set.
pub struct ClockWatch {
    at: Instant,
    told_jump: i64,
}

impl ClockWatch {
    /// The first look is a minute ahead.
    pub fn new() -> Self {
        Self { at: Instant::now() + LOOK, told_jump: 0 }
    }

    /// Resolves when it is time to look.
    pub async fn is_due(&self) {
        sleep_until(self.at).await;
    }

    /// Looks.
    pub fn look(&mut self, clock: &SystemClock) {
        self.at = Instant::now() + LOOK;
        let Some(jump) = clock.jump_since_start() else { return };
        if (jump - self.told_jump).abs() >= 1_000 {
            self.told_jump = jump;
            tell!(
                Level::Warn,
                Kind::ClockSet,
                "the wall clock was set by {jump} ms; nothing ends early or late, and times are told by the old one until a restart"
            );
        }
    }
}
