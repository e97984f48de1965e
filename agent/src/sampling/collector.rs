//! The sampling thread as others see it: started, asked for captures, looked at and stopped.

use super::sampler::Sampler;
use super::walks::Walks;
use super::window::{CaptureId, Window};
use crate::container::Runtimes;
use crate::process::{PublishDelays, Trouble};
use crate::unwind::TableCounts;
use anyhow::{Context, Result};
use bpf::{Counters, Filter, UnwindMemory};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the last window may take: with all windows waiting to be named that may wait, it waits for one of them to be.
const LAST_WINDOW: Duration = Duration::from_secs(30);
/// Windows that may wait to be named. With so many waiting the one that is counted goes on until there is room.
const WAITING: usize = 4;

/// What to sample, and how.
#[derive(Clone)]
pub(crate) struct SamplingOptions {
    /// Samples a second and CPU.
    pub(crate) frequency: u32,
    /// The idle task too.
    pub(crate) idle: bool,
    pub(crate) filter: Filter,
    /// Bytes of kernel memory for all of it.
    pub(crate) kernel_memory: u64,
    /// Directory of unwind tables.
    pub(crate) cache: PathBuf,
    /// Length of a push interval, a multiple of [`WINDOW`].
    pub(crate) interval: Duration,
    /// To be asked for each container as soon as there is one; none if nobody wants to know.
    pub(crate) runtimes: Option<Arc<Runtimes>>,
}

impl SamplingOptions {
    /// Nanoseconds of CPU time that one sample stands for.
    pub(crate) fn period(&self) -> u64 {
        bpf::period(self.frequency)
    }
}

/// What the thread can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begin a capture now. It ends by itself after `duration`, or when it is told to.
    Begin {
        capture: CaptureId,
        duration: Option<Duration>,
    },
    /// End it now.
    End { capture: CaptureId },
}

/// What the thread has seen so far, for those who ask meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    pub(crate) counters: Counters,
    /// When the last window was ended, CLOCK_MONOTONIC nanoseconds.
    pub(crate) window_ended: u64,
    pub(crate) windows: u64,
    /// Elements in the largest map of the last window, and how many fit.
    pub(crate) map_elements: u64,
    pub(crate) map_capacity: u64,
    pub(crate) trouble: Trouble,
    pub(crate) tables: TableCounts,
    pub(crate) unwind_memory: UnwindMemory,
    /// Cgroups whose path never became known.
    pub(crate) cgroups_unknown: u64,
}

/// The running thread. Dropped, it stops.
pub(crate) struct Collector {
    /// Nothing when it is to stop.
    commands: Mutex<Option<SyncSender<Command>>>,
    wake: Arc<OwnedFd>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread lets others see.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) status: Mutex<Status>,
    pub(super) lost_by_cpu: Mutex<Vec<(u32, u64)>>,
    pub(super) walks: Mutex<Walks>,
    pub(super) delays: PublishDelays,
}

impl Collector {
    /// Loads the programs and begins to sample; windows come through the returned channel. An error says in one
    /// sentence what this host or this user lacks.
    pub(crate) fn start(options: SamplingOptions) -> Result<(Self, Receiver<Window>)> {
        let wake = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )
        .context("cannot make an eventfd")?;
        let wake = Arc::new(wake);
        let (commands, inbox) = sync_channel(64);
        let (windows, outbox) = sync_channel(WAITING);
        let (started, outcome) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .spawn({
                let (wake, shared) = (Arc::clone(&wake), Arc::clone(&shared));
                move || {
                    let mut storage = MaybeUninit::uninit();
                    match Sampler::new(&mut storage, &options, shared, windows, &wake) {
                        Ok(mut sampler) => {
                            let _ = started.send(Ok(()));
                            if let Err(error) = sampler.run(&inbox, wake.as_fd()) {
                                tracing::error!("sampling has ended: {error:#}");
                            }
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                }
            })?;
        outcome
            .recv()
            .context("the sampling thread ended as it began")??;
        Ok((
            Self {
                commands: Mutex::new(Some(commands)),
                wake,
                shared,
                thread: Mutex::new(Some(thread)),
            },
            outbox,
        ))
    }

    /// Asks for something, without waiting. False if the thread has ended or is far behind.
    pub(crate) fn command(&self, command: Command) -> bool {
        let commands = lock(&self.commands);
        let sent = commands
            .as_ref()
            .is_some_and(|commands| commands.try_send(command).is_ok());
        self.wake_up();
        sent
    }

    fn wake_up(&self) {
        signal(&self.wake);
    }

    fn ask_to_stop(&self) {
        *lock(&self.commands) = None;
        self.wake_up();
    }

    /// What has been seen so far.
    pub(crate) fn status(&self) -> Status {
        *lock(&self.shared.status)
    }

    /// Ticks lost so far by CPU.
    pub(crate) fn lost_by_cpu(&self) -> Vec<(u32, u64)> {
        lock(&self.shared.lost_by_cpu).clone()
    }

    /// How walks ended so far.
    pub(crate) fn walks(&self) -> Walks {
        lock(&self.shared.walks).clone()
    }

    /// How long the walk had to wait to be told of mappings so far.
    pub(crate) fn publish_delays(&self) -> &PublishDelays {
        &self.shared.delays
    }

    /// Whether the thread is still there.
    pub(crate) fn is_running(&self) -> bool {
        lock(&self.thread)
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the window and the thread; the last window is in the channel when this returns. False if the thread does not end.
    pub(crate) fn stop(&self) -> bool {
        self.ask_to_stop();
        let Some(thread) = lock(&self.thread).take() else {
            return true;
        };
        let deadline = Instant::now() + LAST_WINDOW;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                tracing::error!("the sampling thread hangs: its last window is lost");
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.join().is_err() {
            tracing::error!("the sampling thread has panicked");
        }
        true
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// Wakes the thread.
pub(super) fn signal(event: &OwnedFd) {
    // An eventfd that is full is readable too.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// What is behind these locks is never left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
