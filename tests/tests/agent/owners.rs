//! Whose the samples are, by cgroups laid out as engines lay them out.

use crate::scene;
use fixtures::Program;
use std::fs;
use std::process::Command;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};
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
fn stored(owner: Option<&str>) -> Option<Stacks> {
    let owner = owner.map_or_else(String::new, |id| format!("?owner={id}"));
    let reply = scene().agent.get(&format!("/api/pprof{owner}"));
    (reply.status == 200).then(|| Stacks::read(&reply.body))
}

pub(crate) fn in_module(stacks: &Stacks, module: &str) -> i64 {
    stacks
        .only(|stack: &Stack| stack.frames.iter().any(|frame| frame.module == module))
        .nanos()
}

/// 200 processes that live for 50 ms each in one container's cgroup: at least 99 % of their samples are the container's,
/// although most of them are gone before anyone looks; and the server has them under its id, with their CPU time.
#[test]
fn short_processes_belong_to_their_container() {
    if skipped("short_processes_belong_to_their_container") {
        return;
    }
    let _machine = Machine::shared();
    let scene = scene();
    let id = format!("{:0<64x}", 0xfeed_0000_0000 + u64::from(std::process::id()));
    let cgroup = Cgroup::make(&format!("docker/{id}"));
    let directory = tempfile::tempdir().unwrap();
    let name = program(&directory, "s");
    let script = format!("for i in $(seq 100); do ./{name} 0.05 & ./{name} 0.05 & wait; done");
    let used = run_in(&cgroup, &directory, &script) as f64;
    let of_all = || stored(None).map_or(0, |stacks| in_module(&stacks, &name));
    wait_for("their samples are in the store", || {
        (of_all() as f64 > 0.85 * used).then_some(())
    });
    // Until the window is over in which the last ones ran, and one more.
    let windows = scene.agent.metric("thermograph_windows_total");
    wait_for("two windows", || {
        (scene.agent.metric("thermograph_windows_total") >= windows + 2.0).then_some(())
    });
    let short = &id[..12];
    let owners = scene.agent.owners("container_id", short);
    let [owner] = owners.as_slice() else {
        panic!("{owners:?}")
    };
    assert_eq!(owner["labels"]["service_name"], format!("docker-{short}"));
    let all = of_all();
    let own = in_module(&stored(owner["id"].as_str()).unwrap(), &name);
    let share = own as f64 / all as f64;
    say(&format!(
        "200 processes of 50 ms in one container: {:.2} % of their samples are its own, {:.1} % of their time",
        100.0 * share,
        100.0 * own as f64 / used
    ));
    assert!(share >= 0.99, "{share}");
    // 990 samples at 99 Hz, give or take four standard deviations.
    assert!((own as f64 / used - 1.0).abs() < 0.13, "{own} of {used}");
    let pushed = || {
        let of_container = scene.server.stored().into_iter().filter(|stored| {
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

/// A systemd service has its unit's name.
#[test]
fn services_have_their_units_name() {
    if skipped("services_have_their_units_name") {
        return;
    }
    let _machine = Machine::shared();
    let agent = &scene().agent;
    let unit = format!("thermograph-test-{}.service", std::process::id());
    let cgroup = Cgroup::make(&format!("system.slice/{unit}"));
    let directory = tempfile::tempdir().unwrap();
    let name = program(&directory, "u");
    run_in(&cgroup, &directory, &format!("./{name} 1"));
    let owner = wait_for("the service is among the owners", || {
        agent.owners("unit", &unit).pop()
    });
    assert_eq!(
        owner["labels"]["service_name"],
        unit.trim_end_matches(".service")
    );
    let stacks = stored(owner["id"].as_str()).unwrap();
    assert!(in_module(&stacks, &name) > 0, "{}", stacks.listing());
}

/// Who is in neither is known by the executable.
#[test]
fn others_have_their_executables_name() {
    if skipped("others_have_their_executables_name") {
        return;
    }
    let _machine = Machine::shared();
    let agent = &scene().agent;
    let cgroup = Cgroup::make(&format!("thermograph-test-{}", std::process::id()));
    let directory = tempfile::tempdir().unwrap();
    let name = program(&directory, "e");
    run_in(&cgroup, &directory, &format!("./{name} 1"));
    let owner = wait_for("the executable is among the owners", || {
        agent.owners("service_name", &name).pop()
    });
    assert_eq!(owner["labels"].as_object().unwrap().len(), 1, "{owner}");
}
