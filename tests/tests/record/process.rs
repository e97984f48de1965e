//! `thermograph record -p PID`, and of the whole host.

use crate::path;
use fixtures::Program;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};
use tests::machine::{Machine, skipped};
use tests::thermograph::Run;

/// Only the process that is named, all of its threads, and no longer than it lives.
#[test]
fn one_process_is_recorded() {
    if skipped("one_process_is_recorded") {
        return;
    }
    let _machine = Machine::shared();
    let other = Program::Busy.start(["100"]).unwrap();
    let process = Program::Busy.start(["3", "2"]).unwrap();
    let running = Run::new(["record", "-F", "499", "-p", &process.pid().to_string()]).start();
    let pid = process.pid();
    let report = process.finish().unwrap().reports.remove(0);
    let ended = Instant::now();
    let finished = running.finish().succeeded();
    drop(other);
    assert!(
        finished.ended < ended + Duration::from_secs(1),
        "{:?}",
        finished.ended - ended
    );
    assert_eq!(finished.files(), [format!("thermograph-{pid}.pb.gz")]);
    let stacks = finished.stacks();
    assert_eq!(stacks.pids(), BTreeSet::from([pid]));
    let share = stacks.nanos() as f64 / report.total_cpu_ns as f64;
    assert!((0.5..1.1).contains(&share), "{share}");
    for thread in ["busy-0", "busy-1"] {
        assert!(
            stacks.share(|stack| stack.texts["thread"] == thread) > 0.3,
            "{}",
            stacks.listing()
        );
    }
}

/// The recording of a process or of the host ends when its time is over; it is as long as it says.
#[test]
fn recordings_end_on_time() {
    if skipped("recordings_end_on_time") {
        return;
    }
    let _machine = Machine::shared();
    let process = Program::Busy.start(["100"]).unwrap();
    let pid = process.pid().to_string();
    for arguments in [
        ["record", "-d", "1s", "-p", &pid].as_slice(),
        &["record", "-d", "1s"],
    ] {
        let finished = Run::new(arguments).finish().succeeded();
        let stacks = finished.stacks();
        let seconds = stacks.duration_nanos as f64 / 1e9;
        assert!((1.0..1.5).contains(&seconds), "{seconds}");
        assert!(stacks.nanos() as f64 > 0.2e9, "{}", stacks.listing());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - stacks.time_nanos as f64 / 1e9;
        assert!((1.0..10.0).contains(&age), "{age}");
    }
}

/// What is no process is one sentence that says so.
#[test]
fn what_is_no_process_is_an_error() {
    if skipped("what_is_no_process_is_an_error") {
        return;
    }
    let _machine = Machine::shared();
    let busy = Program::Busy.start(["100", "2"]).unwrap();
    let thread = tests::condition::wait_for("a second thread", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", busy.pid())).unwrap();
        let mut ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        ids.find(|id| *id != busy.pid().to_string())
    });
    // Beyond the largest number that the kernel gives (PID_MAX_LIMIT).
    for (pid, words) in [
        ("4194304", "no process 4194304".to_owned()),
        (&thread, format!("-p {}", busy.pid())),
    ] {
        let finished = Run::new(["record", "-d", "1s", "-p", pid]).finish();
        assert_eq!(finished.code(), 1);
        assert!(finished.complaint().contains(&words), "{}", finished.stderr);
        assert!(finished.files().is_empty(), "{:?}", finished.files());
    }
}

/// The whole host includes processes of others, which were there before.
#[test]
fn the_host_is_recorded() {
    if skipped("the_host_is_recorded") {
        return;
    }
    let _machine = Machine::shared();
    let (one, other) = (
        Program::Busy.start(["100"]).unwrap(),
        Program::SharesC.start(["100"]).unwrap(),
    );
    let finished = Run::new(["record", "-d", "2s", "-F", "499", "-o", "host.pb.gz"])
        .finish()
        .succeeded();
    let stacks = finished.stacks();
    for (pid, leaf) in [(one.pid(), "spin"), (other.pid(), "hot_a")] {
        let of_process = stacks.of_process(pid);
        assert!(
            of_process.stacks.iter().any(|stack| stack.leaf() == leaf),
            "{}",
            of_process.listing()
        );
    }
    assert!(path(Program::Busy).ends_with(&stacks.of_process(one.pid()).stacks[0].comm()[..4]));
}
