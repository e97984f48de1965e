//! `thermograph record -- CMD`: whose samples, with which labels, and how it ends.

use crate::path;
use fixtures::Program;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};
use tests::condition::wait_for;
use tests::cpu_time::{children, of_process};
use tests::machine::{Machine, skipped};
use tests::stacks::Stack;
use tests::thermograph::{Finished, Run, Running};

/// Every descendant is in the recording with its CPU time, across fork and exec, the grandchild too, whose parent has
/// become another program; and the command's exit status is the recording's.
#[test]
fn descendants_are_recorded() {
    if skipped("descendants_are_recorded") {
        return;
    }
    let _machine = Machine::shared();
    let (family, short) = (path(Program::Family), path(Program::Short));
    let finished = Run::new(["record", "-F", "499", "--", &family, "1", "7", &short]).finish();
    assert_eq!(finished.code(), 7, "{}", finished.stderr);
    let stacks = finished.stacks();
    let reports = finished.reports();
    assert_eq!(reports.len(), 4, "{}", finished.stdout);
    for report in &reports {
        let (function, used) = report.cpu_ns.first_key_value().unwrap();
        let of_function = |stack: &Stack| stack.pid() == report.pid && stack.leaf() == function;
        let nanos = stacks.only(of_function).nanos() as f64;
        // One second at 499 Hz: four standard deviations are 18 %.
        let off = nanos / *used as f64 - 1.0;
        assert!(off.abs() < 0.18, "{function}: {off}: {}", stacks.listing());
    }
    let paths: [&[&str]; 4] = [
        &["main", "parent_work"],
        &["main", "child", "child_work"],
        &["main", "child", "grandchild", "grandchild_work"],
        &["main", "request", "handle", "answer"],
    ];
    let is_true = |stack: &Stack| paths.iter().any(|path| stack.from("main") == *path);
    assert!(stacks.share(is_true) > 0.97, "{}", stacks.listing());
    let truth: BTreeSet<u32> = reports.iter().map(|report| report.pid).collect();
    assert_eq!(stacks.pids(), truth);
    assert_eq!(stacks.comms(), BTreeSet::from(["family", "short"]));
}

/// Samples begin with the exec of the command: nothing of `thermograph` itself is among them, not its fork either. Those
/// of the command's descendants begin with their fork.
#[test]
fn the_recorder_is_not_recorded() {
    if skipped("the_recorder_is_not_recorded") {
        return;
    }
    let _machine = Machine::shared();
    for _ in 0..5 {
        let (storm, quit) = (path(Program::Storm), path(Program::Quit));
        let finished = Run::new(["record", "-F", "997", "--", &storm, "0.3", "300", &quit])
            .finish()
            .succeeded();
        let stacks = finished.stacks();
        assert!(
            stacks.comms().is_subset(&BTreeSet::from(["storm", "quit"])),
            "{:?}",
            stacks.comms()
        );
    }
}

/// The command may have as many files open as whoever started the recording, not as many as the recorder takes.
#[test]
fn the_limit_of_descriptors_is_handed_on() {
    if skipped("the_limit_of_descriptors_is_handed_on") {
        return;
    }
    let _machine = Machine::shared();
    let limits = "ulimit -Sn; ulimit -Hn";
    let finished = Run::new(["record", "--", "sh", "-c", limits])
        .finish()
        .succeeded();
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let own = [own.current, own.maximum].map(|limit| match limit {
        Some(limit) => limit.to_string(),
        None => "unlimited".to_owned(),
    });
    let given: Vec<&str> = finished.stdout.lines().take(2).collect();
    assert_eq!(given, own, "{}", finished.stdout);
}

fn code_of(command: &[&str]) -> Finished {
    Run::new(["record", "--"].iter().chain(command)).finish()
}

