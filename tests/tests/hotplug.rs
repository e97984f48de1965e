//! CPUs that go and come back while `thermograph` samples.

use fixtures::{Program, Running};
use std::fs;
use std::process::Command;
use tests::condition::wait_for;
use tests::cpu_time::of_process;
use tests::machine::{Machine, say, skipped};
use tests::thermograph::Run;

/// Sets whether CPU 1 is online; puts it back on drop, whatever became of the test.
struct Cpu1;

impl Cpu1 {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

    fn set(&self, online: bool) {
        fs::write(Cpu1::ONLINE, if online { "1" } else { "0" }).unwrap();
    }
}

impl Drop for Cpu1 {
    fn drop(&mut self) {
        // There is no more that could be done.
        let _ = fs::write(Cpu1::ONLINE, "1");
    }
}

/// At a real-time priority: what else the machine does makes no tick of it a matter of chance.
fn busy_on_cpu_1(seconds: &str) -> Running {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "1", "chrt", "-r", "1"])
        .arg(Program::Busy.path())
        .arg(seconds);
    Running::start(command).unwrap()
}

fn in_use(pid: u32) {
    wait_for("the program uses CPU time", || {
        of_process(pid).filter(|time| !time.is_zero())
    });
}

/// A CPU is taken off under load and comes back: samples of it end, those of the other go on, and within two seconds (the
/// next look at which CPUs are there, and what it takes to load the machine) it is sampled again: a program that may only
/// run there has at least 95 % of its CPU time from then on.
#[test]
fn cpus_go_and_come_back() {
    if skipped("cpus_go_and_come_back") {
        return;
    }
    if !fs::exists(Cpu1::ONLINE).unwrap() {
        say("SKIPPED: cpus_go_and_come_back: CPU 1 cannot be taken offline here");
        return;
    }
    let _machine = Machine::alone();
    let cpu = Cpu1;
    let all_along = Program::Busy.start(["100", "2"]).unwrap();
    let running = Run::new(["record", "-F", "499"]).start();
    // Most of it is there for a machine where loading the kernel programs takes seconds.
    let before = busy_on_cpu_1("6").finish().unwrap().reports.remove(0);
    cpu.set(false);
    // Long enough for several looks at which CPUs are there.
    let elsewhere = Program::SharesC
        .start(["1"])
        .unwrap()
        .finish()
        .unwrap()
        .reports
        .remove(0);
    cpu.set(true);
    // Until it is sampled again.
    let meanwhile = busy_on_cpu_1("2");
    in_use(meanwhile.pid());
    meanwhile.finish().unwrap();
    let after = busy_on_cpu_1("3").finish().unwrap().reports.remove(0);
    running.signal(rustix::process::Signal::INT);
    let finished = running.finish().succeeded();
    drop(all_along);
    let stacks = finished.stacks();
    for (what, report) in [
        ("before", before),
        ("while it is off", elsewhere),
        ("after", after),
    ] {
        let share = stacks.of_process(report.pid).nanos() as f64 / report.total_cpu_ns as f64;
        say(&format!(
            "{what}: {:.1} % of {:.2} s",
            100.0 * share,
            report.total_cpu_ns as f64 / 1e9
        ));
        let least = match what {
            // The recording begins some time after the program does.
            "before" => 0.3,
            // 499 samples of a program that shares CPU 0 with two others: four standard deviations.
            "while it is off" => 0.85,
            _ => 0.95,
        };
        assert!(
            share > least && share < 1.15,
            "{what}: {share}: {}",
            finished.stderr
        );
    }
}
