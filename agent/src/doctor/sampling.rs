//! The kernel programs, tried on this process for a moment.

use super::Finding;
use crate::cli::AgentArgs;
use crate::sampling::{CaptureId, Collector, Command, Sample, SamplingOptions, WINDOW};
use bpf::Filter;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const SUBJECT: &str = "sampling";
/// CPU time that this process takes, twice, for there to be samples, and how long it tries on a host that gives it none.
const BUSY: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(3);
/// Samples of that a second.
const FREQUENCY: u32 = 99;

pub(super) fn examine(args: &AgentArgs) -> Finding {
    let options = SamplingOptions {
        frequency: FREQUENCY,
        idle: false,
        filter: Filter::Process(std::process::id()),
        kernel_memory: args.unwind.unwind_memory << 20,
        cache: args.unwind.tables(),
        interval: WINDOW,
        runtimes: None,
    };
    let (collector, windows) = match Collector::start(options) {
        Ok(started) => started,
        // It says what to do.
        Err(error) => return Finding::missing(SUBJECT, format!("{error:#}")),
    };
    // Its own unwind table may have to be built first.
    keep_busy();
    collector.command(Command::Begin {
        capture: CaptureId(0),
        duration: None,
    });
    keep_busy();
    collector.stop();
    let later = windows
        .into_iter()
        .filter(|window| !window.captures.is_empty());
    let samples: Vec<Sample> = later.flat_map(|window| window.samples).collect();
    judge(&samples)
}

fn keep_busy() {
    let cpu_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let (begin, cpu_time_before) = (Instant::now(), cpu_time());
    while cpu_time().saturating_sub(cpu_time_before) < BUSY && begin.elapsed() < PATIENCE {}
}

fn judge(samples: &[Sample]) -> Finding {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let events = |samples: &mut dyn Iterator<Item = &Sample>| -> u64 {
        samples.map(|sample| sample.events).sum()
    };
    let all = events(&mut samples.iter());
    let whole = events(&mut samples.iter().filter(|sample| sample.outcome().is_whole()));
    if all == 0 {
        return Finding::missing(
            SUBJECT,
            format!(
                "Linux {release} runs the kernel programs, but its clock events never came for a process that was busy: \
                 give the guest a timer that works (`cat /sys/devices/system/clockevents/clockevent0/current_device`)"
            ),
        );
    }
    if whole * 10 < all * 9 {
        return Finding::limited(
            SUBJECT,
            format!(
                "Linux {release} runs the kernel programs, but only {whole} of {all} stacks of this process were whole: \
                 run the agent and look at the root frames in brackets, which say why"
            ),
        );
    }
    Finding::good(
        SUBJECT,
        format!(
            "Linux {release} with type information runs the kernel programs on clock events and tracepoints: {whole} of \
             {all} stacks of this process were whole"
        ),
    )
}