/// The exit status is the one that a shell gives for the command.
#[test]
fn exit_statuses_are_the_shells() {
    if skipped("exit_statuses_are_the_shells") {
        return;
    }
    let _machine = Machine::shared();
    for (code, script) in [
        (0, "exit 0"),
        (7, "exit 7"),
        (255, "exit 255"),
        (137, "kill -9 $$"),
        (143, "kill $$"),
    ] {
        let finished = code_of(&["sh", "-c", script]);
        assert_eq!(finished.code(), code, "{script}: {}", finished.stderr);
        assert_eq!(finished.files(), ["thermograph-sh.pb.gz"]);
    }
}

/// A command that cannot be started is one sentence, has the shell's status, and leaves no file.
#[test]
fn commands_that_do_not_start_are_errors() {
    if skipped("commands_that_do_not_start_are_errors") {
        return;
    }
    let _machine = Machine::shared();
    for (code, command) in [
        (127, "/nonexistent"),
        (127, "no-such-command"),
        (126, "/etc/passwd"),
        (126, "/etc"),
    ] {
        let finished = code_of(&[command]);
        assert_eq!(finished.code(), code, "{}", finished.stderr);
        assert!(
            finished.complaint().contains(command),
            "{}",
            finished.stderr
        );
        assert!(finished.files().is_empty(), "{:?}", finished.files());
    }
}

/// The file is there within a second of the command's end.
#[test]
fn it_ends_with_the_command() {
    if skipped("it_ends_with_the_command") {
        return;
    }
    let _machine = Machine::alone();
    let running = Run::new(["record", "--", &path(Program::Short), "0.5"]).start();
    let pid = command_of(&running);
    wait_for("the command has ended", || {
        of_process(pid).is_none().then_some(())
    });
    let ended = Instant::now();
    let finished = running.finish().succeeded();
    assert!(
        finished.ended < ended + Duration::from_secs(1),
        "{:?}",
        finished.ended - ended
    );
    assert!(
        finished.stacks().nanos() > 300_000_000,
        "{}",
        finished.stacks().listing()
    );
}

fn command_of(running: &Running) -> u32 {
    // Another child may be a worker, which is thermograph as well.
    let is_command = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|program| program != tests::thermograph::binary())
    };
    wait_for("the command has a process", || {
        let mut children = children(running.pid()).into_iter();
        children.find(is_command)
    })
}

/// A recording of `busy`, once it has used some CPU time.
fn busy_under_record() -> Running {
    let running = Run::new(["record", "-F", "499", "--", &path(Program::Busy), "100"]).start();
    let pid = command_of(&running);
    let has_used = || of_process(pid).filter(|time| *time > Duration::from_millis(300));
    wait_for("the command uses CPU time", has_used);
    running
}

fn holds_what_was_until_then(finished: &Finished) {
    let stacks = finished.stacks();
    assert!(
        stacks.share(|stack| stack.from("main") == ["main", "work", "spin"]) > 0.9,
        "{}",
        stacks.listing()
    );
    assert!(stacks.samples() > 100, "{}", stacks.listing());
}

/// Ctrl-C on a terminal goes to both: the command dies of it, the recording is written and has the command's status.
#[test]
fn ctrl_c_ends_both() {
    if skipped("ctrl_c_ends_both") {
        return;
    }
    let _machine = Machine::shared();
    let running = busy_under_record();
    running.signal_group(Signal::INT);
    let finished = running.finish();
    assert_eq!(finished.code(), 128 + 2, "{}", finished.stderr);
    holds_what_was_until_then(&finished);
}

/// A signal to the recorder alone ends the recording; the command is then told to end too and does not stay behind.
#[test]
fn signals_end_the_recording() {
    if skipped("signals_end_the_recording") {
        return;
    }
    let _machine = Machine::shared();
    for signal in [Signal::INT, Signal::TERM] {
        let running = busy_under_record();
        let pid = command_of(&running);
        running.signal(signal);
        let finished = running.finish();
        assert_eq!(finished.code(), 128 + 15, "{}", finished.stderr);
        assert!(of_process(pid).is_none());
        holds_what_was_until_then(&finished);
    }
}

