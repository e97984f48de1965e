//! Stacks that a compiler at work is sampled with, held against framehop's walks of what the kernel captures of the same process at
//! the same time: leaves are what the kernel interrupts, and not what a signal leaves of it.
//!
//! Both are sampled, at moments of their own. So what is compared are steps: a place in a caller, and the function that it has
//! called. A step of ours that is not among those of framehop, and is no call that stands in the code, is wrong, or is so rare
//! that it was met by us alone. How often the latter happens framehop's own samples say: both ours and one half of them are held
//! against the other half.

use super::captured::Camera;
use super::code::{Code, Place};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tests::condition::wait_for;
use tests::cpu_time;
use tests::machine::{Machine, say, skipped};
use tests::stacks::{Stack, Stacks};
use tests::thermograph::Run;

/// A place in a caller, and where the function begins that it has called.
type Step = (Place, Place);
type Steps = BTreeMap<Step, i64>;

/// More steps of ours than chance explains may not be unknown to framehop, 0 to 1.
const MAY_BE_WRONG: f64 = 0.001;
const RUNS: usize = 2;

/// The compiler on its fixed input, stopped before it begins, and with the same addresses each time.
fn start_stopped() -> Child {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/inputs/compile.cpp");
    let script = "kill -STOP $$; exec setarch -R clang++ -std=c++17 -O2 -c -o /dev/null \"$0\"";
    let mut command = Command::new("sh");
    let child = command
        .args(["-c", script])
        .arg(&source)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    wait_for("a stopped process", || {
        fs::read_to_string(&stat)
            .unwrap()
            .contains(") T ")
            .then_some(())
    });
    child
}

fn go_on(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).unwrap();
}

/// The code of the compiler.
fn code() -> Code {
    let mut child = start_stopped();
    go_on(&child);
    let is_at_work =
        || cpu_time::of_process(child.id()).filter(|time| *time > Duration::from_millis(500));
    wait_for("the compiler at work", is_at_work);
    let code = Code::of(&fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap());
    assert!(child.wait().unwrap().success());
    code
}

/// Adds the steps of a stack, leaf first.
fn add(into: &mut Steps, code: &Code, places: &[Place], count: i64) {
    for pair in places.windows(2) {
        if let [callee, caller] = pair
            && let Some(function) = code.function(callee)
        {
            *into
                .entry((caller.clone(), (callee.0.clone(), function)))
                .or_default() += count;
        }
    }
}

/// The places of our stack, leaf first, up to where something is missing.
fn places(stack: &Stack) -> Vec<Place> {
    let user = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| !frame.is_kernel() && !frame.is_inlined);
    let known = user.take_while(|frame| !frame.name.starts_with('['));
    known
        .map(|frame| (frame.module.clone(), frame.address))
        .collect()
}

/// One run of the compiler: our profile of it, and framehop's walks of what was captured, handed to `walked`.
fn run(code: &mut Code, mut walked: impl FnMut(&Code, &[Place])) -> Stacks {
    let mut child = start_stopped();
    let record = Run::new(["record", "-F", "997", "-p", &child.id().to_string()]).start();
    // It does not say when it has begun, and what it has not seen is not missed.
    sleep(Duration::from_secs(2));
    let mut camera = Camera::on(child.id(), 997);
    go_on(&child);
    while child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(20));
        for moment in camera.develop() {
            let places: Vec<Place> = code
                .walk(&moment)
                .into_iter()
                .map_while(|place| place)
                .collect();
            walked(code, &places);
        }
    }
    record.finish().succeeded().stacks()
}

/// The part of some steps, 0 to 1, that is not among those that are known, and no call that stands in the code.
fn unknown(steps: &Steps, known: &BTreeSet<&Step>, code: &Code) -> f64 {
    let all: i64 = steps.values().sum();
    let is_unknown = |step: &Step| !known.contains(step) && !code.calls(&step.0, &step.1);
    let unknown = steps.iter().filter(|(step, _)| is_unknown(step));
    unknown.map(|(_, count)| count).sum::<i64>() as f64 / all.max(1) as f64
}

/// Of the steps in our stacks of clang, at most 0.1 % more than chance explains are unknown to framehop, and the stacks are no
/// less deep than its own.
#[test]
fn a_compiler_has_the_stacks_that_framehop_finds() {
    if skipped("a_compiler_has_the_stacks_that_framehop_finds") {
        return;
    }
    let _machine = Machine::alone();
    let mut code = code();
    let (mut ours, mut halves) = (Steps::new(), [Steps::new(), Steps::new()]);
    let (mut samples, mut moments) = (0, 0);
    for _ in 0..RUNS {
        let stacks = run(&mut code, |code, places| {
            moments += 1;
            add(&mut halves[moments % 2], code, places, 1);
        });
        samples += stacks.samples();
        for stack in &stacks.stacks {
            add(
                &mut ours,
                &code,
                &places(stack),
                stack.nanos / stacks.period,
            );
        }
    }
    let known = halves[1].keys().collect();
    let (by_us, by_chance) = (
        unknown(&ours, &known, &code),
        unknown(&halves[0], &known, &code),
    );
    let count = |steps: &Steps| steps.values().sum::<i64>();
    let (depth, other_depth) = (
        count(&ours) as f64 / samples as f64,
        (count(&halves[0]) + count(&halves[1])) as f64 / moments as f64,
    );
    say(&format!(
        "clang: {samples} samples of {depth:.1} steps, {moments} of framehop's of {other_depth:.1}; unknown to one half of those are \
         {:.3} % of ours, {:.3} % of the other half",
        100.0 * by_us,
        100.0 * by_chance
    ));
    assert!(moments > 2500 && samples > 2500);
    assert!(
        by_us < by_chance + MAY_BE_WRONG,
        "{by_us}, and {by_chance} by chance"
    );
    // What was captured ends after 64 KiB.
    assert!(depth > 0.99 * other_depth, "{depth}, and {other_depth}");
}
