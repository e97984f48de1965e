//! Stacks of programs that know theirs, recorded in a guest.

use crate::guest;
use crate::kernel::Kernel;
use fixtures::{CallPath, Program, Report};
use std::fs;
use std::path::PathBuf;
use tests::machine::say;
use tests::stacks::{Stack, Stacks};
use tests::thermograph::binary;

/// Each must have exact stacks on every kernel.
const PROGRAMS: [Program; 4] = [
    Program::SharesC,
    Program::SharesCpp,
    Program::SharesRust,
    Program::Deep,
];
/// Seconds that each runs for.
const SECONDS: u32 = 8;
/// Frames of [`Program::Deep`], from `main` to the leaf; the others make nothing of this argument.
const DEPTH: usize = 100;

/// A sample in a function that a program spends its time in has the whole stack up to it, frame by frame, and each of these
/// functions has the share of the samples that the program has measured.
pub fn are_exact(kernel: &Kernel) {
    let thermograph = binary();
    let start = |program: Program| format!("'{}' {SECONDS} {DEPTH} & ", program.path().display());
    let script = PROGRAMS.map(start).concat() + "wait";
    let command = format!(
        "echo \"{script}\" >script; '{}' record -vv -F 199 -o profile -- sh script",
        thermograph.display()
    );
    let mut files: Vec<PathBuf> = PROGRAMS.iter().map(|program| program.path()).collect();
    files.push(thermograph);
    let finished = guest::run(kernel, "gives_exact_stacks", &files, &command);

    let finished = finished.unwrap().succeeded();
    let stacks = Stacks::read(&fs::read(finished.results.join("profile")).unwrap());
    let reports: Vec<Report> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for program in PROGRAMS {
        let stacks = stacks.only(|stack| stack.comm() == program.name());
        let pids = stacks.pids();
        let report = reports.iter().find(|report| pids.contains(&report.pid));
        judge(kernel, program, report.unwrap(), &stacks);
    }
}

fn judge(kernel: &Kernel, program: Program, report: &Report, stacks: &Stacks) {
    // What is left belongs to the way to the leaves, and to the start of the process, which an emulator makes long.
    let is_at_work = |stack: &Stack| leaves(program).contains(&stack.leaf());
    let (at_work, elsewhere) = (
        stacks.only(is_at_work),
        stacks.only(|stack| !is_at_work(stack)),
    );
    let works = at_work.nanos() as f64 / stacks.nanos() as f64;
    let exact = at_work.share(|stack| is_exact(program, stack));
    let samples = at_work.samples() as f64;
    say(&format!(
        "Linux {}: {program:?}: {samples} samples in its leaves ({:.1} % of all), {:.2} % exact",
        kernel.series,
        100.0 * works,
        100.0 * exact
    ));
    let others = at_work.only(|stack| !is_exact(program, stack));
    // Frame pointers miss the caller in the first and the last instructions of a function.
    assert!(exact >= 0.99, "{program:?}: {exact}:\n{}", others.listing());
    assert!(
        works >= 0.8,
        "{program:?}: {works}:\n{}",
        elsewhere.listing()
    );
    for path in program.truth() {
        let truth = report.share(path.leaf());
        let share = at_work.share(|stack| stack.leaf() == path.leaf());
        // Four standard deviations where each sample is a matter of chance.
        let allowed = 4.0 * (truth * (1.0 - truth) / samples).sqrt();
        assert!(
            (share - truth).abs() < allowed,
            "{}: {share} and not {truth}, give or take {allowed}:\n{}",
            path.leaf(),
            stacks.listing()
        );
    }
}

/// The functions that a program spends its time in.
fn leaves(program: Program) -> Vec<&'static str> {
    match program {
        Program::Deep => vec!["leaf"],
        _ => program.truth().iter().map(CallPath::leaf).collect(),
    }
}

fn is_exact(program: Program, stack: &Stack) -> bool {
    match program {
        Program::Deep => is_exactly_deep(&stack.from("main")),
        _ => program
            .truth()
            .iter()
            .any(|path| stack.from(path.stack[0]) == path.stack),
    }
}

fn is_exactly_deep(names: &[&str]) -> bool {
    let ["main", between @ .., "leaf"] = names else {
        return false;
    };
    names.len() == DEPTH && between.iter().all(|name| ["left", "right"].contains(name))
}
