//! The stacks of programs without frame pointers, on the real kernel, held against what is known of them: from the entry of
//! the process or thread to the leaf.

#![cfg(target_arch = "x86_64")]

mod cases;
mod executions;
mod oracle;
mod short;
mod verdict;

use fixtures::unwind::{Case, file};
use std::fmt::Write;
use tests::stacks::Stacks;
use tests::thermograph::Run;

/// Records what a script starts. `WARM` in front of a program's path in it, or in front of several, runs each once, so that
/// its tables are there when it is looked at; that run has the name `warm`.
fn record(hertz: u32, script: &str) -> Stacks {
    let warm =
        "WARM() { for file; do ln -sf \"$file\" warm; ./warm 0.01; done; sleep 1; rm warm; }; ";
    let script = format!("{warm}{script}");
    let rate = hertz.to_string();
    let run = Run::new(["record", "-F", &rate, "--", "sh", "-c", &script]);
    run.finish().succeeded().stacks()
}

/// A script that runs some cases side by side, each until it has used so many seconds of CPU.
fn side_by_side<'a>(cases: impl Iterator<Item = &'a Case> + Clone, seconds: f64) -> String {
    let mut script = "WARM".to_owned();
    for case in cases.clone() {
        write!(script, " '{}'", case.path().display()).unwrap();
    }
    script += "; ";
    for case in cases {
        write!(script, "'{}' {seconds} & ", case.path().display()).unwrap();
    }
    script + "wait"
}

/// The path of a program, in quotes for a script.
fn quoted(name: &str) -> String {
    format!("'{}'", file(name).display())
}
