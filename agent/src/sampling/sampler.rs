//! The sampling thread's work: it keeps mappings true, ends windows when they are over, begins and ends captures when it is
//! asked to, and hands each window on.

use super::collector::{Command, SamplingOptions, Shared, lock, signal};
use super::functions::Functions;
use super::identities::{self, Identities};
use super::resolve::{Resolved, resolve};
use super::schedule::{Moment, WINDOW};
use super::window::{CaptureId, Window};
use crate::owner::CgroupMount;
use crate::process::{Files, Processes};
use crate::unwind::{Cache, Tables};
use anyhow::{Context, Result, bail};
use bpf::{Counters, OpenObject, Profiler, Records, Sideband};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setpriority_process;
use std::collections::{BTreeSet, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, Instant};

/// How often CPUs are looked for that came or went, and the counters of the programs are read.
const TICK: Duration = Duration::from_secs(1);
/// How long the first sample waits for tables: those that an earlier start has built are there by then.
const HEAD_START: Duration = Duration::from_millis(500);
/// Of the thread, as soon as it samples: who runs a program that is sampled must not keep it from being known.
const NICE: i32 = -19;

struct Capture {
    id: CaptureId,
    /// CLOCK_MONOTONIC nanoseconds at which it is over.
    deadline: Option<u64>,
}

/// What the thread works with.
pub(super) struct Sampler<'obj> {
    profiler: Profiler<'obj>,
    sideband: Sideband,
    processes: Processes,
    tables: Tables,
    identities: Identities,
    functions: Functions,
    interval: Duration,
    captures: Vec<Capture>,
    window: Moment,
    window_end: u64,
    next_tick: u64,
    /// All records written until then have been applied, CLOCK_MONOTONIC nanoseconds.
    read_until: u64,
    counters: Counters,
    cpus: bpf::cpus::Watch,
    shared: Arc<Shared>,
    windows: SyncSender<Window>,
    /// Windows that found no room in the channel: one at most, and one for each begin and end of a capture meanwhile.
    unsent: VecDeque<Window>,
}

