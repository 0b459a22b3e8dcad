//! Whom contentd tells: a hook that takes seconds, fails now and then, and remembers what it was told over every death.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contentd::generator::hooks::{Courier, Hook, Notices};
use contentd::notice::delivery::{DeliveryEnd, Patience};
use contentd::notice::message::Message;
use contentd::notice::rules::{Settings, Severity};
use contentd::task::retry::Backoff;
use futures_util::future::BoxFuture;

use super::crash::Crash;
use super::world::SimEntropy;

/// What the receiver has.
pub type Told = Arc<Mutex<Vec<Message>>>;

struct Mail {
    told: Told,
    crash: Arc<Crash>,
    dice: Arc<SimEntropy>,
}

impl Courier for Mail {
    fn deliver(&self, message: String) -> BoxFuture<'static, DeliveryEnd> {
        let (told, crash, dice) = (Arc::clone(&self.told), Arc::clone(&self.crash), Arc::clone(&self.dice));
        let message: Message = serde_json::from_str(&message).expect("a message is JSON");
        Box::pin(async move {
            crash.point("before a hook").await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            if dice.chance(20) {
                return DeliveryEnd::Failed("the mail server is busy".into());
            }
            told.lock().unwrap().push(message);
            crash.point("in a hook").await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            DeliveryEnd::Delivered
        })
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The rules as they are where nothing is configured, looked at every five minutes.
pub fn notices(told: &Told, crash: &Arc<Crash>, dice: &Arc<SimEntropy>) -> Notices {
    let minute = Duration::from_secs(60);
    let retry = Backoff { initial: Duration::from_secs(5), factor: 2.0, max: 10 * minute, jitter: 0.2 };
    let patience = Patience { timeout: Duration::from_secs(30), retry, give_up_after: 24 * 60 * minute };
    let courier = Mail { told: Arc::clone(told), crash: Arc::clone(crash), dice: Arc::clone(dice) };
    let mail = Hook { patience, least: Severity::Warning, courier: Arc::new(courier) };
    Notices {
        settings: Some(Arc::new(Settings { interval: 5 * minute, ..Settings::default() })),
        hooks: [("mail".to_owned(), mail)].into(),
        host: "host".into(),
        disk_free: None,
    }
}
