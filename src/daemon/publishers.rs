//! From the configuration to publishers, and what keeps them from being called.

use std::sync::Arc;

use crate::config::Config;
use crate::generator::command::Places;
use crate::publisher::command::CommandPublisher;
use crate::publisher::{Publisher, PublisherDriver, Publishers};

/// Builds every publisher of the configuration. They hold nothing that a reload must keep: the call in hand keeps its own.
pub fn build(config: &Config, places: &Places) -> Publishers {
    let publisher = |(name, spec): (&String, &crate::publisher::spec::PublisherSpec)| Publisher {
        name: name.clone(),
        driver: Arc::new(CommandPublisher::new(spec.clone(), places.clone())),
        policy: spec.policy(),
        serves: spec.serves.clone(),
        limits: spec.limits,
    };
    let publishing = &config.publishing;
    Publishers::new(config.publishers.iter().map(publisher), publishing.consumers.clone(), publishing.lease)
}

/// Why publishers cannot be called now, a line each. Looked at beside everything else; a disk that hangs is not waited for.
pub async fn faults(publishers: &Publishers) -> Vec<String> {
    let drivers: Vec<Arc<dyn PublisherDriver>> = publishers.iter().map(|one| Arc::clone(&one.driver)).collect();
    let look = move || drivers.iter().flat_map(|driver| driver.faults()).collect::<Vec<_>>();
    let looked = tokio::time::timeout(std::time::Duration::from_secs(3), tokio::task::spawn_blocking(look)).await;
    match looked {
        Ok(Ok(faults)) => faults,
        Ok(Err(error)) => vec![format!("publishers: they were not looked at: {error}")],
        Err(_) => vec!["publishers: whether they can be called was not to be seen within 3 s".to_owned()],
    }
}
