//! An agent that is in a container itself.

use crate::load::Load;
use crate::{Watch, told};
use fixtures::Program;
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::containers::{Docker, Wanted, copy_libraries};
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
    let service = Service::start();
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
    arrives(&watch, ("container_id", &id[..12]), "spin_for_ever");
    arrives(&watch, ("unit", &service.unit), "inside_hot");
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

/// The same without Docker, in a root directory that has no /proc, but the host's at another place.
#[test]
fn proc_is_elsewhere() {
    if skipped("proc_is_elsewhere") {
        return;
    }
    let _machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    copy_libraries(&binary(), root);
    let script = format!(
        "set -e; cd {}; mount --bind . .; cd $PWD; mkdir -p host/proc sys dev .$(dirname $1); touch .$1; mount --bind $1 .$1; \
         mount --bind /proc host/proc; mount --rbind /sys sys; mount --rbind /dev dev; exec chroot . \"$@\"",
        root.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    let watch = Watch::of(|push| Agent::start_under(command, push));
    let service = Service::start();
    arrives(&watch, ("unit", &service.unit), "inside_hot");
}

/// A service of the host with functions that only a file in the host's /tmp names, which is removed on drop.
struct Service {
    unit: String,
    load: Load,
}

impl Service {
    fn start() -> Service {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let unit = format!("thermograph-inside-{}-{number}.service", std::process::id());
        let load = Load::start(
            &format!("system.slice/{unit}"),
            Program::MakesCode,
            "600 inside map",
        );
        Service { unit, load }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("/tmp/perf-{}.map", self.load.pid()));
    }
}

/// Waits for a profile with this label that has this function.
fn arrives(watch: &Watch, (label, value): (&str, &str), function: &str) {
    wait_for(function, || {
        let of_owner = |stored: &Stored| stored.labels.get(label).is_some_and(|v| v == value);
        let stored = watch.server.stored().into_iter().filter(of_owner);
        let mut profiles = stored.map(|stored| Stacks::of(&stored.profile));
        profiles.find(|stacks| has(stacks, function)).map(|_| ())
    });
}

fn has(stacks: &Stacks, function: &str) -> bool {
    let mut frames = stacks.stacks.iter().flat_map(|stack| &stack.frames);
    frames.any(|frame| frame.name == function)
}
