//! Every case side by side, from its first instruction: at a high rate and at the usual one, some at a low one; and those that
//! were there before.

use crate::verdict::{Judged, allowed, none};
use crate::{record, side_by_side};
use fixtures::unwind::{Case, LEFT_OUT};
use std::time::Duration;
use tests::cpu_time;
use tests::machine::{Machine, say, skip, skipped};
use tests::thermograph::Run;

/// The part of the stacks of a case that must be exact.
fn asked(case: &Case) -> f64 {
    match case.name {
        // Where the unwinder changes the stack under itself.
        "exceptions" => 0.98,
        // For a short time after each change nobody knows yet: hundreds a second.
        "reload" | "moved" => 0.9,
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
    for (case, why) in LEFT_OUT {
        skip(case, why);
    }
    let stacks = {
        let _machine = Machine::alone();
        record(hertz, &side_by_side(cases.clone(), seconds))
    };
    let mut faults = Vec::new();
    let [mut all, mut steady] = [(0, 0); 2];
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
        let (exact, inside) = (judged.exact(), judged.inside());
        all = (all.0 + exact, all.1 + inside);
        if is_steady(case) {
            steady = (steady.0 + exact, steady.1 + inside);
        }
    }
    let share = |(exact, inside): (i64, i64)| exact as f64 / inside.max(1) as f64;
    say(&format!(
        "{hertz} Hz: exact are {:.3} % of all {} stacks, {:.3} % of the {} of steady programs",
        100.0 * share(all),
        all.1,
        100.0 * share(steady),
        steady.1
    ));
    if steady.0 + allowed(0.001, steady.1) < steady.1 {
        faults.push(format!("of steady programs {} are exact", share(steady)));
    }
    none(&faults);
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

/// Programs that were there before the recording, and whose tables nobody has built yet: they are walked as soon as those are
/// there.
#[test]
fn running_programs_are_walked() {
    if skipped("running_programs_are_walked") {
        return;
    }
    let _machine = Machine::alone();
    let started = Case::all().filter(|case| is_steady(case) || case.name == "reload");
    let running: Vec<_> = started
        .map(|case| (case, case.start("1000").unwrap()))
        .collect();
    for (_, running) in &running {
        let has_begun =
            || cpu_time::of_process(running.pid()).filter(|time| *time > Duration::from_millis(20));
        tests::condition::wait_for("a program at work", has_begun);
    }
    let finished = Run::new(["record", "-d", "10s", "-F", "997"])
        .finish()
        .succeeded();
    let stacks = finished.stacks();
    let mut faults = Vec::new();
    for (case, running) in running {
        let judged = Judged::of(case, stacks.of_process(running.pid()));
        faults.extend(judged.faults(100.0, 0.8));
        faults.extend(judged.faults_aside());
    }
    none(&faults);
}
