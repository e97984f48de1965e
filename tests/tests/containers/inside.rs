//! An agent that is in a container itself.

use crate::load::Load;
use crate::{Watch, told};
use fixtures::Program;
use rustix::process::Signal;
use std::fs;
use tests::condition::wait_for;
use tests::containers::{Docker, Wanted};
use tests::machine::{Machine, skipped};
use tests::pyroscope::Stored;
use tests::stacks::Stacks;
use tests::thermograph::{Run, binary};

/// With the host's process ids and else nothing of the host's, not even its name, and with no option that says where anything is, it names
/// a container beside it, whose runtime's socket is below the host's root directory only, and its functions; and a service of the host by
/// its unit, with functions that only a file in the host's /tmp names.
#[test]
fn an_agent_in_a_container() {
    if skipped("an_agent_in_a_container") {
        return;
    }
    let Some(docker) = Docker::start_as_the_hosts("an_agent_in_a_container") else {
        return;
    };
    let _machine = Machine::shared();
    let watch = Watch::inside(&docker);
    let id = docker.run(&Wanted {
        name: "cart-1",
        arguments: &["spin"],
        ..Wanted::default()
    });
    let unit = format!("thermograph-inside-{}.service", std::process::id());
    let service = Load::start(
        &format!("system.slice/{unit}"),
        Program::MakesCode,
        "600 inside map",
    );
    let labels = watch.labels(&id);
    let host = rustix::system::uname();
    assert_eq!(labels["node"], host.nodename().to_str().unwrap());
    assert_eq!(
        told(&labels),
        [
            ("container", "cart-1"),
            ("container_id", &id[..12]),
            ("image", "shop/cart:1.4"),
            ("service_name", "cart-1"),
            ("version", "1.4")
        ]
    );
    let arrives = |what: &str, label: &str, value: &str, function: &str| {
        wait_for(what, || {
            let of_owner = |stored: &Stored| stored.labels.get(label).is_some_and(|v| v == value);
            let stored = watch.server.stored().into_iter().filter(of_owner);
            let mut profiles = stored.map(|stored| Stacks::of(&stored.profile));
            profiles.find(|stacks| has(stacks, function)).map(|_| ())
        });
    };
    arrives(
        "the container's function arrives",
        "container_id",
        &id[..12],
        "spin_for_ever",
    );
    arrives(
        "the service's function arrives",
        "unit",
        &unit,
        "inside_hot",
    );
    let _ = fs::remove_file(format!("/tmp/perf-{}.map", service.pid()));
    watch.agent.running().signal(Signal::TERM);
    watch.agent.into_running().finish().succeeded();

    let mut doctor = docker.run_agent(&binary());
    doctor.arg(binary());
    let doctor = Run::under(doctor, ["doctor"]).finish().succeeded();
    for words in ["seen from a container", "docker answers"] {
        let is_told = |line: &str| line.starts_with("ok ") && line.contains(words);
        assert!(doctor.stdout.lines().any(is_told), "{}", doctor.stdout);
    }
}

fn has(stacks: &Stacks, function: &str) -> bool {
    let mut frames = stacks.stacks.iter().flat_map(|stack| &stack.frames);
    frames.any(|frame| frame.name == function)
}
