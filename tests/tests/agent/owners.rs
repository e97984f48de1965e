//! Whose the samples of short processes are.

use fixtures::Program;
use serde_json::Value;
use std::fs;
use std::process::Command;
use tests::agent::Agent;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};
use tests::pyroscope::Pyroscope;
use tests::stacks::{Stack, Stacks};

/// A copy of `short` under a name that no other process has, and that name.
pub(crate) fn program(directory: &tempfile::TempDir, name: &str) -> String {
    let name = format!("{name}-{}", std::process::id());
    fs::copy(Program::Short.path(), directory.path().join(&name)).unwrap();
    name
}

/// Runs `script` in `cgroup`, and returns the CPU time that the programs in it have reported, in nanoseconds.
pub(crate) fn run_in(cgroup: &Cgroup, directory: &tempfile::TempDir, script: &str) -> u64 {
    let script = format!("{} && {script}", cgroup.enter());
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let reports = lines
        .lines()
        .map(|line| serde_json::from_str::<fixtures::Report>(line).unwrap());
    reports.map(|report| report.cpu_ns["answer"]).sum()
}

/// Stacks from the store: all, or those of one owner.
fn stored(agent: &Agent, owner: Option<&str>) -> Option<Stacks> {
    let owner = owner.map_or_else(String::new, |id| format!("?owner={id}"));
    let reply = agent.get(&format!("/api/pprof{owner}"));
    (reply.status == 200).then(|| Stacks::read(&reply.body))
}

pub(crate) fn in_module(stacks: &Stacks, module: &str) -> i64 {
    stacks
        .only(|stack: &Stack| stack.frames.iter().any(|frame| frame.module == module))
        .nanos()
}

/// 200 processes that live for 50 ms each in one container's cgroup, and say in their environment what their service is called: at least 99 %
/// of their samples are the container's, although most of them are gone before anyone looks; of these nearly all are that service's, although
/// the variable can be read only while they live; and the server has them under the container's id, with their CPU time.
#[test]
fn short_processes_belong_to_their_container() {
    if skipped("short_processes_belong_to_their_container") {
        return;
    }
    let _machine = Machine::shared();
    let server = Pyroscope::start();
    let push = ["--pyroscope-url", &server.url(), "--push-interval", "5s"];
    let agent = Agent::start(&push);
    let id = format!("{:0<64x}", 0xfeed_0000_0000 + u64::from(std::process::id()));
    let cgroup = Cgroup::make(&format!("docker/{id}"));
    let directory = tempfile::tempdir().unwrap();
    let name = program(&directory, "s");
    let one = format!("OTEL_SERVICE_NAME={name} ./{name} 0.05 &");
    let script = format!("for i in $(seq 100); do {one} {one} wait; done");
    let used = run_in(&cgroup, &directory, &script) as f64;
    let of_all = || stored(&agent, None).map_or(0, |stacks| in_module(&stacks, &name));
    wait_for("their samples are in the store", || {
        (of_all() as f64 > 0.85 * used).then_some(())
    });
    // Until the window is over in which the last ones ran, and one more.
    let windows = agent.metric("thermograph_windows_total");
    wait_for("two windows", || {
        (agent.metric("thermograph_windows_total") >= windows + 2.0).then_some(())
    });
    let short = &id[..12];
    let owners = agent.owners("container_id", short);
    // The second is for what could not be read, and the shell.
    let [named, unnamed] = [name.clone(), format!("docker-{short}")].map(|service| {
        let is_it = |owner: &&Value| owner["labels"]["service_name"] == service;
        let owner = owners.iter().find(is_it);
        owner.map_or(0, |owner| {
            in_module(&stored(&agent, owner["id"].as_str()).unwrap(), &name)
        })
    });
    let (all, own) = (of_all(), named + unnamed);
    let share = own as f64 / all as f64;
    let read = named as f64 / own as f64;
    say(&format!(
        "200 processes of 50 ms in one container: {:.2} % of their samples are its own, of which {:.2} % have their service's name, {:.1} % \
         of their time",
        100.0 * share,
        100.0 * read,
        100.0 * own as f64 / used
    ));
    assert!(share >= 0.99, "{share}");
    // A machine with more to do than it can reads some too late.
    assert!(read >= 0.9, "{read}");
    // 990 samples at 99 Hz, give or take four standard deviations.
    assert!((own as f64 / used - 1.0).abs() < 0.13, "{own} of {used}");
    let pushed = || {
        let of_container = server.stored().into_iter().filter(|stored| {
            stored
                .labels
                .get("container_id")
                .is_some_and(|id| id == short)
        });
        of_container
            .map(|stored| in_module(&Stacks::of(&stored.profile), &name))
            .sum::<i64>()
    };
    wait_for("the server has all of it", || {
        (pushed() >= own).then_some(())
    });
    assert_eq!(pushed(), own);
}