/// A recording whose time is over waits for its command, and passes on that it is to end.
#[test]
fn signals_end_what_outlives_its_recording() {
    if skipped("signals_end_what_outlives_its_recording") {
        return;
    }
    let _machine = Machine::shared();
    let busy = path(Program::Busy);
    let running = Run::new(["record", "-F", "499", "-d", "1", "--", &busy, "1000"]).start();
    let pid = command_of(&running);
    wait_for("the recording is written", || {
        running.stderr().contains("written to").then_some(())
    });
    running.signal(Signal::TERM);
    let finished = running.finish();
    assert_eq!(finished.code(), 128 + 15, "{}", finished.stderr);
    assert!(of_process(pid).is_none());
    holds_what_was_until_then(&finished);
}

/// Each sample says whose it is: process, its name, thread, its name.
#[test]
fn samples_say_whose_they_are() {
    if skipped("samples_say_whose_they_are") {
        return;
    }
    let _machine = Machine::shared();
    let running = Run::new([
        "record",
        "-F",
        "499",
        "--",
        &path(Program::Busy),
        "1.5",
        "3",
    ])
    .start();
    let pid = command_of(&running);
    let threads = || -> Option<BTreeSet<(i64, String)>> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let thread = |task: fs::DirEntry| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            Some((
                task.file_name().to_str()?.parse().ok()?,
                name.trim_end().to_owned(),
            ))
        };
        let threads: BTreeSet<_> = tasks.filter_map(|task| thread(task.ok()?)).collect();
        (threads
            .iter()
            .filter(|(_, name)| name.starts_with("busy-"))
            .count()
            == 3)
            .then_some(threads)
    };
    let threads = wait_for("three threads have names", threads);
    let finished = running.finish().succeeded();
    // Until they have given themselves a name, they have their program's.
    let stacks = finished
        .stacks()
        .only(|stack| stack.texts["thread"] != "busy");
    assert!(stacks.samples() > 300, "{}", finished.stacks().listing());
    let labelled = stacks
        .stacks
        .iter()
        .map(|stack| (stack.numbers["tid"], stack.texts["thread"].clone()));
    assert_eq!(labelled.collect::<BTreeSet<_>>(), threads);
    for stack in &stacks.stacks {
        assert_eq!(stack.pid(), pid);
        assert_eq!(
            (stack.texts.len(), stack.numbers.len()),
            (2, 2),
            "{stack:?}"
        );
        // The process is called as its main thread.
        assert_eq!(stack.comm(), "busy-0");
    }
}

/// Folded stacks are lines `comm;root;...;leaf count`, and the counts are samples.
#[test]
fn folded_stacks_are_lines() {
    if skipped("folded_stacks_are_lines") {
        return;
    }
    let _machine = Machine::shared();
    let arguments = ["record", "--format", "folded", "-F", "499", "--"];
    let short = path(Program::Short);
    let finished = Run::new(arguments.into_iter().chain([short.as_str(), "0.5"]))
        .finish()
        .succeeded();
    assert_eq!(finished.files(), ["thermograph-short.folded"]);
    let text = fs::read_to_string(finished.file()).unwrap();
    let (mut all, mut exact) = (0, 0);
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        let count: u64 = count.parse().unwrap();
        let frames: Vec<&str> = stack.split(';').collect();
        assert_eq!(frames[0], "short", "{line}");
        let user: Vec<&str> = frames
            .into_iter()
            .filter(|name| !name.ends_with("_[k]"))
            .collect();
        all += count;
        if user.ends_with(&["main", "request", "handle", "answer"]) {
            exact += count;
        }
    }
    // Half a second at 499 Hz, give or take four standard deviations.
    assert!((187..=313).contains(&exact), "{text}");
    assert!(all - exact < 10, "{text}");
    assert!(
        finished.stderr.contains(&format!("{all} samples")),
        "{}: {text}",
        finished.stderr
    );
}
