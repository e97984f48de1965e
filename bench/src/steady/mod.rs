//! What the agent costs in the long run: three busy processes, everything named, a push every 15 s.

mod pushed;
mod sink;

use crate::agent::{Agent, Binary};
use crate::launched::Launched;
use crate::{machine, process, workload};
use anyhow::Context;
use fixtures::Program;
use pushed::Pushed;
use sink::Sink;
use std::time::{Duration, Instant};

/// Until what is new to it has been read and named.
const WARM_UP: Duration = Duration::from_secs(45);

/// What is busy: an interpreter, a run-time compiler that tells nothing of its code, and C with stacks of 60 frames. Three processes,
/// so that two CPUs are never idle.
const PROGRAMS: [(&str, &str); 3] = [
    ("python3", "exec /usr/bin/python3 $1/work.py"),
    ("node", "exec node $1/work.js"),
    ("deep", "exec $2 100000 60"),
];

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How long is measured, after 45 s that are not
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Samples a second and CPU, one measurement after the other
    #[arg(long, default_values_t = [19, 99])]
    hertz: Vec<u32>,
}

/// Measures at each rate and prints the table.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    let length = Duration::from_secs(options.seconds);
    println!(
        "Measured {}, {} s each, beside python3, node and a C program with stacks of 60 frames\n\n{HEAD}",
        machine::describe(),
        options.seconds
    );
    for hertz in &options.hertz {
        one(binary, *hertz, length)?;
    }
    println!("\n{LEGEND}");
    Ok(())
}

const HEAD: &str = "\
| Hz | CPU, % of a core | peak RSS, MB | samples | pushes | bytes a push | samples pushed | stacks | frames named, % |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

const LEGEND: &str = "\
CPU is user and system time of all the agent's processes, by the scheduler's own clock of each, which counts nanoseconds and threads that have ended. The server, which \
takes all, is on this host and not counted. RSS is the sum of the most that each of its processes has had. Stacks: distinct ones of each profile pushed. Frames named: of these \
stacks, without what stands for the end of a walk; node's run-time code has no names unless it is asked for them.";

fn one(binary: &Binary, hertz: u32, length: Duration) -> anyhow::Result<()> {
    let sink = Sink::open()?;
    let agent = Agent::start_pushing(binary, hertz, &sink.url())?;
    let agent = agent
        .with_context(|| format!("there is no {}: run `make build`", binary.program.display()))?;
    let deep = Program::Deep.path();
    let mut running: Vec<Launched> = PROGRAMS
        .iter()
        .map(|(label, script)| workload::start(label, script, [fixtures::input(""), deep.clone()]))
        .collect::<anyhow::Result<_>>()?;
    std::thread::sleep(WARM_UP);
    let samples = agent.samples_until_now()?;
    sink.take();
    let (before, begin) = (process::usage(agent.pid()), Instant::now());
    std::thread::sleep(length);
    let (after, elapsed) = (process::usage(agent.pid()), begin.elapsed());
    let bodies = sink.take();
    let counted = agent.samples_until_now()?.saturating_sub(samples);
    for program in &mut running {
        // That one has ended, or was never there, is an error.
        program.wait_until_ready(|_| true)?;
    }
    let pushed = Pushed::read(&bodies)?;
    let cores = after.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64();
    let samples_pushed = pushed.cpu_nanos / bpf::period(hertz).max(1);
    println!(
        "| {hertz} | {:.3} | {:.1} | {counted} | {} | {} | {samples_pushed} | {} | {:.1} |",
        cores * 100.0,
        after.peak_rss as f64 / 1e6,
        pushed.requests,
        pushed.bytes / pushed.requests.max(1),
        pushed.stacks,
        pushed.named as f64 * 100.0 / pushed.frames.max(1) as f64,
    );
    // An interval begins and ends some seconds before what is measured does.
    anyhow::ensure!(
        samples_pushed * 10 > counted * 7 && samples_pushed * 7 < counted * 10,
        "{counted} samples were counted, and {samples_pushed} pushed"
    );
    Ok(())
}
