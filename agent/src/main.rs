//! Thermograph: where a Linux host spends its time, kept as a continuous record.
//!
//! ```text
//! sampling: kernel programs, processes, owners ─► a window every 5 s
//! naming:   words get names, samples are added up by owner ─► profiles
//!           ├─► export: Pyroscope
//!           ├─► store ─► page
//!           └─► captures, and the file of `record`
//! ```

mod capture;
mod cli;
mod commands;
mod config;
mod container;
mod debuginfod;
mod disk_cache;
mod doctor;
mod export;
mod host;
mod host_proc;
mod metrics;
mod naming;
mod owner;
mod page;
mod page_token;
mod pool;
mod process;
mod profile;
mod room;
mod sampling;
mod secret;
mod store;
mod unwind;

use cli::{Cli, Command};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let cli =
        config::load(std::env::args_os(), std::env::vars_os()).unwrap_or_else(|error| error.exit());
    start_logging(log_level(&cli));
    give_memory_back();
    match run(&cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("thermograph: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if !matches!(cli.command, Command::Worker | Command::Unwind(_)) {
        host_proc::mount()?;
    }
    match &cli.command {
        Command::Agent(args) => commands::agent(args),
        Command::Doctor(args) => commands::doctor(args),
        Command::Record(args) => commands::record(args),
        Command::Unwind(args) => commands::unwind(args),
        Command::Worker => {
            symbolizer::serve()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Has glibc give memory back to the host when it is freed. By itself it keeps what the largest files took to be read, once in
/// each thread: that was seen to be twice of all that the agent needs.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, 256 << 10)] {
        // SAFETY: it takes numbers and changes nothing but how the allocator behaves.
        unsafe { libc::mallopt(parameter, value) };
    }
}

fn log_level(cli: &Cli) -> LevelFilter {
    match (&cli.command, cli.verbosity.level()) {
        // What would be logged is among its findings.
        (Command::Doctor(_), LevelFilter::INFO) => LevelFilter::OFF,
        (_, level) => level,
    }
}

fn start_logging(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
