//! What processes say of themselves, and an agent that is in a container itself.

use crate::owners::{in_module, program, run_in};
use crate::scene;
use serde_json::Value;
use std::fs;
use std::process::Command;
use tests::agent::Agent;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};

/// 200 processes of 50 ms in one container, each of which says in its environment what its service is called: their samples are
/// that service's, though the variable can be read only while they live.
#[test]
fn short_processes_are_read_in_time() {
    if skipped("short_processes_are_read_in_time") {
        return;
    }
    let _machine = Machine::shared();
    let agent = &scene().agent;
    let id = format!("{:0<64x}", 0xdec1_0000_0000 + u64::from(std::process::id()));
    let cgroup = Cgroup::make(&format!("docker/{id}"));
    let directory = tempfile::tempdir().unwrap();
    let name = program(&directory, "d");
    let script = format!(
        "for i in $(seq 100); do OTEL_SERVICE_NAME={name} ./{name} 0.05 & OTEL_SERVICE_NAME={name} ./{name} 0.05 & wait; done"
    );
    let used = run_in(&cgroup, &directory, &script) as f64;
    let share = wait_for("nearly all of their samples are in the store", || {
        let owners = agent.owners("container_id", &id[..12]);
        let of = |name: &str| {
            let id = owners
                .iter()
                .find(|owner| owner["labels"]["service_name"] == name)?;
            let id = id["id"].as_str()?;
            let reply = agent.get(&format!("/api/pprof?owner={id}"));
            let stacks = tests::stacks::Stacks::read(&reply.good());
            Some(in_module(&stacks, &name_of(&directory)) as f64)
        };
        let own = of(&name).unwrap_or(0.0);
        let unread = of(&format!("docker-{}", &id[..12])).unwrap_or(0.0);
        (own + unread > 0.85 * used).then(|| own / (own + unread))
    });
    say(&format!(
        "200 processes of 50 ms with a name in their environment: {:.2} % of their samples have it",
        100.0 * share
    ));
    // A machine with more to do than it can reads some too late.
    assert!(share >= 0.9, "{share}");
}

/// The one file in a directory.
fn name_of(directory: &tempfile::TempDir) -> String {
    let mut files = fs::read_dir(directory.path()).unwrap();
    let file = files.next().unwrap().unwrap().file_name();
    file.into_string().unwrap()
}

/// A script has its own name, not its interpreter's; a variable counts more.
#[test]
fn scripts_have_their_own_name() {
    if skipped("scripts_have_their_own_name") {
        return;
    }
    let _machine = Machine::shared();
    let agent = &scene().agent;
    let directory = tempfile::tempdir().unwrap();
    let name = format!("script-{}", std::process::id());
    let path = directory.path().join(format!("{name}.sh"));
    fs::write(&path, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done\n").unwrap();
    let declared = format!("declared-{}", std::process::id());
    for variable in [None, Some(&declared)] {
        let mut command = Command::new("bash");
        command.arg("-u").arg(&path);
        command.envs(variable.map(|name| ("OTEL_SERVICE_NAME", name)));
        assert!(command.status().unwrap().success());
    }
    for name in [&name, &declared] {
        wait_for("the script is among the owners", || {
            agent.owners("service_name", name).pop()
        });
    }
}

/// An agent in a container with the host's process ids, but a root of cgroups of its own and none of them mounted, names what runs on
/// the host by its container.
#[test]
fn an_agent_in_a_container_sees_the_host() {
    if skipped("an_agent_in_a_container_sees_the_host") {
        return;
    }
    let _machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let own = Cgroup::make(&format!("thermograph-agent-{}", std::process::id()));
    let script = format!(
        "{} && exec unshare --mount --cgroup sh -c 'umount -l /sys/fs/cgroup && exec \"$@\"' sh \"$@\"",
        own.enter()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]);
    let agent = Agent::start_under(shell, &[]);
    let id = format!("{:0<64x}", 0xc047_0000_0000 + u64::from(std::process::id()));
    let cgroup = Cgroup::make(&format!("docker/{id}"));
    let name = program(&directory, "c");
    run_in(&cgroup, &directory, &format!("./{name} 1"));
    let owner: Value = wait_for("the container is among the owners", || {
        agent.owners("container_id", &id[..12]).pop()
    });
    let owner = owner["id"].as_str().unwrap();
    let stacks = agent.stacks(&format!("/api/pprof?owner={owner}"));
    let is_named =
        |frame: &tests::stacks::Frame| frame.module == name && frame.name.contains("answer");
    let has_it = stacks.only(|stack| stack.frames.iter().any(is_named));
    assert!(has_it.nanos() > 0, "{}", stacks.listing());
}
