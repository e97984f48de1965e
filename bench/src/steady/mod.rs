//! What the agent costs in the long run: three busy processes, everything named, a push every 15 s.

mod sink;

use crate::agent::{Agent, Binary};
use crate::peers::load;
use crate::{machine, process};
use anyhow::Context;
use sink::Sink;
use std::time::{Duration, Instant};

/// Until what is new to it has been read and named.
const WARM_UP: Duration = Duration::from_secs(45);
/// That the load goes on for longer than what is measured.
const LONGER: Duration = Duration::from_secs(5);

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
        "Measured {}, {} s each, on three busy processes with stacks of 30, 45 and 60 frames\n\n{HEAD}",
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
| Hz | CPU, % of a core | peak RSS, MB | samples | pushes | bytes a push |
|--:|--:|--:|--:|--:|--:|";

const LEGEND: &str = "\
CPU is user and system time of all the agent's processes. The server, which takes all and keeps nothing, is on this host and not counted. RSS is the sum of the most that \
each of its processes has had.";

fn one(binary: &Binary, hertz: u32, length: Duration) -> anyhow::Result<()> {
    let sink = Sink::open()?;
    let agent = Agent::start_pushing(binary, hertz, &sink.url())?;
    let agent = agent
        .with_context(|| format!("there is no {}: run `make build`", binary.program.display()))?;
    let whole = WARM_UP + length + LONGER;
    let load = std::thread::spawn(move || load::run(whole));
    std::thread::sleep(WARM_UP);
    let (before, begin) = (process::usage(agent.pid()), Instant::now());
    let (samples, taken) = (agent.samples_until_now()?, sink.taken());
    std::thread::sleep(length.saturating_sub(begin.elapsed()));
    let (after, elapsed) = (process::usage(agent.pid()), begin.elapsed());
    let counted = agent.samples_until_now()?.saturating_sub(samples);
    let (pushes, bytes) = sink.taken();
    let (pushes, bytes) = (pushes - taken.0, bytes - taken.1);
    let cores = after.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64();
    println!(
        "| {hertz} | {:.3} | {:.1} | {counted} | {pushes} | {} |",
        cores * 100.0,
        after.peak_rss as f64 / 1e6,
        bytes / pushes.max(1)
    );
    anyhow::ensure!(pushes > 0, "nothing was pushed in {elapsed:?}");
    match load.join() {
        Ok(work) => work.map(|_| ()),
        Err(_) => anyhow::bail!("the load has panicked"),
    }
}
