//! From the configuration to drivers. A generator whose section is unchanged keeps its driver over a reload, and with it
//! the children that it holds.

use std::sync::Arc;

use futures_util::future::join_all;
use log::Level;

use crate::actors::learning;
use crate::config::Config;
use crate::events::{About, Kind};
use crate::generator::command::secrets::is_credential_name;
use crate::generator::command::{CommandDriver, Places};
use crate::generator::log::GeneratorLogs;
use crate::generator::registry::{Generator, Generators};
use crate::store::Store;
use crate::task::Timestamp;
use crate::tell;

/// Where commands of this configuration find and leave things; what they write to standard error goes to `logs`.
pub fn places(config: &Config, logs: &GeneratorLogs, runs_lost_before: Option<Timestamp>) -> Places {
    Places {
        runs_lost_before,
        run_socket: config.daemon.run_socket.clone(),
        ..Places::of_this_process(config.daemon.state_dir.clone(), logs.clone())
    }
}

/// Builds every generator of the configuration. `before` is the configuration and the generators that run now.
pub fn build(config: &Config, places: &Places, before: Option<(&Config, &Generators)>) -> Generators {
    let kept = |name| {
        let (old, running) = before?;
        let is_same = super::effective::is_same_generator(old, config, name);
        running.get(name).filter(|_| is_same)
    };
    Generators::new(config.generators.iter().map(|(name, spec)| {
        let Some(before) = kept(name) else {
            let driver = Arc::new(CommandDriver::new(Arc::new(spec.clone()), places.clone()));
            return Generator::new(name.clone(), driver, spec.policy(), spec.limits);
        };
        let generator = Generator::new(name.clone(), Arc::clone(&before.driver), spec.policy(), spec.limits);
        generator.remember(before);
        generator
    }))
}

/// Takes out the credentials, which only the service has, and tells which they are. Names that are none stay, to be told.
pub fn without_secrets(config: &mut Config) -> Vec<String> {
    let mut unread = Vec::new();
    let generators = config.generators.iter_mut().map(|(name, spec)| (format!("generators.{name}"), &mut spec.secrets));
    let publishers = config.publishers.iter_mut().map(|(name, spec)| (format!("publishers.{name}"), &mut spec.secrets));
    let hooks = config.hooks.iter_mut().map(|(name, spec)| (format!("hooks.{name}"), &mut spec.secrets));
    for (section, secrets) in generators.chain(publishers).chain(hooks) {
        secrets.retain(|variable, credential| {
            let is_name = is_credential_name(credential);
            if is_name {
                unread.push(format!("{section}: secrets.{variable} = {credential:?}"));
            }
            !is_name
        });
    }
    unread
}

/// Lets each generator learn from its past jobs when a first poll is worth its call. What cannot be read is learned anew.
pub async fn learn(generators: &Generators, store: &Store, now: Timestamp) {
    for generator in generators.iter() {
        if let Err(error) = learning::learn(generator, store, now).await {
            let about = About::generator(&generator.name).is(Kind::StorageTrouble);
            tell!(Level::Warn, about, "generator {}: its past jobs cannot be read: {error}", generator.name);
        }
    }
}

/// Why generators cannot run now, a line each. Answers within seconds, whatever the disk does.
pub async fn faults(generators: &Generators) -> Vec<String> {
    let looks = generators.iter().map(|generator| async {
        let name = generator.name.clone();
        let named = format!("generators.{name}");
        generator.faults().await.into_iter().map(move |fault| {
            // Most name it already.
            if fault.starts_with(&named) { fault } else { format!("{named}: {fault}") }
        })
    });
    join_all(looks).await.into_iter().flatten().collect()
}
