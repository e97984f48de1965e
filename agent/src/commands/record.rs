//! `thermograph record`: one profile into one file.

use super::descriptors;
use super::destination::Destination;
use super::outcome::summary;
use super::signals::Signals;
use super::workload::{self, Workload};
use crate::cli::{RecordArgs, Target};
use crate::naming::{Assembler, CaptureDesk, Captured, Naming};
use crate::process::tgid_of;
use crate::sampling::{CaptureId, Collector, Command, SamplingOptions, WINDOW};
use anyhow::{Context, Result, bail};
use bpf::Filter;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the begin may take.
const BEGIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the process or command has ended, and the progress line is drawn anew.
const STEP: Duration = Duration::from_millis(50);

/// Records as asked and returns the exit status.
pub(crate) fn record(args: &RecordArgs) -> Result<ExitCode> {
    let output = args
        .output(io::stdout().is_terminal())
        .map_err(anyhow::Error::msg)?;
    let target = args.target();
    let filter = filter(&target)?;
    let destination = Destination::open(&output, args.format)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    // From here on Ctrl-C ends the recording, not the program.
    let mut signals = Signals::new()?;
    let inherited = descriptors::raise_limit();
    let mut recording = match Recording::begin(args, filter) {
        Ok(recording) => recording,
        Err(error) => {
            destination.abandon();
            return Err(error);
        }
    };
    let subject = match &target {
        Target::Host => Subject::Host,
        Target::Process(pid) => Subject::Process(*pid),
        Target::Command(command) => match Workload::start(command, &inherited) {
            Ok(workload) => Subject::Command(workload),
            Err(workload::NotStarted { error, status }) => {
                destination.abandon();
                eprintln!("thermograph: {error:#}");
                return Ok(ExitCode::from(status));
            }
        },
    };
    runtime.block_on(async {
        let Ended {
            captured,
            mut subject,
            interrupted,
        } = recording.wait(subject, &mut signals).await?;
        let samples = summary(&captured);
        let written = destination.write(&captured.profile.unwrap_or_default());
        match &written {
            Ok(place) => eprintln!("thermograph: {samples}: written to {place}"),
            Err(error) => eprintln!("thermograph: {samples}: {error:#}"),
        }
        let status = match &mut subject {
            Subject::Command(workload) => workload.finish(interrupted, &mut signals).await?,
            Subject::Host | Subject::Process(_) => 0,
        };
        // How the command has ended is not hidden by what became of its profile.
        Ok(match status {
            0 if written.is_err() => ExitCode::FAILURE,
            status => ExitCode::from(status),
        })
    })
}

fn filter(target: &Target<'_>) -> Result<Filter> {
    Ok(match target {
        Target::Host => Filter::Everything,
        Target::Process(pid) => Filter::Process(process(*pid)?),
        Target::Command(_) => Filter::DescendantsOf(std::process::id()),
    })
}

fn process(pid: u32) -> Result<u32> {
    match tgid_of(pid) {
        None => bail!("there is no process {pid}: `ps` lists those that are there"),
        Some(tgid) if tgid != pid => {
            bail!("{pid} is a thread of process {tgid}: record that with -p {tgid}")
        }
        Some(_) => Ok(pid),
    }
}

/// Whose end is the end of the recording.
enum Subject {
    Host,
    Process(u32),
    Command(Workload),
}

impl Subject {
    fn has_ended(&mut self) -> Result<bool> {
        match self {
            Self::Host => Ok(false),
            Self::Process(pid) => Ok(!PathBuf::from(format!("/proc/{pid}")).exists()),
            Self::Command(workload) => workload.has_ended(),
        }
    }
}

struct Ended {
    captured: Captured,
    subject: Subject,
    interrupted: bool,
}

/// A recording that is under way.
struct Recording {
    collector: Collector,
    capture: CaptureId,
    answer: oneshot::Receiver<Captured>,
    begin: Instant,
    length: Option<Duration>,
}

impl Recording {
    fn begin(args: &RecordArgs, filter: Filter) -> Result<Self> {
        let options = SamplingOptions {
            frequency: args.frequency,
            idle: false,
            filter,
            kernel_memory: args.unwind.unwind_memory << 20,
            cache: args.unwind.tables(),
            // Nobody takes profiles by interval here.
            interval: WINDOW,
            runtimes: None,
        };
        let period = options.period();
        let (collector, windows) = Collector::start(options)?;
        let desk = Arc::new(CaptureDesk::default());
        let symbols = args.naming.symbols;
        let naming = Naming {
            symbols,
            debuginfod: None,
        };
        let nobody = None;
        let trouble = Arc::default();
        Assembler::start(period, windows, Arc::clone(&desk), naming, nobody, trouble)
            .context("cannot start a thread")?;
        let (capture, answer) = desk.open(None);
        let windows = collector.status().windows;
        collector.command(Command::Begin {
            capture,
            duration: args.length(),
        });
        // The window ends that was counted before, which takes some 10 ms: a command that began meanwhile would not be known.
        let deadline = Instant::now() + BEGIN;
        while collector.status().windows == windows && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self {
            collector,
            capture,
            answer,
            begin: Instant::now(),
            length: args.length(),
        })
    }

    /// Waits for the end of the recording: when its time is over, its subject has ended, or someone presses Ctrl-C.
    async fn wait(&mut self, mut subject: Subject, signals: &mut Signals) -> Result<Ended> {
        let line = progress_line();
        let mut step = tokio::time::interval(STEP);
        let mut interrupted = false;
        let mut ending = false;
        let captured = loop {
            tokio::select! {
                captured = &mut self.answer => break captured.context("sampling has ended before the recording")?,
                () = signals.next(), if !ending => {
                    interrupted = true;
                    ending = self.end();
                }
                _ = step.tick() => {
                    line.set_message(self.progress());
                    line.tick();
                    if !self.collector.is_running() {
                        bail!("sampling has ended before the recording");
                    }
                    if !ending && subject.has_ended()? {
                        ending = self.end();
                    }
                }
            }
        };
        line.finish_and_clear();
        Ok(Ended {
            captured,
            subject,
            interrupted,
        })
    }

    fn end(&self) -> bool {
        self.collector.command(Command::End {
            capture: self.capture,
        })
    }

    fn progress(&self) -> String {
        let counters = self.collector.status().counters;
        let seconds = self.begin.elapsed().as_secs();
        let of = self.length.map_or(String::new(), |length| {
            format!(" of {}", length.as_secs_f32())
        });
        let lost = counters.ticks_lost + counters.counts_full;
        format!(
            "recording: {seconds}{of} s, {} samples, {lost} lost (Ctrl-C ends it)",
            counters.counted
        )
    }
}

/// Drawn on a terminal only.
fn progress_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
    line
}
