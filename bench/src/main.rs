//! Side-by-side measurements: what it costs to profile one load with Thermograph and with what a user would pick
//! instead, in one run, because times on one machine and times on another are not comparable.

mod bpf_stats;
mod contestants;
mod load;
mod machine;
mod measure;
mod process;
mod table;

use clap::Parser;
use contestants::Contestant;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures what profilers cost, side by side, and prints a table in Markdown")]
struct Options {
    /// Length of each measurement, of which there are as many as profilers and twice that without one
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The binary to measure
    #[arg(long, default_value = "target/release/thermograph")]
    thermograph: PathBuf,
    /// Port that its page may take
    #[arg(long, default_value_t = 4941)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "profilers need root: run `make bench`, or this program with sudo"
    );
    let thermograph = |hertz| Contestant::Thermograph {
        program: options.thermograph.clone(),
        port: options.port,
        hertz,
    };
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
