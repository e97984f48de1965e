//! What it costs to profile one load with Thermograph and with what a user would pick instead.

mod contestants;
pub(crate) mod load;
mod measure;
mod table;

use crate::agent::Binary;
use crate::machine;
use contestants::Contestant;
use std::time::Duration;

#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Options {
    /// Length of each measurement, of which there are as many as profilers and twice that without one
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Measures them and prints the table.
pub(crate) fn run(binary: &Binary, options: Options) -> anyhow::Result<()> {
    let thermograph = |hertz| Contestant::Thermograph(binary.clone(), hertz);
    let contestants = [
        thermograph(19),
        thermograph(99),
        Contestant::Perf,
        Contestant::Bpftrace,
    ];
    let rows = measure::all(&contestants, Duration::from_secs(options.seconds))?;
    print!(
        "{}",
        table::markdown(&machine::describe(), options.seconds, &rows)
    );
    Ok(())
}
