//! What walking a stack costs: the agent's walk beside the kernel's own, on the same stacks in the same run.

mod alone;
mod baseline;
mod load;
mod measure;
mod skeletons;
mod sums;
mod table;
mod ticking;

use crate::agent::Binary;
use crate::{bpf_stats, machine};
use baseline::Baseline;
use clap::ValueEnum;
use load::Load;
use measure::Plan;
use std::mem::MaybeUninit;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Loads to measure on [default: all]
    #[arg(long, value_delimiter = ',')]
    load: Vec<Load>,
    /// Samples a second and CPU
    #[arg(long, value_delimiter = ',', default_values_t = [997, 99])]
    hertz: Vec<u32>,
    /// How often each contestant takes its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Measures and prints a table for each load and frequency.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    let loads = match options.load.as_slice() {
        [] => Load::value_variants(),
        loads => loads,
    };
    let plan = |hertz: &u32| Plan {
        hertz: *hertz,
        rounds: options.rounds,
        seconds: options.seconds,
    };
    let plans: Vec<Plan> = options.hertz.iter().map(plan).collect();
    let _measuring = bpf_stats::measure()?;
    let mut storage = MaybeUninit::uninit();
    let baseline = Baseline::load(&mut storage)?;
    println!(
        "Measured {}: medians of {} turns of {} s (least to most)\n",
        machine::describe(),
        options.rounds,
        options.seconds
    );
    for load in loads {
        for (plan, slices) in plans
            .iter()
            .zip(measure::all(binary, &baseline, *load, &plans)?)
        {
            println!("{}", table::markdown(*load, plan.hertz, &slices));
        }
    }
    print!("{}", table::LEGEND);
    Ok(())
}
