//! What goes on without anybody: each schedule with its sources, and each hook.

use std::sync::Arc;

use super::off_thread;
use crate::backend::{DaemonBackend, unmet};
use crate::finding::Finding;
use crate::schedule::FireState;
use crate::store::query::ScheduleStanding;

impl DaemonBackend {
    pub(super) async fn look_at_unattended(&self) -> Vec<Finding> {
        let mut findings = self.look_at_schedules().await;
        findings.extend(self.look_at_hooks().await);
        let default = self.settings.borrow().defaults.generator.clone();
        let known = self.world.generators.borrow().iter().map(|generator| generator.name.clone()).collect();
        let publishers = self.world.publishers.current();
        let sources = self.settings.borrow().schedules.topic_sources();
        findings.extend(unmet::look(&self.world.store, default.as_ref(), &known, &publishers, &sources).await);
        findings
    }

    async fn look_at_schedules(&self) -> Vec<Finding> {
        let settings = Arc::clone(&self.settings.borrow().schedules);
        let faults = off_thread(move || settings.faults()).await.unwrap_or_else(|error| vec![error]);
        let sources = faults.iter().map(|fault| Finding::of_fault("topic sources", fault));
        let standings = match self.read(|queries| queries.schedule_standings()).await {
            Ok(standings) => standings,
            Err(error) => {
                return vec![Finding::error("schedules", format!("cannot be read: {error}"), "see the database above")];
            }
        };
        sources.chain(standings.iter().map(of_schedule)).collect()
    }

    async fn look_at_hooks(&self) -> Vec<Finding> {
        let notices = Arc::clone(&self.world.notices.borrow());
        let mut findings = Vec::new();
        for (name, hook) in &notices.hooks {
            let subject = format!("hook {name}");
            let courier = Arc::clone(&hook.courier);
            let faults = off_thread(move || courier.faults()).await.unwrap_or_else(|error| vec![error]);
            if faults.is_empty() {
                let found = format!("can be called; `contentctl notice test {name}` sends it a message");
                findings.push(Finding::ok(subject.clone(), found));
            }
            findings.extend(faults.iter().map(|fault| Finding::of_fault(&subject, fault)));
        }
        findings
    }
}

fn of_schedule(schedule: &ScheduleStanding) -> Finding {
    let subject = format!("schedule {}", schedule.name);
    let name = &schedule.name;
    match schedule.trouble() {
        Some(why) => {
            let cure = format!("`contentctl schedule history {name}`; mend it, then `contentctl schedule run {name}`");
            Finding::warning(subject, format!("its last fire submitted nothing: {why}"), cure)
        }
        None if schedule.is_at_end => {
            let found = format!(
                "is at its end: its list is worked through; `contentctl schedule remove {name}` when it is not needed"
            );
            Finding::ok(subject, found)
        }
        None if schedule.is_paused => {
            let cure = format!("`contentctl schedule show {name}` says why; `contentctl schedule resume {name}`");
            Finding::warning(subject, "is paused: it begins no fires by itself", cure)
        }
        None if schedule.reads_on && matches!(schedule.last, Some((FireState::Empty, _))) => Finding::ok(
            subject,
            "fires by itself; every topic of its file was taken, and new ones are when they stand there",
        ),
        None => Finding::ok(subject, "fires by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    #[test]
    fn a_schedule_that_brings_nothing_is_told() {
        let standing = |is_paused, last| ScheduleStanding {
            name: "mornings".into(),
            is_paused,
            is_at_end: false,
            reads_on: false,
            last,
        };
        let failed = of_schedule(&standing(false, Some((FireState::Failed, Some("no such file".into())))));
        assert!(failed.severity == Severity::Warning && failed.found.contains("no such file"), "{failed:?}");
        assert!(failed.cure.is_some_and(|cure| cure.contains("schedule run mornings")));
        let paused = of_schedule(&standing(true, Some((FireState::Fired, None))));
        assert!(paused.severity == Severity::Warning && paused.found.contains("paused"), "{paused:?}");
        assert_eq!(of_schedule(&standing(false, None)).severity, Severity::Ok);
        let ended = ScheduleStanding { is_at_end: true, ..standing(true, Some((FireState::Fired, None))) };
        let ended = of_schedule(&ended);
        assert!(
            ended.severity == Severity::Ok && ended.cure.is_none(),
            "what cannot be resumed is not to be: {ended:?}"
        );
    }
}
