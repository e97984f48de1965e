//! Containers of real runtimes, under whose names their profiles arrive at a stand-in of Pyroscope.

mod burst;
mod engines;
mod pods;

use std::collections::BTreeMap;
use std::path::Path;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::pyroscope::Pyroscope;

/// An agent that asks the runtime at a socket, and the server that it pushes to.
struct Watch {
    agent: Agent,
    server: Pyroscope,
}

impl Watch {
    /// `flag` says what listens at `socket`.
    fn start(flag: &str, socket: &Path) -> Watch {
        let server = Pyroscope::start();
        let (url, socket) = (server.url(), socket.to_str().unwrap());
        let push = ["--pyroscope-url", &url, "--push-interval", "5s"];
        let agent = Agent::start(&[&[flag, socket], &push[..]].concat());
        Watch { agent, server }
    }

    /// The labels under which the container `id` arrives, which are the same in all its profiles of two intervals.
    fn labels(&self, id: &str) -> BTreeMap<String, String> {
        let mut profiles = wait_for("two profiles of the container arrive", || {
            let short = &id[..12];
            let stored = self.server.stored().into_iter();
            let of_container: Vec<_> = stored
                .map(|stored| stored.labels)
                .filter(|labels| labels.get("container_id").is_some_and(|id| id == short))
                .collect();
            (of_container.len() >= 2).then_some(of_container)
        });
        let first = profiles.remove(0);
        assert!(
            profiles.iter().all(|labels| *labels == first),
            "{profiles:?} and {first:?}"
        );
        first
    }
}

/// What of `labels` these tests are about.
fn told(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    const OURS: [&str; 3] = ["__name__", "node", "profiler"];
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    pairs.filter(|(name, _)| !OURS.contains(name)).collect()
}
