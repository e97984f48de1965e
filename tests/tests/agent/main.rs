//! `thermograph agent` on the real kernel: one agent for most of these tests, which pushes to a stand-in of Pyroscope.

mod captures;
mod errors;
mod metrics;
mod owners;
mod page;
mod push;
mod storm;

use fixtures::{Program, Running};
use std::process::Command;
use std::sync::OnceLock;
use tests::agent::Agent;
use tests::pyroscope::Pyroscope;

/// The agent, and what it pushes to.
struct Scene {
    agent: Agent,
    server: Pyroscope,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let server = Pyroscope::start();
        let agent = Agent::start_for_good(&["--pyroscope-url", &server.url(), "--node", "scene"]);
        Scene { agent, server }
    })
}

/// `busy` at a real-time priority: it gets its time whatever else the machine does.
fn busy(seconds: &str) -> Running {
    let mut command = Command::new("chrt");
    command
        .args(["-r", "1"])
        .arg(Program::Busy.path())
        .arg(seconds);
    Running::start(command).unwrap()
}
