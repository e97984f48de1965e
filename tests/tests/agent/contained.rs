//! An agent that is in a container itself.

use crate::owners::{program, run_in};
use serde_json::Value;
use std::process::Command;
use tests::agent::Agent;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, skipped};

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
