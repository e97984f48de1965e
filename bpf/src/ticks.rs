//! The clock events that run the on-CPU program: one on each online CPU.
//!
//! perf drops a tick without a word while a bpf() call or another kernel program runs on that CPU, and where a timer
//! came late. The event's own clock goes on, so what is missing is known: clock / period - program runs. Guests were
//! seen that deliver no ticks at all to an idle CPU; those are not lost work, so the idle time that no tick answered
//! is left out.

use crate::skeleton::types::counters;
use crate::{Error, cpus};
use libbpf_rs::{Link, ProgramMut};
use perf_event::events::Software;
use perf_event::{Builder, Counter};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};

/// Ticks that clocks read one after the other may differ by, beside the grain of the idle time.
const SKEW: u64 = 2;

/// The events of all online CPUs.
pub(crate) struct Ticks {
    /// Nanoseconds of CPU clock between two ticks.
    period: u64,
    clocks: BTreeMap<u32, Clock>,
    /// Lost on events that are closed.
    lost_before: u64,
}

struct Clock {
    counter: Counter,
    _link: Link,
    /// Program runs, of them idle ones, and idle time on this CPU when this event was opened.
    begin: Readings,
    /// Nanoseconds on the event's clock when it was last checked.
    nanos: u64,
    lost: u64,
}

#[derive(Clone, Copy, Default)]
struct Readings {
    runs: u64,
    idle_runs: u64,
    idle_nanos: u64,
}

impl Ticks {
    pub(crate) fn new(period: u64) -> Self {
        Self {
            period,
            clocks: BTreeMap::new(),
            lost_before: 0,
        }
    }

    /// Opens events on CPUs that came and closes those of CPUs that went; returns the CPUs whose event is new.
    /// `runs` are the programs' counters by CPU.
    pub(crate) fn follow(
        &mut self,
        program: &ProgramMut<'_>,
        runs: &[counters],
    ) -> Result<BTreeSet<u32>, Error> {
        let online = cpus::online()?;
        let idle = cpus::idle_nanos()?;
        let readings = |cpu: u32| {
            let counters = runs.get(cpu as usize).copied().unwrap_or_default();
            let idle_nanos = idle.get(&cpu).copied().unwrap_or(0);
            Readings {
                runs: counters.ticks,
                idle_runs: counters.idle,
                idle_nanos,
            }
        };
        self.close_dead(&online, readings);
        let mut opened = BTreeSet::new();
        for &cpu in &online {
            if self.clocks.contains_key(&cpu) {
                continue;
            }
            match open(program, cpu, self.period, readings(cpu)) {
                Ok(clock) => {
                    self.clocks.insert(cpu, clock);
                    opened.insert(cpu);
                }
                // It went away again since the list was read.
                Err(Error::Event { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Ticks lost so far, on all CPUs.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before + self.clocks.values().map(|clock| clock.lost).sum::<u64>()
    }

    /// Ticks lost so far on each CPU that is online.
    pub(crate) fn lost_by_cpu(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.clocks.iter().map(|(cpu, clock)| (*cpu, clock.lost))
    }

    /// An event whose CPU went offline stays silent for ever, even when the CPU is back: its clock stands still.
    fn close_dead(&mut self, online: &BTreeSet<u32>, readings: impl Fn(u32) -> Readings) {
        let period = self.period;
        let lost_before = &mut self.lost_before;
        self.clocks.retain(|cpu, clock| {
            let alive = online.contains(cpu) && clock.check(period, readings(*cpu));
            if !alive {
                *lost_before += clock.lost;
            }
            alive
        });
    }
}

fn open(program: &ProgramMut<'_>, cpu: u32, period: u64, begin: Readings) -> Result<Clock, Error> {
    let event = |source| Error::Event {
        event: "cpu-clock",
        cpu,
        source,
    };
    let counter = Builder::new(Software::CPU_CLOCK)
        .any_pid()
        .one_cpu(cpu as usize)
        .exclude_kernel(false)
        .exclude_hv(false)
        .sample_period(period)
        .build()
        .map_err(event)?;
    // SAFETY: the descriptor belongs to the counter, which outlives the borrow.
    let own = unsafe { BorrowedFd::borrow_raw(counter.as_raw_fd()) };
    // libbpf closes the descriptor it is given when the link goes, so it gets one of its own.
    let attached = own.try_clone_to_owned().map_err(event)?;
    let link = program
        .attach_perf_event(attached.into_raw_fd())
        .map_err(|source| event(io::Error::other(source)))?;
    Ok(Clock {
        counter,
        _link: link,
        begin,
        nanos: 0,
        lost: 0,
    })
}

impl Clock {
    /// Reads the clock and counts what was lost; false if it stands still.
    fn check(&mut self, period: u64, now: Readings) -> bool {
        let before = self.nanos;
        match self.counter.read() {
            Ok(nanos) => self.nanos = nanos,
            Err(_) => return false,
        }
        self.lost = lost(self.nanos, period, self.begin, now).max(self.lost);
        self.nanos > before
    }
}

/// Ticks that `nanos` of an event's clock should have brought and did not, but for those of idle time.
fn lost(nanos: u64, period: u64, begin: Readings, now: Readings) -> u64 {
    let runs = now.runs.saturating_sub(begin.runs);
    let idle_runs = now.idle_runs.saturating_sub(begin.idle_runs);
    let idle_nanos = now.idle_nanos.saturating_sub(begin.idle_nanos);
    let missing = (nanos / period).saturating_sub(runs);
    let idle = (idle_nanos / period).saturating_sub(idle_runs);
    missing.saturating_sub(idle + SKEW + cpus::IDLE_GRAIN_NANOS / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ticks_that_an_idle_cpu_never_got_are_not_lost() {
        let period = SECOND / 100;
        let now = |runs, idle_runs, idle_nanos| Readings {
            runs,
            idle_runs,
            idle_nanos,
        };
        // Ten seconds, half of them idle without ticks.
        assert_eq!(
            lost(
                10 * SECOND,
                period,
                Readings::default(),
                now(500, 0, 5 * SECOND)
            ),
            0
        );
        // The same with ticks on the idle task.
        assert_eq!(
            lost(
                10 * SECOND,
                period,
                Readings::default(),
                now(1000, 500, 5 * SECOND)
            ),
            0
        );
        // Busy, and a hundred ticks short.
        assert_eq!(
            lost(10 * SECOND, period, Readings::default(), now(900, 0, 0)),
            100 - SKEW - 1
        );
    }
}
