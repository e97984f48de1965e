//! What new programs cost the agent.

use super::start;
use crate::agent::{Agent, Binary};
use crate::process;
use anyhow::Context;
use fixtures::Program;
use std::ffi::OsString;
use std::thread;
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_secs(10);
/// Programs a second.
const STORM: u32 = 200;

/// Measures and prints what it comes to.
pub(crate) fn run(binary: &Binary, hertz: u32) -> anyhow::Result<()> {
    eprintln!("{STORM} programs a second ...");
    let agent = start(binary, hertz)?;
    let idle = cpu_of(&agent, || {
        thread::sleep(LENGTH);
        Ok(())
    })?;
    let mut started = 0.0;
    let storm = cpu_of(&agent, || {
        started = storm()?;
        Ok(())
    })?;
    println!(
        "{started:.0} programs a second, one after another, that exit at once: the agent takes {:.2} % of a CPU, {:.2} % when there are none: \
         {:.0} us each.\n",
        storm * 100.0,
        idle * 100.0,
        (storm - idle) / started * 1e6
    );
    Ok(())
}

/// CPU seconds of the agent a second, while something goes on.
fn cpu_of(agent: &Agent, goes_on: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (begin, before) = (Instant::now(), process::usage(agent.pid()).cpu);
    goes_on()?;
    let used = process::usage(agent.pid()).cpu.saturating_sub(before);
    Ok(used.as_secs_f64() / begin.elapsed().as_secs_f64())
}

/// Returns how many were started a second.
fn storm() -> anyhow::Result<f64> {
    let arguments: [OsString; 3] = [
        LENGTH.as_secs().to_string().into(),
        STORM.to_string().into(),
        Program::Quit.path().into(),
    ];
    let done = Program::Storm.start(arguments)?.finish()?;
    let report = done.reports.first().context("the storm reports nothing")?;
    Ok(report.count as f64 / LENGTH.as_secs_f64())
}
