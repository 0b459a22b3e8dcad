//! Each publisher as it stands, and what of the pool waits for a person.

use super::off_thread;
use crate::actors::supervisor::GetStatus;
use crate::backend::DaemonBackend;
use crate::finding::Finding;
use crate::store::query::{Page, PoolFilter};
use crate::task::content::PoolState;
use crate::text::counted;

/// How many held entries are counted.
const COUNTED: u32 = 1000;

impl DaemonBackend {
    pub(super) async fn look_at_publishers(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let status = self.supervisor.send(GetStatus::default()).await.ok().and_then(|status| status.publisher);
        let publishers = self.world.publishers.current();
        for publisher in publishers.iter() {
            let subject = format!("publisher {}", publisher.name);
            let driver = std::sync::Arc::clone(&publisher.driver);
            let faults = off_thread(move || driver.faults()).await.unwrap_or_else(|error| vec![error]);
            let away =
                status.as_ref().and_then(|status| status.away.iter().find(|one| one.publisher == publisher.name));
            match (faults.first(), away) {
                (Some(_), _) => findings.extend(faults.iter().map(|fault| Finding::of_fault(&subject, fault))),
                (None, Some(away)) => {
                    let found = format!("is away: {}", away.why);
                    let cure = format!(
                        "look at it; one piece at a time tries it, and nothing is spent; once it is mended, `contentctl resume \
                         --publisher {}` has it tried at once",
                        publisher.name
                    );
                    findings.push(Finding::error(subject, found, cure));
                }
                (None, None) => findings.push(Finding::ok(subject, "can be called")),
            }
        }
        findings.extend(self.look_at_held_pieces().await);
        for account in self.unserved_accounts().await.unwrap_or_default() {
            let found = format!("no publisher serves account {account:?}, and approved pieces of it wait");
            let cure = format!(
                "add {account:?} to `accounts` of a [publishers.NAME] and reload, or take them with `contentctl pool next --account \
                 {account}`"
            );
            findings.push(Finding::warning("publish pool", found, cure));
        }
        findings
    }

    async fn look_at_held_pieces(&self) -> Option<Finding> {
        let filter = PoolFilter { status: Some(PoolState::Held), ..PoolFilter::default() };
        let held = self.read(move |queries| queries.pool(&filter, Page::first(COUNTED))).await.ok()?;
        (!held.is_empty()).then(|| {
            let wait = counted(held.len() as u64, "piece waits", "pieces wait");
            let found = format!("{wait} for a person, because nobody knows whether it was published");
            let cure =
                "`contentctl pool list --status held` says why; `contentctl pool done`, `fail` or `release` decides";
            Finding::warning("publish pool", found, cure)
        })
    }
}
