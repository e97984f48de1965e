//! One measurement after another, each between two of the load alone.

use super::contestants::Contestant;
use super::load;
use crate::bpf_stats::{self, Runs};
use crate::process::{Usage, usage};
use std::time::{Duration, Instant};

/// What one profiler used while the load ran.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// CPU time of its processes as a part of one core, 0 to the number of cores. What the kernel spends in the
    /// interrupted load on taking samples is not in it.
    pub(crate) cores: f64,
    /// Largest resident set, bytes.
    pub(crate) peak_rss: u64,
    /// CPU time of the load in that time, seconds: what there was to sample.
    pub(crate) load_cpu_seconds: f64,
    /// Samples it has: of the load, or of all processes where it cannot be asked for less.
    pub(crate) samples: u64,
    /// Runs of its BPF programs that take samples.
    pub(crate) runs: Runs,
    /// Work that the load gets done in a second of its own CPU time, as a part of what it does alone: what the kernel
    /// spends in the interrupted load on taking samples, and noise.
    pub(crate) load_speed: f64,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The profiler's name.
    pub(crate) label: String,
    /// What it used; `None` where it is not installed.
    pub(crate) cost: Option<Cost>,
}

/// Measures each of `contestants` for `length`.
pub(crate) fn all(contestants: &[Contestant], length: Duration) -> anyhow::Result<Vec<Row>> {
    // For all alike, those without BPF too.
    let _measuring = bpf_stats::measure()?;
    let mut rows = Vec::new();
    eprintln!("the load alone ...");
    let mut alone_before = load::run(length)?.speed;
    for contestant in contestants {
        let label = contestant.label();
        eprintln!("{label} ...");
        let measured = one(contestant, length)?;
        eprintln!("the load alone ...");
        let alone_after = load::run(length)?.speed;
        let alone = (alone_before + alone_after) / 2.0;
        let cost = measured.map(|(cost, speed)| Cost {
            load_speed: speed / alone,
            ..cost
        });
        rows.push(Row { label, cost });
        alone_before = alone_after;
    }
    Ok(rows)
}

/// Measures one profiler; gives the speed of the load beside it too.
fn one(contestant: &Contestant, length: Duration) -> anyhow::Result<Option<(Cost, f64)>> {
    let Some(profiler) = contestant.start()? else {
        return Ok(None);
    };
    let pid = profiler.pid();
    let samples = profiler.samples_until_now()?;
    let (runs, before, begin) = (bpf_stats::sampling_runs(pid), usage(pid), Instant::now());
    let work = load::run(length)?;
    let (elapsed, after) = (begin.elapsed(), usage(pid));
    let runs = bpf_stats::sampling_runs(pid).since(runs);
    let counted = profiler
        .samples_until_now()?
        .zip(samples)
        .map(|(after, before)| after.saturating_sub(before));
    let written = profiler.finish()?;
    let Usage { cpu, peak_rss } = after;
    let cost = Cost {
        cores: cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64(),
        peak_rss,
        load_cpu_seconds: work.cpu_seconds,
        samples: counted.or(written).unwrap_or(0),
        runs,
        load_speed: f64::NAN,
    };
    Ok(Some((cost, work.speed)))
}
