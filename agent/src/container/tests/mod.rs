//! What is told of containers: by real runtimes, and by servers that hang, refuse, lie and babble.

mod bad_servers;
mod crio;
mod fake;
mod flood;
mod kubernetes;
mod real;
mod rootless;

use super::*;
use crate::owner::{Maker, Runtime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";

/// Nothing but what lies below `root`.
fn below(root: &Path) -> RuntimeConfig {
    RuntimeConfig {
        roots: vec![root.to_owned()],
        ..RuntimeConfig::default()
    }
}

fn start(config: &RuntimeConfig) -> Arc<Runtimes> {
    Runtimes::start(config, &tokio::runtime::Handle::current())
}

/// Of the host's own, as far as the path tells.
fn by(runtime: Option<Runtime>) -> Maker {
    Maker {
        runtime,
        user: None,
    }
}

/// What is known of a container that is in no other, nor in a user's session.
fn get(runtimes: &Runtimes, id: &str, hint: Option<Runtime>) -> Knowledge {
    runtimes.get(id, by(hint), &id.into())
}

/// What becomes known in the end.
async fn settled(runtimes: &Runtimes, id: &str, hint: Option<Runtime>) -> Knowledge {
    settled_of(runtimes, id, by(hint)).await
}

async fn settled_of(runtimes: &Runtimes, id: &str, maker: Maker) -> Knowledge {
    let begin = Instant::now();
    loop {
        let knowledge = runtimes.get(id, maker, &id.into());
        if knowledge != Knowledge::Asking {
            return knowledge;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing becomes known of {id}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn known(runtimes: &Runtimes, id: &str, hint: Option<Runtime>) -> ContainerInfo {
    match settled(runtimes, id, hint).await {
        Knowledge::Known(info) => (*info).clone(),
        other => panic!("{other:?} of {id}: {:?}", runtimes.trouble()),
    }
}

fn trouble(runtimes: &Runtimes, source: &str) -> SourceTrouble {
    let all = runtimes.trouble();
    all.into_iter().find(|one| one.source == source).unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}
