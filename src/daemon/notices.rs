//! From the configuration to rules and hooks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::generator::command::hook::HookCommand;
use crate::generator::exec::Environment;
use crate::generator::hooks::{Courier, Hook, Notices};
use crate::host::machine;

/// How long files are waited for when it is asked whether a hook could run.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// The rules and the hooks of a configuration.
pub fn build(config: &Config) -> Notices {
    let hooks = config.hooks.iter().map(|(name, spec)| {
        let courier = command(config, name);
        (name.clone(), Hook { patience: spec.patience, least: spec.least, courier })
    });
    let state_dir = config.daemon.state_dir.clone();
    Notices {
        settings: (!config.notices.is_off).then(|| Arc::new(config.notices.settings.clone())),
        hooks: hooks.collect(),
        host: machine::name(),
        disk_free: Some(Arc::new(move || machine::disk_free(&state_dir).ok())),
    }
}

fn command(config: &Config, name: &str) -> Arc<dyn Courier> {
    let spec = Arc::new(config.hooks[name].clone());
    let environment = Environment::minimal(&|name| std::env::var_os(name));
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let cwd = std::path::absolute(&config.daemon.state_dir).unwrap_or_else(|_| config.daemon.state_dir.clone());
    Arc::new(HookCommand::new(spec, environment, credentials, cwd))
}

/// Why hooks could not run now, a line each. Answers within seconds, whatever the disk does.
pub async fn faults(config: &Config) -> Vec<String> {
    let couriers: Vec<(String, Arc<dyn Courier>)> =
        config.hooks.keys().map(|name| (name.clone(), command(config, name))).collect();
    let look = tokio::task::spawn_blocking(move || {
        let named = |(name, courier): (String, Arc<dyn Courier>)| {
            courier.faults().into_iter().map(move |fault| format!("hooks.{name}: {fault}")).collect::<Vec<_>>()
        };
        couriers.into_iter().flat_map(named).collect::<Vec<_>>()
    });
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(Ok(faults)) => faults,
        Ok(Err(_)) | Err(_) => vec!["hooks: whether they could run cannot be told: a disk does not answer".to_owned()],
    }
}
