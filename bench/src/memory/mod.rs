//! How much memory the agent takes while the largest programs of a developer's host run, from its first sight of them on.

use crate::agent::{Agent, Binary};
use crate::launched::Launched;
use crate::{bpf_stats, machine, process, workload};
use anyhow::Context;
use std::thread;
use std::time::{Duration, Instant};

/// Between two rows.
const STEP: Duration = Duration::from_secs(30);
/// How often the resident set is looked at in between.
const LOOK: Duration = Duration::from_millis(200);

/// What runs without end: two compilers and a run-time compiler.
const PROGRAMS: [(&str, &str); 3] = [
    (
        "clang",
        "while clang++ -std=c++17 -O2 -c $1/compile.cpp; do :; done",
    ),
    (
        "rustc",
        "while rustc --edition 2021 -O --crate-type rlib $1/compile.rs; do :; done",
    ),
    ("node", "exec node $1/work.js"),
];

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How long the programs run, in steps of 30 s
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Samples a second and CPU
    #[arg(long, default_value_t = 99)]
    hertz: u32,
}

/// Runs the programs and prints the table.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    let agent = Agent::start_afresh(binary, options.hertz)?;
    let agent = agent
        .with_context(|| format!("there is no {}: run `make build`", binary.program.display()))?;
    println!(
        "Measured {}, {} Hz, no tables kept from before\n\n{HEAD}",
        machine::describe(),
        options.hertz
    );
    let before = process::usage(agent.pid()).cpu;
    row("before", &agent, process::resident(agent.pid()).all, 0.0)?;
    let mut running: Vec<Launched> = PROGRAMS
        .iter()
        .map(|(label, script)| workload::start(label, script, [fixtures::input("")]))
        .collect::<anyhow::Result<_>>()?;
    let begin = Instant::now();
    let mut cpu = before;
    for step in 1..=options.seconds.div_ceil(STEP.as_secs()) {
        let mut most = 0;
        let end = STEP * u32::try_from(step)?;
        while begin.elapsed() < end {
            thread::sleep(LOOK);
            most = most.max(process::resident(agent.pid()).all);
        }
        for program in &mut running {
            // That one has ended, or was never there, is an error.
            program.wait_until_ready(|_| true)?;
        }
        let now = process::usage(agent.pid()).cpu;
        let share = now.saturating_sub(cpu).as_secs_f64() / STEP.as_secs_f64();
        cpu = now;
        row(&format!("{} s", end.as_secs()), &agent, most, share * 100.0)?;
    }
    println!("\n{LEGEND}");
    Ok(())
}

const HEAD: &str = "\
| clang, rustc and node run for | RSS, MB | anonymous | of files | most since the row before | most ever | kept profiles | kernel memory of maps, MB | CPU, % of a core |
|---|--:|--:|--:|--:|--:|--:|--:|--:|";

const LEGEND: &str = "\
MB are millions of bytes. Most since the row before: looked at five times a second; most ever: the kernel's VmHWM, the start of the agent included. Kept profiles grow until \
they are 6 MiB or an hour old.";

fn row(label: &str, agent: &Agent, most: u64, cpu: f64) -> anyhow::Result<()> {
    let resident = process::resident(agent.pid());
    anyhow::ensure!(resident.all > 0, "the agent has ended");
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "| {label} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {cpu:.2} |",
        megabytes(resident.all),
        megabytes(resident.anonymous),
        megabytes(resident.of_files),
        megabytes(most.max(resident.all)),
        megabytes(process::usage(agent.pid()).peak_rss),
        agent.counter("thermograph_store_bytes")? / 1e6,
        megabytes(bpf_stats::map_bytes(agent.pid())),
    );
    Ok(())
}
