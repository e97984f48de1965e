//! Processes that are gone before anyone names them.

use crate::path;
use fixtures::Program;
use tests::machine::{Machine, say, skipped};
use tests::stacks::Stack;
use tests::thermograph::Run;

/// 200 processes of 50 ms each, two at a time, whose files are deleted when they are done: all the time in `answer` is there
/// under its name, and nothing of the program has no name.
#[test]
fn short_processes_are_named() {
    if skipped("short_processes_are_named") {
        return;
    }
    let _machine = Machine::shared();
    let script = format!(
        "for i in $(seq 100); do cp '{}' a; cp a b; ./a 0.05 & ./b 0.05 & wait; rm a b; done",
        path(Program::Short)
    );
    let finished = Run::new(["record", "-F", "499", "--", "sh", "-c", &script])
        .finish()
        .succeeded();
    let reports = finished.reports();
    assert_eq!(reports.len(), 200);
    let stacks = finished
        .stacks()
        .only(|stack| ["a", "b"].contains(&stack.comm()));
    let in_program = stacks.only(|stack| {
        let user = stack.frames.iter().rfind(|frame| !frame.is_kernel());
        user.is_some_and(|frame| ["a", "b", "[unknown]"].contains(&frame.module.as_str()))
    });
    let exact = |stack: &Stack| stack.from("main") == ["main", "request", "handle", "answer"];
    let share = in_program.share(exact);
    let used: u64 = reports.iter().map(|report| report.cpu_ns["answer"]).sum();
    let of_time = stacks.only(exact).nanos() as f64 / used as f64;
    say(&format!(
        "200 processes of 50 ms: {:.2} % of the stacks exact, {:.1} % of the time",
        100.0 * share,
        100.0 * of_time
    ));
    assert!(share >= 0.99, "{}", in_program.listing());
    // 4,990 samples, give or take four standard deviations at most.
    assert!(
        (of_time - 1.0).abs() < 0.057,
        "{of_time}: {}",
        stacks.listing()
    );
}
