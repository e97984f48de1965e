//! How soon walks go by what is new, what it costs to know it, and how many samples of the first milliseconds of a program are
//! whole.

mod cost;
mod delays;
mod first;
mod news;
mod table;

use crate::agent::{Agent, Binary};
use crate::launched::Launched;
use crate::{machine, workload};
use anyhow::{Context, ensure};
use delays::Delays;
use fixtures::Program;
use news::{Copies, News};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// A library of a usual size that nearly every host has.
const LIBRARY: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/libcrypto.so.3"
} else {
    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"
};
const BUSY_LOOPS: usize = 3;
/// Seconds that one would run if it were not ended: longer than any measurement.
const FOREVER: &str = "86400";
/// How long the tables of what runs already may take.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// After which all that has happened is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How often each of what is known happens
    #[arg(long, default_value_t = 400)]
    known: usize,
    /// How often each of what is not known happens
    #[arg(long, default_value_t = 24)]
    unknown: usize,
    /// Program whose copies nobody has seen before [default: the binary to measure]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Library whose copies nobody has seen before
    #[arg(long, default_value = LIBRARY)]
    library: PathBuf,
    /// Samples a second and CPU
    #[arg(long, default_value_t = 99)]
    hertz: u32,
}

/// What else the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    BusyLoops,
}

impl Beside {
    const ALL: [Beside; 2] = [Beside::Nothing, Beside::BusyLoops];

    fn label(self) -> String {
        match self {
            Beside::Nothing => "nothing".to_owned(),
            Beside::BusyLoops => format!("{BUSY_LOOPS} busy loops"),
        }
    }

    fn start(self) -> anyhow::Result<Vec<Launched>> {
        let loops = match self {
            Beside::Nothing => 0,
            Beside::BusyLoops => BUSY_LOOPS,
        };
        let script = "exec \"$1\" \"$2\"";
        let arguments = || [Program::Busy.path().into_os_string(), FOREVER.into()];
        (0..loops)
            .map(|_| workload::start("busy", script, arguments()))
            .collect()
    }
}

/// Measures and prints the tables.
pub(crate) fn run(binary: &Binary, options: &Options) -> anyhow::Result<()> {
    println!(
        "Measured {}, {} Hz\n\n{}",
        machine::describe(),
        options.hertz,
        table::HEAD
    );
    let program = options.program.as_ref().unwrap_or(&binary.program);
    for beside in Beside::ALL {
        let _running = beside.start()?;
        let copies = |of| Copies::of(of, options.unknown);
        let (of_program, of_library) = (program.as_path(), options.library.as_path());
        let new_program = format!("new program, {}", megabytes(of_program)?);
        let new_library = format!("new library, {}", megabytes(of_library)?);
        let all = [
            ("known program", News::Program, options.known),
            ("known library", News::Library, options.known),
            (
                &new_program,
                News::NewProgram(copies(of_program)?),
                options.unknown,
            ),
            (
                &new_library,
                News::NewLibrary(copies(of_library)?),
                options.unknown,
            ),
        ];
        for (label, news, times) in all {
            eprintln!("{label}, beside {} ...", beside.label());
            for (waited_for, delays) in delays_of(binary, options.hertz, &news, times)? {
                println!("{}", table::row(label, waited_for, beside, times, &delays));
            }
        }
    }
    println!("\n{}", table::LEGEND);
    cost::run(binary, options.hertz)?;
    first::run(binary)
}

fn megabytes(of: &std::path::Path) -> anyhow::Result<String> {
    Ok(format!(
        "{:.1} MB of code",
        news::text_bytes(of)? as f64 / 1e6
    ))
}

/// Lets something happen so often, and returns how long each thing had to be waited for.
fn delays_of(
    binary: &Binary,
    hertz: u32,
    news: &News,
    times: usize,
) -> anyhow::Result<Vec<(&'static str, Delays)>> {
    let agent = start(binary, hertz)?;
    let waited_for = match news {
        News::Program => vec!["program", "mapping"],
        News::Library => vec!["mapping"],
        News::NewProgram(_) => vec!["program", "table"],
        News::NewLibrary(_) => vec!["mapping", "table"],
    };
    if matches!(news, News::Program | News::Library) {
        // So that it is known.
        news.happen(2)?;
        thread::sleep(KNOWN_WITHIN);
    }
    let before = agent.metrics()?;
    news.happen(times)?;
    thread::sleep(KNOWN_WITHIN);
    let after = agent.metrics()?;
    let delays = waited_for.into_iter().map(|of| {
        let read = |metrics| Delays::read(metrics, of);
        (of, read(&after).since(&read(&before)))
    });
    Ok(delays.collect())
}

/// An agent without tables of an earlier one's, which knows what runs.
fn start(binary: &Binary, hertz: u32) -> anyhow::Result<Agent> {
    let agent = Agent::start_afresh(binary, hertz)?;
    let agent = agent
        .with_context(|| format!("there is no {}: run `make build`", binary.program.display()))?;
    let begin = Instant::now();
    while agent.counter("thermograph_windows_total")? == 0.0 || !has_all_tables(&agent)? {
        ensure!(
            begin.elapsed() < SETTLES_WITHIN,
            "the agent reads tables without end"
        );
        thread::sleep(Duration::from_millis(100));
    }
    Ok(agent)
}

fn has_all_tables(agent: &Agent) -> anyhow::Result<bool> {
    let metrics = agent.metrics()?;
    let mut pending = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("thermograph_unwind_tables{state=\"pending\"} "));
    Ok(pending.next() == Some("0"))
}
