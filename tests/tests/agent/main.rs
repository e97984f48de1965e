//! `thermograph agent` on the real kernel: one agent for those of these tests that ask for no other, which pushes to a stand-in of Pyroscope.

mod budget;
mod captures;
mod configured;
mod contained;
mod debuginfod;
mod errors;
mod metrics;
mod nameless;
mod owners;
mod page;
mod push;
mod storm;
mod tables;
mod workers;

use fixtures::{Program, Running};
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

fn busy(seconds: &str) -> Running {
    Program::Busy.start([seconds]).unwrap()
}