impl<'obj> Sampler<'obj> {
    /// The order matters: from the moment that programs give generations on, every record is kept; only then is /proc
    /// read, so that nothing falls between; and only then are there samples.
    pub(super) fn new(
        storage: &'obj mut MaybeUninit<OpenObject>,
        options: &SamplingOptions,
        shared: Arc<Shared>,
        windows: SyncSender<Window>,
        wake: &Arc<OwnedFd>,
    ) -> Result<Self> {
        let mount = CgroupMount::find()?;
        let mut profiler = Profiler::load(
            storage,
            &bpf::Options {
                frequency: options.frequency,
                window: WINDOW,
                idle: options.idle,
                filter: options.filter,
                cgroups: identities::source(mount.as_ref()),
                seed: rand::random(),
                table_memory: bpf::table_memory(options.kernel_memory, options.frequency, WINDOW)?,
            },
        )?;
        let mut sideband = Sideband::default();
        let online = bpf::cpus::online()?;
        sideband.subscribe(&online)?;
        let identities = Identities::new(mount.as_ref(), options.runtimes.clone());
        let wake = Arc::clone(wake);
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || signal(&wake));
        let tables = Tables::start(
            Cache::open(&options.cache),
            Arc::clone(&wake),
            profiler.unwinder(),
            shared.delays.table.clone(),
        )?;
        let files = Files::new(tables.settled())?;
        let mut processes = Processes::new(files, shared.delays.clone(), wake)?;
        processes.scan();
        let now = Moment::now();
        let mut sampler = Self {
            profiler,
            sideband,
            processes,
            tables,
            identities,
            functions: Functions::new(),
            interval: options.interval,
            captures: Vec::new(),
            window: now,
            window_end: end_of_window(now),
            next_tick: now.steady,
            read_until: 0,
            counters: Counters::default(),
            cpus: bpf::cpus::Watch::new()?,
            shared,
            windows,
            unsent: VecDeque::new(),
        };
        sampler.load_tables()?;
        // There is no sample of before.
        sampler.window = Moment::now();
        let opened = sampler.profiler.follow_cpus()?;
        sampler.hear_of(&(&opened - &online))?;
        sampler.window_end = end_of_window(sampler.window);
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::debug!("the sampling thread gets no priority: {error}");
        }
        Ok(sampler)
    }

    /// Waits for the tables of what runs already, so that the first samples are whole, but not for long.
    fn load_tables(&mut self) -> Result<()> {
        let deadline = Instant::now() + HEAD_START;
        self.read_events()?;
        while !self.tables.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            self.read_events()?;
        }
        Ok(())
    }

    /// Works until it is asked to stop.
    pub(super) fn run(&mut self, inbox: &Receiver<Command>, wake: BorrowedFd<'_>) -> Result<()> {
        loop {
            self.wait(wake)?;
            self.read_events()?;
            if self.take_commands(inbox)? {
                return self.end();
            }
            let now = Moment::now();
            if now.steady >= self.next_tick {
                self.tick(now)?;
            }
            let ended = self.captures_over_at(now.steady);
            if self.is_over(now) && self.has_room()? || !ended.is_empty() {
                self.end_window(ended)?;
            }
        }
    }

    /// Whether the window is to end.
    fn is_over(&mut self, now: Moment) -> bool {
        if now.clock_was_set_since(self.window) {
            return true;
        }
        if now.steady < self.window_end {
            return false;
        }
        if !now.is_in_another(WINDOW, self.window) {
            // The wall clock is slewed and runs behind: ended now, a window of some milliseconds would follow.
            self.window_end = end_of_window(now);
            return false;
        }
        true
    }

    /// Ends everything. Whoever reads the windows still wants the last ones.
    fn end(&mut self) -> Result<()> {
        let ended = self.captures.drain(..).map(|capture| capture.id).collect();
        self.end_window(ended)?;
        for window in self.unsent.drain(..) {
            let _ = self.windows.send(window);
        }
        Ok(())
    }

    /// Sleeps until something has happened or is due.
    fn wait(&mut self, wake: BorrowedFd<'_>) -> Result<()> {
        let deadlines = self.captures.iter().filter_map(|capture| capture.deadline);
        let due = deadlines
            .chain([self.window_end, self.next_tick])
            .chain(self.processes.publication_due())
            .chain(self.processes.look_for_young_code())
            .min()
            .unwrap_or(0);
        let mut sleep = due.saturating_sub(Moment::now().steady);
        if !self.unsent.is_empty() {
            // The reader of windows is behind: look again soon.
            sleep = sleep.clamp(10_000_000, 100_000_000);
        }
        if self.sideband.holds_records() {
            sleep = 0;
        }
        let timeout = Timespec {
            tv_sec: (sleep / 1_000_000_000) as i64,
            tv_nsec: (sleep % 1_000_000_000) as i64,
        };
        let own = [wake, self.profiler.stacks_fd(), self.profiler.cgroups_fd()];
        let fds = own.into_iter().chain(self.sideband.fds());
        let mut fds: Vec<_> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        if fds.first().is_some_and(|wake| !wake.revents().is_empty()) {
            let mut ignored = [0; 8];
            let _ = rustix::io::read(wake, &mut ignored);
        }
        Ok(())
    }

    fn read_events(&mut self) -> Result<()> {
        self.profiler.read_stacks()?;
        let (events, missing) = self.profiler.read_cgroup_events()?;
        if missing {
            tracing::warn!("news of cgroups were lost: unknown ones are looked up");
        }
        self.identities.apply(events);
        let Records { records, until } = self.sideband.read();
        self.processes.apply(records);
        self.processes.take_inspected();
        for tgid in self.profiler.take_strays() {
            self.processes.repair(tgid, u64::MAX);
        }
        self.read_until = until;
        self.publish();
        Ok(())
    }

    /// Tells the walk what is known.
    fn publish(&mut self) {
        let unwinder = self.profiler.unwinder();
        self.tables.mapped(unwinder, &self.processes.take_mapped());
        let moved = self.tables.take_done(unwinder);
        self.processes.relist(&moved);
        let tables = &mut self.tables;
        self.processes.publish(
            unwinder,
            |unwinder, file| tables.slot(unwinder, file),
            self.read_until,
        );
    }

    /// True when it is time to stop.
    fn take_commands(&mut self, inbox: &Receiver<Command>) -> Result<bool> {
        loop {
            match inbox.try_recv() {
                Ok(Command::Begin { capture, duration }) => {
                    self.end_window(Vec::new())?;
                    let deadline = duration
                        .map(|time| self.window.steady.saturating_add(time.as_nanos() as u64));
                    self.captures.push(Capture {
                        id: capture,
                        deadline,
                    });
                }
                Ok(Command::End { capture }) => {
                    if let Some(position) =
                        self.captures.iter().position(|known| known.id == capture)
                    {
                        self.captures.remove(position);
                        self.end_window(vec![capture])?;
                    }
                }
                Err(TryRecvError::Disconnected) => return Ok(true),
                Err(TryRecvError::Empty) => return Ok(false),
            }
        }
    }

    fn captures_over_at(&mut self, now: u64) -> Vec<CaptureId> {
        let over = self.captures.extract_if(.., |capture| {
            capture.deadline.is_some_and(|deadline| deadline <= now)
        });
        over.map(|capture| capture.id).collect()
    }

    fn tick(&mut self, now: Moment) -> Result<()> {
        self.next_tick = now.steady + TICK.as_nanos() as u64;
        if self.cpus.has_changed()? {
            self.follow_cpus()?;
        }
        self.processes.tend();
        self.tables.tend();
        self.publish_status()
    }

    /// Counts the ticks that were lost, and samples CPUs that have come: one that was away for less than a second is known by its clock
    /// only, which stands still.
    fn follow_cpus(&mut self) -> Result<()> {
        let opened = self.profiler.follow_cpus()?;
        if !opened.is_empty() {
            tracing::info!("sampling on CPUs {opened:?} that have come online");
        }
        self.hear_of(&opened)
    }

    /// Has what happens on CPUs told that have come online.
    fn hear_of(&mut self, cpus: &BTreeSet<u32>) -> Result<()> {
        if !cpus.is_empty() {
            self.sideband.subscribe(cpus)?;
            // What happened on them before left no record.
            self.processes.note_missing();
        }
        Ok(())
    }

    fn publish_status(&mut self) -> Result<()> {
        let unwind_memory = self.profiler.unwinder().memory();
        let mut status = lock(&self.shared.status);
        status.counters = self.profiler.counters()?;
        status.trouble = self.processes.trouble();
        status.tables = self.tables.counts();
        status.unwind_memory = unwind_memory;
        status.cgroups_unknown = self.identities.unknown();
        *lock(&self.shared.lost_by_cpu) = self.profiler.ticks_lost_by_cpu().collect();
        Ok(())
    }

    /// Sends what is unsent, oldest first; false if there is no room for all of it. Without a reader sampling has no
    /// point, and must not look as if it had.
    fn has_room(&mut self) -> Result<bool> {
        while let Some(window) = self.unsent.pop_front() {
            match self.windows.try_send(window) {
                Ok(()) => {}
                Err(TrySendError::Full(window)) => {
                    self.unsent.push_front(window);
                    return Ok(false);
                }
                Err(TrySendError::Disconnected(_)) => bail!("the naming thread is gone"),
            }
        }
        Ok(true)
    }

    /// Ends the window that is being counted, with the captures that are over by it.
    fn end_window(&mut self, ended: Vec<CaptureId>) -> Result<()> {
        let running = self.captures.iter().map(|capture| capture.id);
        let captures = running.chain(ended.iter().copied()).collect();
        let end = Moment::now();
        self.processes.drop_lists_of_the_gone();
        let counted = self.profiler.swap()?;
        // What the samples of this window stand on may have been told of while it was drained.
        self.read_events()?;
        if self.processes.catch_up() {
            // Before more records can be lost.
            self.publish();
        }
        let begin = self.window;
        let Resolved {
            samples,
            files,
            functions,
        } = resolve(
            counted,
            &mut self.processes,
            &mut self.identities,
            &mut self.functions,
            begin.steady,
        );
        // A sample may still be drained in the window after the one its process ended in.
        self.processes.forget_ended(begin.steady);
        let unwinder = self.profiler.unwinder();
        self.tables.forget(unwinder, &self.processes.forget_files());
        self.tables.end_window(unwinder, files.keys());
        self.follow_cpus()?;
        let counters = self.profiler.counters()?;
        let window = Window {
            start_unix_nanos: begin.wall,
            duration: end.since(begin),
            samples,
            files,
            functions,
            kernel_changed: self.processes.take_kernel_change(),
            closes_interval: end.is_in_another(self.interval, begin)
                || end.clock_was_set_since(begin),
            captures,
            ended,
            counters: counters.since(&self.counters),
        };
        self.counters = counters;
        self.window = end;
        self.window_end = end_of_window(end);
        self.note_window(&window, end)?;
        self.unsent.push_back(window);
        self.has_room()?;
        Ok(())
    }

    fn note_window(&mut self, window: &Window, end: Moment) -> Result<()> {
        self.publish_status()?;
        let mut status = lock(&self.shared.status);
        status.windows += 1;
        status.window_ended = end.steady;
        status.map_elements = window.samples.len() as u64;
        status.map_capacity = self.profiler.capacity().into();
        lock(&self.shared.walks).add(window);
        Ok(())
    }
}

/// CLOCK_MONOTONIC nanoseconds of the next end of a window.
fn end_of_window(now: Moment) -> u64 {
    now.steady + now.until_multiple_of(WINDOW).as_nanos() as u64
}
