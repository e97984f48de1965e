//! Processes that are gone before anyone can look at them.

use crate::Watch;
use rustix::process::Signal;
use tests::containers::{Docker, Wanted};
use tests::machine::{Machine, say, skipped};
use tests::pyroscope::Stored;
use tests::stacks::{Stack, Stacks};

/// Of 200 processes of 50 ms in a container at least 99 % of the samples are under its name; the others are found by the function
/// that only this container has.
#[test]
fn short_processes() {
    if skipped("short_processes") {
        return;
    }
    let Some(docker) = Docker::start("short_processes") else {
        return;
    };
    let _machine = Machine::shared();
    let Watch { agent, server } = Watch::start("--docker-socket", docker.socket());
    let id = docker.run(&Wanted {
        name: "burst",
        arguments: &["burst", "200", "50"],
        ..Wanted::default()
    });
    docker.wait(&id);
    agent.running().signal(Signal::TERM);
    agent.into_running().finish().succeeded();
    let stored = server.stored();
    let nanos = |is_wanted: fn(&Stored) -> bool| -> i64 {
        let wanted = stored.iter().filter(|stored| is_wanted(stored));
        wanted.map(nanos_of_program).sum()
    };
    let all = nanos(|_| true);
    let named = nanos(|stored| stored.labels["service_name"] == "burst");
    say(&format!(
        "{named} of {all} ns of short processes are under their container's name"
    ));
    // 10 s of CPU time, of which a busy guest does not get every tick.
    let labels: Vec<_> = stored.iter().map(|stored| &stored.labels).collect();
    assert!(all > 5_000_000_000, "{all} of {labels:?}");
    assert!(named * 100 >= all * 99, "{named} of {all}");
}

/// CPU time of the samples in which the program's function is.
fn nanos_of_program(stored: &Stored) -> i64 {
    let stacks = Stacks::of(&stored.profile).stacks;
    let is_of_program = |stack: &&Stack| {
        let mut frames = stack.frames.iter();
        frames.any(|frame| frame.name == "burst_in_container")
    };
    stacks
        .iter()
        .filter(is_of_program)
        .map(|stack| stack.nanos)
        .sum()
}
