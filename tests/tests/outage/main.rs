//! Outages of the server and of the disk, as a real agent lives through them.

mod disk;
mod kill;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tests::agent::Agent;
use tests::pyroscope::Pyroscope;

/// What an interval is here, nanoseconds.
const INTERVAL: i64 = 5_000_000_000;

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// An agent that pushes to `address` every 5 s and keeps what it must below `data`.
fn agent(address: SocketAddr, data: &Path) -> Agent {
    agent_with(address, data, &[])
}

/// The same with more arguments.
fn agent_with(address: SocketAddr, data: &Path, more: &[&str]) -> Agent {
    let url = format!("http://{address}");
    let arguments = [
        "--pyroscope-url",
        &url,
        "--push-interval",
        "5s",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    Agent::start(&[&arguments, more].concat())
}

/// The files of its spool.
fn spooled(address: SocketAddr, data: &Path) -> Vec<PathBuf> {
    let directory = data.join("spool").join(address.to_string());
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "profiles"))
        .collect();
    files.sort();
    files
}

/// A counter of the agent for the one server it has.
fn counter(agent: &Agent, address: SocketAddr, name: &str) -> f64 {
    agent.metric(&format!("{name}{{destination=\"{address}\"}}"))
}

/// How often each profile is stored, by its labels and the interval it began in.
fn stored(server: &Pyroscope) -> BTreeMap<(String, i64), usize> {
    let mut times = BTreeMap::new();
    for stored in server.stored() {
        let key = (
            format!("{:?}", stored.labels),
            stored.profile.time_nanos / INTERVAL,
        );
        *times.entry(key).or_default() += 1;
    }
    times
}
