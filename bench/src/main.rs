//! Measurements: what Thermograph costs and how right it is, beside what a user would pick instead, in one run, because
//! times on one machine and times on another are not comparable.

mod agent;
mod bpf_stats;
mod capture;
mod freshness;
mod launched;
mod machine;
mod memory;
mod peers;
mod process;
mod spread;
mod steady;
mod stock;
mod symbols;
mod tables;
mod walk;
mod workload;

use agent::Binary;
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Measures Thermograph and prints tables in Markdown")]
struct Options {
    /// The binary to measure
    #[arg(long, default_value = "target/release/thermograph")]
    thermograph: PathBuf,
    /// Port that its page may take
    #[arg(long, default_value_t = 4941)]
    port: u16,
    /// What to measure [default: all of it]
    #[command(subcommand)]
    measurement: Option<Measurement>,
}

#[derive(Subcommand)]
enum Measurement {
    /// CPU and memory beside perf and bpftrace: 9 minutes
    Peers(peers::Options),
    /// Time of a walk beside bpf_get_stack: 25 minutes
    Walk(walk::Options),
    /// Whole stacks of programs as they are shipped: 15 minutes
    Stock(stock::Options),
    /// How soon walks go by new programs and libraries: 3 minutes
    Freshness(freshness::Options),
    /// Unwind tables of a whole host beside readelf: 2 minutes
    Tables(tables::Options),
    /// Memory while clang, rustc and node run: 2 minutes
    Memory(memory::Options),
    /// Names of addresses beside blazesym, llvm-symbolizer and addr2line: 3 minutes
    Symbols(symbols::Options),
    /// CPU of an agent that names and pushes all: 4 minutes
    Steady(steady::Options),
    /// Name the addresses on standard input, as a process of `symbols`
    #[command(hide = true)]
    Name(symbols::namer::Options),
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "profilers need root: run `make bench`, or this program with sudo"
    );
    let binary = Binary {
        program: options.thermograph,
        port: options.port,
    };
    if let Some(measurement) = options.measurement {
        return run(&binary, measurement);
    }
    let command = Options::command();
    for measurement in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        println!("\n## {}\n", measurement.get_name());
        let defaults = Options::try_parse_from(["bench", measurement.get_name()])?;
        if let Some(measurement) = defaults.measurement {
            run(&binary, measurement)?;
        }
    }
    Ok(())
}

fn run(binary: &Binary, measurement: Measurement) -> anyhow::Result<()> {
    match measurement {
        Measurement::Peers(options) => peers::run(binary, options),
        Measurement::Walk(options) => walk::run(binary, &options),
        Measurement::Stock(options) => stock::run(binary, &options),
        Measurement::Freshness(options) => freshness::run(binary, &options),
        Measurement::Tables(options) => tables::run(binary, &options),
        Measurement::Memory(options) => memory::run(binary, &options),
        Measurement::Symbols(options) => symbols::run(&options),
        Measurement::Steady(options) => steady::run(binary, &options),
        Measurement::Name(options) => symbols::namer::run(&options),
    }
}
