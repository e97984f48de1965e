//! How many samples are whole of programs that are gone after some milliseconds.

use super::start;
use crate::agent::{Agent, Binary};
use crate::stock::{self, Entries};
use anyhow::anyhow;
use fixtures::Program;
use std::process::Stdio;
use std::thread;

/// So that even a millisecond has a sample.
const HERTZ: u32 = 997;
/// CPU time of a program, in seconds.
const LIVES: [&str; 4] = ["0.001", "0.002", "0.005", "0.02"];
/// How long each is looked at.
const SECONDS: u64 = 5;

/// Measures and prints the table.
pub(crate) fn run(binary: &Binary) -> anyhow::Result<()> {
    let agent = start(binary, HERTZ)?;
    let mut entries = Entries::of_host();
    println!(
        "Programs of one known file that live for so much CPU time and the time it takes to begin, one after another, {HERTZ} Hz:\n\n{}",
        stock::HEAD
    );
    for life in LIVES {
        eprintln!("programs of {life} s ...");
        let seen = one_after_another(&agent, life, &mut entries)?;
        println!("{}", stock::row(&format!("{life} s"), &seen));
    }
    println!("\n{}", stock::LEGEND);
    Ok(())
}

fn one_after_another(
    agent: &Agent,
    life: &str,
    entries: &mut Entries,
) -> anyhow::Result<stock::Seen> {
    thread::scope(|scope| {
        let capture = scope.spawn(|| agent.capture(SECONDS));
        while !capture.is_finished() {
            let mut command = Program::Short.command();
            let status = command.arg(life).stdout(Stdio::null()).status()?;
            anyhow::ensure!(status.success(), "short {life} fails: {status}");
        }
        let capture = capture
            .join()
            .map_err(|_| anyhow!("the capture panicked"))??;
        Ok(stock::seen(&capture, &[Program::Short.name()], entries))
    })
}
