//! Names of the same addresses by us and by what others use: time and memory in one run, and how fast the parts are.

mod contest;
mod contestants;
mod inputs;
pub(crate) mod namer;
mod places;
mod rates;

use crate::machine;
use anyhow::Context;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How often each contestant names the addresses of a file
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Addresses of each file
    #[arg(long, default_value_t = 2000)]
    addresses: usize,
    /// Size of the largest debug file, MB; it is made for this
    #[arg(long, default_value_t = 1000)]
    largest: u64,
}

/// Has all of them name, and prints the tables.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "Measured {}: medians of {} (least to most), taken in turns, page cache warm\n",
        machine::describe(),
        options.rounds
    );
    let files = tempfile::Builder::new()
        .prefix("thermograph-bench-")
        .tempdir()?;
    let inputs = inputs::all(files.path(), options.addresses, options.largest)
        .context("cannot make the files whose addresses are named")?;
    contest::run(&inputs, options.rounds)?;
    println!();
    rates::run(&inputs, options.rounds)
}
