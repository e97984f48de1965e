//! CPU time recorded against CPU time that the kernel has accounted for.

use crate::path;
use fixtures::Program;
use std::time::Duration;
use tests::condition::wait_for;
use tests::cpu_time::{children, of_process};
use tests::machine::{Machine, say, skipped};
use tests::thermograph::Run;

/// 20 s of three busy threads on whatever CPUs there are, at 99 Hz: within 1 % of /proc/PID/stat. At a real-time priority:
/// of N ticks of a CPU that a program has for the part p of the time, it gets N p give or take sqrt(N p (1 - p)), 2.5 % of a
/// third of two CPUs; of all that the kernel leaves to real-time programs (95 %) it gets what it used. The account is read
/// every 5 ms until the process is gone, and steps by 10 ms: together less than 0.1 % of what it used.
#[test]
fn cpu_time_is_what_the_kernel_accounts_for() {
    if skipped("cpu_time_is_what_the_kernel_accounts_for") {
        return;
    }
    let _machine = Machine::alone();
    let busy = path(Program::Busy);
    let running = Run::new(["record", "--", "chrt", "-r", "1", &busy, "20", "3"]).start();
    let pid = wait_for("the command has a process", || {
        children(running.pid()).first().copied()
    });
    let mut accounted = Duration::ZERO;
    while let Some(time) = of_process(pid).filter(|time| *time >= accounted) {
        accounted = time;
        std::thread::sleep(Duration::from_millis(5));
    }
    let finished = running.finish().succeeded();
    let stacks = finished.stacks().of_process(pid);
    let error = stacks.nanos() as f64 / accounted.as_nanos() as f64 - 1.0;
    let report = &finished.reports()[0];
    let of_report = stacks.nanos() as f64 / report.total_cpu_ns as f64 - 1.0;
    say(&format!(
        "busy, 20 s at 99 Hz: {:+.3} % of /proc/PID/stat ({accounted:?}), {:+.3} % of its own clock",
        100.0 * error,
        100.0 * of_report
    ));
    assert!(error.abs() < 0.01, "{error}: {}", stacks.listing());
    for thread in ["busy-0", "busy-1", "busy-2"] {
        let share = stacks.share(|stack| stack.texts["thread"] == thread);
        let truth = report.share(thread);
        // 99 Hz x 40 s of CPU over three threads are 1,320 samples each, give or take 2.8 % at most.
        assert!(
            (share - truth).abs() < 0.04,
            "{thread}: {share} recorded, {truth} true"
        );
    }
}

/// What is missing of a program that runs for 300 us and sleeps for 700 us, in turns: ticks that come while the CPU is idle
/// are late by the time it takes to wake up, and the begin of a run goes unseen. No promise, a figure for the reader;
/// asserted is only that it is no other kind of error. One for each of two CPUs, 30 s, on an idle 2-CPU guest (Linux 6.18),
/// twice at each rate: -7.1 and -5.6 % (chance 2.0) at 99 Hz, -6.7 and -6.0 % (chance 0.9) at 499 Hz.
#[test]
fn pulses_are_measured() {
    if skipped("pulses_are_measured") {
        return;
    }
    let _machine = Machine::alone();
    // One for each of two CPUs.
    let script = format!("'{0}' 8 & '{0}' 8; wait", path(Program::Pulse));
    let finished = Run::new(["record", "-F", "499", "--", "sh", "-c", &script])
        .finish()
        .succeeded();
    let stacks = finished
        .stacks()
        .only(|stack| stack.comm() == Program::Pulse.name());
    let used: u64 = finished
        .reports()
        .iter()
        .map(|report| report.total_cpu_ns)
        .sum();
    let error = stacks.nanos() as f64 / used as f64 - 1.0;
    // Of N ticks that each find the program with probability p, it gets N p give or take sqrt(N p (1 - p)).
    let chance = (0.7 / stacks.samples() as f64).sqrt();
    say(&format!(
        "pulse, 300 us on and 700 us off, at 499 Hz: {:+.1} % (chance {:.1} %)",
        100.0 * error,
        100.0 * chance
    ));
    assert!(error.abs() < 0.15 + 4.0 * chance, "{error}");
}
