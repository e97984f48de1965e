//! How many stacks of programs as they are shipped are whole: each is run for a while under one agent that is there all the
//! time, as on a real host.

mod ends;
mod programs;
mod table;

use crate::agent::{Agent, Binary};
use crate::capture::Capture;
use crate::launched::Launched;
use crate::{bpf_stats, machine, process, workload};
use anyhow::{Context, anyhow};
use ends::End;
pub(crate) use ends::Entries;
use programs::{PROGRAMS, Program, When};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
pub(crate) use table::{HEAD, LEGEND, row};

/// From when a program is busy until it is looked at.
const WARM_UP: Duration = Duration::from_secs(5);
/// By how much a capture begins before the program that is looked at from its start.
const AHEAD: Duration = Duration::from_millis(500);

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Programs whose label contains this; may be given several times [default: all]
    #[arg(long)]
    only: Vec<String>,
    /// How long each is looked at
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Samples a second and CPU
    #[arg(long, default_value_t = 99)]
    hertz: u32,
}

/// What was seen of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) samples: u64,
    pub(crate) user_frames: u64,
    pub(crate) ends: BTreeMap<End, u64>,
    /// Samples that its own account of its CPU time makes, where it gives one.
    pub(crate) expected: Option<f64>,
}

/// Runs the programs and prints the table.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    let agent = Agent::start(binary, options.hertz)?;
    let agent = agent
        .with_context(|| format!("there is no {}: run `make build`", binary.program.display()))?;
    let (begin, before) = (Instant::now(), process::usage(agent.pid()));
    let mut entries = Entries::of_host();
    println!(
        "Measured {}, {} Hz\n\n{}",
        machine::describe(),
        options.hertz,
        HEAD
    );
    let wanted = |program: &&Program| {
        options.only.is_empty() || options.only.iter().any(|text| program.label.contains(text))
    };
    for program in PROGRAMS.iter().filter(wanted) {
        if let Some(missing) = program.needs.iter().find(|command| !is_there(command)) {
            eprintln!("SKIPPED: {}: there is no {missing} here", program.label);
            continue;
        }
        let seen = one(&agent, program, options, &mut entries)
            .with_context(|| format!("cannot look at {}", program.label))?;
        println!("{}", row(program.label, &seen));
    }
    let used = process::usage(agent.pid());
    println!(
        "\nThe agent: {:.2} % of a core, peak RSS {:.1} MB, at the end {:.1} MB of kernel maps.\n\n{}",
        used.cpu.saturating_sub(before.cpu).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0,
        used.peak_rss as f64 / 1e6,
        bpf_stats::map_bytes(agent.pid()) as f64 / 1e6,
        LEGEND
    );
    Ok(())
}

/// Whether there is this command, which may be a path with a pattern in it.
fn is_there(command: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("for path in {command}; do command -v \"$path\"; done"),
    ]);
    let status = shell.stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn one(
    agent: &Agent,
    program: &Program,
    options: &Options,
    entries: &mut Entries,
) -> anyhow::Result<Seen> {
    eprintln!("{} ...", program.label);
    let (capture, running) = match program.when {
        When::Steady => {
            let mut running = start(program)?;
            running.wait_until_ready(|running| running.files().join("ready").exists())?;
            thread::sleep(WARM_UP);
            (agent.capture(options.seconds)?, running)
        }
        When::FromItsStart => thread::scope(|scope| {
            let capture = scope.spawn(|| agent.capture(options.seconds));
            thread::sleep(AHEAD);
            let running = start(program)?;
            let capture = capture
                .join()
                .map_err(|_| anyhow!("the capture panicked"))??;
            anyhow::Ok((capture, running))
        })?,
    };
    let said = fs::read_to_string(running.files().join("out")).unwrap_or_default();
    let cpu_seconds = reported_cpu_seconds(&said);
    let mut seen = seen(&capture, program.processes, entries);
    seen.expected = cpu_seconds.map(|seconds| seconds * f64::from(options.hertz));
    Ok(seen)
}

fn start(program: &Program) -> anyhow::Result<Launched> {
    let script = format!("inputs=$1 short=$2\n{}", program.script);
    let inputs = fixtures::input("");
    let arguments = [inputs, fixtures::Program::Short.path()];
    workload::start(program.label, &script, arguments)
}

/// What a capture shows of processes of these names.
pub(crate) fn seen(capture: &Capture, processes: &[&str], entries: &mut Entries) -> Seen {
    let mut seen = Seen::default();
    for stack in capture.of(processes) {
        seen.samples += stack.samples;
        seen.user_frames += stack.samples * stack.user_frames;
        *seen.ends.entry(entries.judge(&stack.root)).or_default() += stack.samples;
    }
    seen
}

/// Sum over the reports that fixtures print at their ends; nothing if there are none.
fn reported_cpu_seconds(said: &str) -> Option<f64> {
    let nanos = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"total_cpu_ns\":")?;
        rest.split(',').next()?.parse::<f64>().ok()
    });
    let sum: f64 = nanos.sum();
    (sum > 0.0).then_some(sum / 1e9)
}
