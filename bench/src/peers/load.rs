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

/// What the load did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Rounds of work in a second of its own CPU time: what else runs on the machine takes from the time on the wall, and
    /// is nobody's cost here.
    pub(crate) speed: f64,
    /// CPU time it got, seconds.
    pub(crate) cpu_seconds: f64,
}

/// Runs the load for `length`.
pub(crate) fn run(length: Duration) -> anyhow::Result<Work> {
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
    let cpu_seconds = nanos as f64 / 1e9;
    Ok(Work {
        speed: rounds as f64 / cpu_seconds,
        cpu_seconds,
    })
}
