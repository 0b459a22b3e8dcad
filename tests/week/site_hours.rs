//! The site's hours: outside of them nobody is there to take a piece.

use std::sync::Arc;

use contentd::publish::PublishPolicy;
use contentd::publish::outcome::{FoundAnswer, PublishAnswer};
use contentd::publisher::{PublishJob, Publisher, PublisherDriver, PublisherLimits, Publishers, Serves};
use contentd::task::retry::Backoff;
use contentd::task::{AttemptKey, Clock};
use futures_util::future::BoxFuture;
use std::time::Duration;

use super::calendar::Calendar;
use super::crash::Crash;
use super::site::{Kind, Scripted, Site};

/// The driver of one life.
struct Hours {
    inner: Scripted,
    calendar: Arc<Calendar>,
}

impl Hours {
    fn is_open(&self) -> bool {
        self.calendar.is_open(self.inner.site.clock.now().utc.0)
    }
}

impl PublisherDriver for Hours {
    fn publish(&self, job: PublishJob) -> BoxFuture<'static, PublishAnswer> {
        if self.is_open() {
            return self.inner.publish(job);
        }
        Box::pin(std::future::ready(PublishAnswer::Unavailable("the site opens at nine".into())))
    }

    fn find(&self, job: PublishJob) -> BoxFuture<'static, FoundAnswer> {
        self.inner.find(job)
    }

    fn is_quiet(&self, key: AttemptKey) -> BoxFuture<'static, Option<bool>> {
        self.inner.is_quiet(key)
    }

    fn forget(&self, key: AttemptKey) -> BoxFuture<'static, ()> {
        self.inner.forget(key)
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Two publishers to one site: one for the first two accounts, one for the third.
pub fn publishers(site: &Site, kind: Kind, crash: &Arc<Crash>, calendar: &Arc<Calendar>) -> Publishers {
    let policy = PublishPolicy {
        is_idempotent: kind == Kind::Idempotent,
        can_find: kind == Kind::Findable,
        retry: Backoff { initial: Duration::from_secs(30), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 },
        ..PublishPolicy::default()
    };
    let publisher = |name: &str, accounts: &[&str]| Publisher {
        name: name.into(),
        driver: Arc::new(Hours {
            inner: Scripted { site: site.clone(), crash: Arc::clone(crash) },
            calendar: Arc::clone(calendar),
        }),
        policy: policy.clone(),
        serves: Serves { accounts: Some(accounts.iter().map(|name| (*name).to_owned()).collect()), categories: None },
        limits: PublisherLimits {
            max_in_flight: 2,
            publishes_per_day: None,
            interval: Duration::from_secs(60),
            batch: 2,
        },
    };
    let [one, two, three] = super::sources::ACCOUNTS;
    let all = [publisher("blogs", &[one, two]), publisher("news", &[three])];
    Publishers::new(all, PublishPolicy::default(), Duration::from_secs(300))
}
