//! Containers of real runtimes, under whose names their profiles arrive at a stand-in of Pyroscope.

mod api_server;
mod burst;
mod engines;
mod inside;
mod load;
mod pods;
mod rootless;
mod silent;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::containers::Docker;
use tests::pyroscope::Pyroscope;
use tests::thermograph::binary;

/// An agent that asks the runtime at a socket, and the server that it pushes to.
struct Watch {
    agent: Agent,
    server: Pyroscope,
}

impl Watch {
    /// `flag` says what listens at `socket`.
    fn start(flag: &str, socket: &Path) -> Watch {
        let socket = [flag, socket.to_str().unwrap()];
        Watch::of(|push| Agent::start(&[&socket, push].concat()))
    }

    /// It is in a container, and nothing says where the runtime's socket is.
    fn inside(docker: &Docker) -> Watch {
        Watch::of(|push| Agent::start_under(docker.run_agent(&binary()), push))
    }

    /// `start` starts an agent with the arguments that it gets.
    fn of(start: impl FnOnce(&[&str]) -> Agent) -> Watch {
        let server = Pyroscope::start();
        let url = server.url();
        let agent = start(&["--pyroscope-url", &url, "--push-interval", "5s"]);
        Watch { agent, server }
    }

    /// There is no runtime on its host. `before` is shell commands in the mount namespace of its own that it has.
    fn without_runtimes(before: &str, arguments: &[&str]) -> Watch {
        let hide = "for d in /run /var/run /var/lib/docker /var/lib/containers; do ! [ -d $d ] || mount -t tmpfs none $d; done";
        let mut command = Command::new("unshare");
        let script = format!("set -e\n{hide}\n{before}\nexec \"$@\"");
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        Watch::of(|push| Agent::start_under(command, &[arguments, push].concat()))
    }

    /// The labels under which the container `id` arrives, which are the same in all its profiles of two intervals.
    fn labels(&self, id: &str) -> BTreeMap<String, String> {
        self.labels_of(id, 2)
    }

    /// The same of so many intervals.
    fn labels_of(&self, id: &str, intervals: usize) -> BTreeMap<String, String> {
        let mut profiles = wait_for("profiles of the container arrive", || {
            let of_container = self.of_container(id);
            (of_container.len() >= intervals).then_some(of_container)
        });
        let first = profiles.remove(0);
        assert!(
            profiles.iter().all(|labels| *labels == first),
            "{profiles:?} and {first:?}"
        );
        first
    }

    /// The labels of each of its profiles so far.
    fn of_container(&self, id: &str) -> Vec<BTreeMap<String, String>> {
        let stored = self.server.stored().into_iter();
        stored
            .map(|stored| stored.labels)
            .filter(|labels| {
                labels
                    .get("container_id")
                    .is_some_and(|short| *short == id[..12])
            })
            .collect()
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
