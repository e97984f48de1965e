//! Every case side by side: from its first instruction at a high rate and at the usual one, some at a low one, and those that
//! are steady from some time later on.

use crate::verdict::{Judged, none};
use crate::{record, side_by_side};
use fixtures::unwind::Case;
use std::time::Duration;
use tests::cpu_time;
use tests::machine::{Machine, say, skipped};
use tests::thermograph::Run;

/// The part of the stacks of a case that must be exact.
fn asked(case: &Case) -> f64 {
    match case.name {
        // Where the unwinder changes the stack under itself.
        "exceptions" => 0.98,
        // For a short time after each change nobody knows yet: some ten a second, one that leaves no record.
        "reload" | "moved" => 0.85,
        // ld.so finds the frame in which it binds functions by rbx, which no walk keeps.
        "library_calls" => 0.8,
        // The kernel makes a child while vfork has its return address in a register.
        "vforks" => 0.97,
        _ => 0.99,
    }
}

/// Whether each of its processes is gone before its start and its end are less than 1 % of it.
fn is_short_lived(case: &Case) -> bool {
    ["forks", "vforks"].contains(&case.name)
}

/// Whether each stack of it reaches its entry and nothing of it changes while it runs, its processes least of all.
fn is_steady(case: &Case) -> bool {
    let ends_early = [
        "recursion_3000",
        "jit_unframed",
        "asm_unframed",
        "calls_musl",
        "coroutines",
        "compat32",
    ];
    let changes = [
        "exceptions",
        "library_calls",
        "reload",
        "moved",
        "huge_moved",
        "huge_mapped",
        "forks",
        "vforks",
        "shared_memory",
        "threads",
    ];
    !ends_early.contains(&case.name) && !changes.contains(&case.name)
}

/// Records some cases and judges each by what has its name.
fn judge_each<'a>(cases: impl Iterator<Item = &'a Case> + Clone, hertz: u32, seconds: f64) {
    let stacks = {
        let _machine = Machine::alone();
        record(hertz, &side_by_side(cases.clone(), seconds))
    };
    let mut faults = Vec::new();
    let (mut exact, mut inside) = (0, 0);
    for case in cases {
        let judged = Judged::of(case, stacks.only(|stack| stack.comm() == case.name));
        // One of them takes whole seconds only.
        faults.extend(judged.faults(0.6 * seconds * f64::from(hertz), asked(case)));
        if !is_short_lived(case) {
            faults.extend(judged.faults_aside());
        }
        if hertz > 500 {
            faults.extend(judged.faults_in_shares());
        }
        exact += judged.exact();
        inside += judged.inside();
    }
    say_exact(hertz, exact, inside);
    none(&faults);
}

fn say_exact(hertz: u32, exact: i64, inside: i64) -> f64 {
    let share = exact as f64 / inside.max(1) as f64;
    say(&format!(
        "{hertz} Hz: {:.3} % of {inside} stacks are exact",
        100.0 * share
    ));
    share
}

/// Every kind of program, at ten times the usual rate, from its first instruction on.
#[test]
fn stacks_are_exact_at_997_hertz() {
    if skipped("stacks_are_exact_at_997_hertz") {
        return;
    }
    judge_each(Case::all(), 997, 1.5);
}

/// The same at the usual rate, at which hardly anything that a walk needs is in a cache of the CPU.
#[test]
fn stacks_are_exact_at_99_hertz() {
    if skipped("stacks_are_exact_at_99_hertz") {
        return;
    }
    judge_each(Case::all(), 99, 2.0);
}

/// The same at the lowest rate, for one of each language and of each way to leave a stack.
#[test]
fn stacks_are_exact_at_19_hertz() {
    if skipped("stacks_are_exact_at_19_hertz") {
        return;
    }
    let some = [
        "calls",
        "recursion_500",
        "signals",
        "kernel_side",
        "calls_rust",
        "go_deep",
    ];
    judge_each(
        Case::all().filter(|case| some.contains(&case.name)),
        19,
        8.0,
    );
}

/// Programs that were there before the recording and are after it: 99.9 % of all their stacks are exact.
#[test]
fn steady_stacks_are_whole() {
    if skipped("steady_stacks_are_whole") {
        return;
    }
    let _machine = Machine::alone();
    let started = Case::all().filter(|case| is_steady(case));
    let running: Vec<_> = started
        .map(|case| (case, case.start("1000").unwrap()))
        .collect();
    for (_, running) in &running {
        let has_begun =
            || cpu_time::of_process(running.pid()).filter(|time| *time > Duration::from_millis(20));
        tests::condition::wait_for("a program at work", has_begun);
    }
    let finished = Run::new(["record", "-d", "20s", "-F", "997"])
        .finish()
        .succeeded();
    let stacks = finished.stacks();
    let mut faults = Vec::new();
    let (mut exact, mut inside) = (0, 0);
    for (case, running) in running {
        let judged = Judged::of(case, stacks.of_process(running.pid()));
        faults.extend(judged.faults(200.0, asked(case)));
        faults.extend(judged.faults_aside());
        exact += judged.exact();
        inside += judged.inside();
    }
    let share = say_exact(997, exact, inside);
    none(&faults);
    assert!(share >= 0.999, "{share}");
}
