//! The load that every profiler is measured on.

use anyhow::Context;
use fixtures::Program;
use std::time::Duration;

/// Frames of each process's stacks. Three processes, so that two CPUs are never idle.
const DEPTHS: [u32; 3] = [30, 45, 60];

/// The name of the processes of the load.
pub(crate) fn name() -> &'static str {
    Program::Deep.name()
}

/// Runs the load for `length`; gives the rounds of work that it got done in a second of its own CPU time. By CPU time,
/// because what else runs on the machine takes from the time on the wall and is nobody's cost here.
pub(crate) fn speed(length: Duration) -> anyhow::Result<f64> {
    let start =
        |depth: u32| Program::Deep.start([length.as_secs_f64().to_string(), depth.to_string()]);
    let running = DEPTHS.map(start);
    let (mut rounds, mut nanos) = (0, 0);
    for running in running {
        let done = running?.finish()?;
        let report = done
            .reports
            .first()
            .context("the load ended without a report: run it by hand")?;
        rounds += report.count;
        nanos += report.total_cpu_ns;
    }
    Ok(rounds as f64 / (nanos as f64 / 1e9))
}
