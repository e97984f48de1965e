//! What is seen first.

use crate::busy;
use serde_json::Value;
use std::time::Duration;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};

/// Within 15 s of its start the agent serves a page and a flame graph with the functions of what is running.
#[test]
fn a_flame_graph_is_there_within_15_seconds() {
    if skipped("a_flame_graph_is_there_within_15_seconds") {
        return;
    }
    let _machine = Machine::shared();
    let running = busy("100");
    let agent = Agent::start(&[]);
    let page = agent.get("/");
    assert!(page.head.contains("text/html"), "{}", page.head);
    assert!(page.text().contains("<html"), "{}", page.text());
    let names = wait_for("a flame graph that shows what runs", || {
        let graph = agent.json("/api/flamegraph");
        let names: Vec<String> = graph["frames"]
            .as_array()?
            .iter()
            .filter_map(name)
            .collect();
        ["main", "work", "spin"]
            .iter()
            .all(|name| names.iter().any(|known| known == name))
            .then_some(names)
    });
    let took = agent.started().elapsed();
    say(&format!(
        "a flame graph of {} names {took:.1?} after the agent's start",
        names.len()
    ));
    assert!(took < Duration::from_secs(15), "{took:?}");
    drop(running);
    assert_eq!(agent.get("/healthz").text(), "ok\n");
}

fn name(frame: &Value) -> Option<String> {
    Some(frame["name"].as_str()?.to_owned())
}
