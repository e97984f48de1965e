//! Code that programs make at run time, by what they tell of it, and only of their own.

use crate::path;
use fixtures::{Container, Program};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tests::machine::{Machine, say, skipped};
use tests::stacks::{Stack, Stacks};
use tests::thermograph::{Finished, Run};

/// What this host's /tmp has of processes, which is removed.
struct Told(Vec<u32>);

impl Drop for Told {
    fn drop(&mut self) {
        for pid in &self.0 {
            for path in [
                format!("/tmp/perf-{pid}.map"),
                format!("/tmp/jit-{pid}.dump"),
            ] {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Records `makes_code`, which tells of its code in one way.
fn record(name: &str, how: &str) -> Finished {
    let program = path(Program::MakesCode);
    let finished = Run::new(["record", "-F", "499", "--", &program, "2", name, how])
        .finish()
        .succeeded();
    drop(Told(
        finished.reports().iter().map(|report| report.pid).collect(),
    ));
    finished
}

/// Asserts that of a process's time in each of its two functions all is below what these are to be called, as long as it says.
fn assert_named(stacks: &Stacks, pid: u32, called: [&str; 2]) {
    let stacks = stacks.only(|stack| stack.pid() == pid);
    let parts = [(0.7, called[0], "burn_hot"), (0.3, called[1], "burn_cold")];
    for (share, name, leaf) in parts {
        let exact = ["main", "work", "enter", name, leaf];
        let found = stacks.share(|stack| stack.from("main") == exact);
        // One second at 499 Hz: four standard deviations are 8 %.
        assert!(
            (found - share).abs() < 0.09,
            "{name}: {found}: {}",
            stacks.listing()
        );
    }
    let told = |stack: &Stack| stack.from("main").len() == 5;
    assert!(stacks.share(told) > 0.98, "{}", stacks.listing());
}

/// By a perf map, and by a jitdump: what was told later counts.
#[test]
fn names_are_those_that_were_told() {
    if skipped("names_are_those_that_were_told") {
        return;
    }
    let _machine = Machine::shared();
    for how in ["map", "dump", "moves"] {
        let finished = record("made", how);
        let pid = finished.reports()[0].pid;
        assert_named(&finished.stacks(), pid, ["made_hot", "made_cold"]);
    }
}

/// Code of which nobody tells has no name, whoever had the same addresses.
#[test]
fn nothing_is_made_up() {
    if skipped("nothing_is_made_up") {
        return;
    }
    let _machine = Machine::shared();
    let finished = record("made", "none");
    let pid = finished.reports()[0].pid;
    assert_named(&finished.stacks(), pid, ["[jit]", "[jit]"]);
}

/// A child that makes no map has none: its parent's is not its own.
#[test]
fn children_have_their_own_maps() {
    if skipped("children_have_their_own_maps") {
        return;
    }
    let _machine = Machine::shared();
    let finished = record("made", "forks");
    let [parent, child] = [0, 1].map(|number| finished.reports()[number].pid);
    let stacks = finished.stacks();
    assert_named(&stacks, parent, ["made_hot", "made_cold"]);
    assert_named(&stacks, child, ["[jit]", "[jit]"]);
}

/// In a container it is the map by the pid inside, in the container's own /tmp. Two of them with the same pid and the same addresses
/// have names of their own, and the next one of that pid has none: the map that is still there is of an earlier process.
#[test]
fn containers_have_their_own_maps() {
    if skipped("containers_have_their_own_maps") {
        return;
    }
    let _machine = Machine::shared();
    let containers = ["made_one", "made_two"].map(|name| {
        let container = Container::holding(&[Program::MakesCode]).unwrap();
        fs::create_dir(container.root().join("tmp")).unwrap();
        (container, name)
    });
    let outside = PathBuf::from("/tmp/perf-1.map");
    assert!(
        !outside.exists(),
        "the map of process 1 of this host is in the way"
    );
    // A map of the host's process 1 is none of theirs.
    fs::write(&outside, "700000000000 1000 made_by_nobody\n").unwrap();
    let _outside = Told(vec![1]);
    for how in ["map", "none"] {
        let running: Vec<_> = containers
            .iter()
            .map(|(container, name)| {
                container
                    .start(Program::MakesCode, ["2", name, how])
                    .unwrap()
            })
            .collect();
        let finished = Run::new(["record", "-F", "499", "-d", "6s"])
            .finish()
            .succeeded();
        let stacks = finished.stacks();
        for ((running, pid), (container, name)) in running.into_iter().zip(&containers) {
            assert!(running.finish().unwrap().status.success());
            assert!(container.root().join("tmp/perf-1.map").exists());
            let called = ["hot", "cold"].map(|part| match how {
                "map" => format!("{name}_{part}"),
                _ => "[jit]".to_owned(),
            });
            assert_named(&stacks, pid, [&*called[0], &*called[1]]);
        }
    }
}

/// Programs of 0.1 s, each gone long before the end of the window, which tell of their code after they have made it: the map of each
/// is opened while it lives.
#[test]
fn short_programs_are_named() {
    if skipped("short_programs_are_named") {
        return;
    }
    let _machine = Machine::shared();
    let script = format!(
        "for i in $(seq 20); do '{}' 0.1 made map; done",
        path(Program::MakesCode)
    );
    let finished = Run::new(["record", "-F", "499", "--", "sh", "-c", &script])
        .finish()
        .succeeded();
    let pids: Vec<u32> = finished.reports().iter().map(|report| report.pid).collect();
    drop(Told(pids.clone()));
    assert_eq!(pids.len(), 20);
    let stacks = finished.stacks().only(|stack| pids.contains(&stack.pid()));
    let of_made = stacks.only(|stack| stack.from("main").contains(&"enter"));
    let named = |stack: &Stack| stack.from("main")[3].starts_with("made_");
    let share = of_made.share(named);
    say(&format!(
        "20 programs of 0.1 s: {:.2} % of the time named",
        100.0 * share
    ));
    // In the first milliseconds the code is there and the map is not.
    assert!(share > 0.95, "{}", of_made.listing());
}

/// Nothing outside a process's root is its map, wherever its /tmp seems to lead.
#[test]
fn maps_lie_in_their_root() {
    if skipped("maps_lie_in_their_root") {
        return;
    }
    let _machine = Machine::shared();
    let outside = tempfile::tempdir().unwrap();
    let map = "700000000000 1000 made_by_nobody\n";
    fs::write(outside.path().join("perf-1.map"), map).unwrap();
    let container = Container::holding(&[Program::MakesCode]).unwrap();
    let up = format!("../../../../..{}", outside.path().display());
    for target in [
        outside.path().to_owned(),
        up.into(),
        "/proc/1/root/tmp".into(),
    ] {
        let link = container.root().join("tmp");
        std::os::unix::fs::symlink(target, &link).unwrap();
        let (running, pid) = container
            .start(Program::MakesCode, ["3", "made", "none"])
            .unwrap();
        let finished = Run::new(["record", "-F", "499", "-p", &pid.to_string()])
            .finish()
            .succeeded();
        assert!(running.finish().unwrap().status.success());
        assert_named(&finished.stacks(), pid, ["[jit]", "[jit]"]);
        fs::remove_file(link).unwrap();
    }
}

/// node's own names for the functions of a script, below each other as they call.
#[test]
fn scripts_of_node_have_names() {
    if skipped("scripts_of_node_have_names") {
        return;
    }
    if Command::new("node").arg("--version").output().is_err() {
        say("SKIPPED: scripts_of_node_have_names: there is no node");
        return;
    }
    let _machine = Machine::shared();
    let script = "function leaf(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s }
        function middle(n) { let s = 0; for (let i = 0; i < 10; i++) s += leaf(n); return s }
        function outer() { let s = 0; while (process.cpuUsage().user < 2.5e6) s += middle(20000); return s }
        console.log(process.pid, outer())";
    // It keeps a log, too.
    let directory = tempfile::tempdir().unwrap();
    let log = format!("--logfile={}", directory.path().join("log").display());
    let options = [
        "--perf-basic-prof",
        "--no-logfile-per-isolate",
        &log,
        "--no-turbo-inlining",
        "--no-maglev",
        "-e",
        script,
    ];
    let finished = Run::new(["record", "-F", "499", "--", "node"].iter().chain(&options))
        .finish()
        .succeeded();
    let pid = finished.stdout.split(' ').next().unwrap().parse().unwrap();
    drop(Told(vec![pid]));
    let stacks = finished.stacks();
    // `JS:*leaf [eval]:1:14`, the mark of how it was compiled before the name.
    let function = |name: &str| {
        let name = name.strip_prefix("JS:")?.split(' ').next()?.get(1..)?;
        ["leaf", "middle", "outer"]
            .into_iter()
            .find(|known| *known == name)
    };
    let functions = |stack: &Stack| -> Vec<&str> {
        let frames = stack.frames.iter();
        frames.filter_map(|frame| function(&frame.name)).collect()
    };
    // A function that is not compiled yet runs in the interpreter, under no name of its own.
    let share = |callers: &[&str]| stacks.share(|stack| functions(stack).ends_with(callers));
    let (in_leaf, in_order) = (share(&["leaf"]), share(&["outer", "middle", "leaf"]));
    say(&format!(
        "node: {in_leaf:.3} of the time in leaf, {in_order:.3} with its callers"
    ));
    assert!(in_leaf > 0.7 && in_order > 0.4, "{}", stacks.listing());
    let order = |stack: &Stack| {
        let found = functions(stack);
        ["outer", "middle", "leaf"]
            .iter()
            .filter(|name| found.contains(name))
            .eq(&found)
    };
    assert!(stacks.stacks.iter().all(order), "{}", stacks.listing());
}
