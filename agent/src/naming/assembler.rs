//! The thread that names windows, adds them up, and hands profiles to the page, the server and whoever asked for a capture.

use super::desk::{CaptureDesk, Captured};
use super::encode::{owner_profiles, thread_profile};
use super::names::{Namer, Names, Naming, NamingTrouble, keep};
use super::tally::{OwnerTally, Span, ThreadTally};
use crate::profile::OwnerProfile;
use crate::sampling::{CaptureId, Sample, Window};
use bpf::{Counters, Outcome};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Profiles by owner that are ready.
pub(crate) enum Delivery {
    /// A window is over. Its profiles are left out if its interval is over with it.
    Window {
        /// When, and for how long.
        span: Span,
        /// Samples lost in it.
        lost: u64,
        /// What it has counted.
        profiles: Vec<Arc<OwnerProfile>>,
    },
    /// An interval is over: its profiles take the place of those of its windows.
    Interval {
        /// When, and for how long.
        span: Span,
        /// What its windows have counted.
        profiles: Vec<Arc<OwnerProfile>>,
    },
}

/// Takes what is ready, without making the assembler wait.
pub(crate) type Deliver = Box<dyn FnMut(Delivery) + Send>;

/// What the names of a window may take. There is another one every five seconds, and files that are still being opened are waited for,
/// too.
const WINDOW_TIME: Duration = Duration::from_millis(3500);
/// The same where nobody waits for the next one: an emulator may be that slow.
const RECORDING_TIME: Duration = Duration::from_secs(10);

/// Names and adds up windows until there are no more.
pub(crate) struct Assembler {
    namer: Namer,
    period: u64,
    interval: OwnerTally,
    captures: HashMap<CaptureId, CaptureTally>,
    desk: Arc<CaptureDesk>,
    deliver: Option<Deliver>,
    trouble: Arc<Mutex<NamingTrouble>>,
}

#[derive(Default)]
struct CaptureTally {
    threads: ThreadTally,
    counters: Counters,
    samples: u64,
    too_deep: u64,
}

impl Assembler {
    /// Starts the thread, which takes windows until there are no more. `period` is the CPU time of one sample in
    /// nanoseconds. Without `deliver` only captures are made.
    pub(crate) fn start(
        period: u64,
        windows: Receiver<Window>,
        desk: Arc<CaptureDesk>,
        naming: Naming,
        deliver: Option<Deliver>,
        trouble: Arc<Mutex<NamingTrouble>>,
    ) -> std::io::Result<JoinHandle<()>> {
        let time = match deliver {
            Some(_) => WINDOW_TIME,
            None => RECORDING_TIME,
        };
        std::thread::Builder::new()
            .name("assembler".to_owned())
            .spawn(move || {
                let assembler = Self {
                    namer: Namer::new(naming, time),
                    period,
                    interval: OwnerTally::default(),
                    captures: HashMap::new(),
                    desk,
                    deliver,
                    trouble,
                };
                assembler.run(&windows);
            })
    }

    /// What is left of the interval at the end goes out too.
    fn run(mut self, windows: &Receiver<Window>) {
        while let Ok(window) = windows.recv() {
            self.take(&window);
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = self.namer.trouble();
        }
        self.end_interval();
    }

    fn take(&mut self, window: &Window) {
        let mut names = Names::new();
        let words = window
            .samples
            .iter()
            .flat_map(|sample| sample.stack.iter().copied());
        if window.kernel_changed {
            self.namer.kernel_has_changed();
        }
        self.namer
            .name(&mut names, words, &window.files, &window.functions);
        for capture in &window.captures {
            self.add_to_capture(*capture, window, &names);
        }
        for capture in &window.ended {
            self.end_capture(*capture);
        }
        if self.deliver.is_some() {
            self.add_to_interval(window, names);
        }
    }

    fn add_to_interval(&mut self, window: &Window, names: Names) {
        let mut tally = OwnerTally {
            names,
            ..OwnerTally::default()
        };
        for tally in [&mut tally, &mut self.interval] {
            tally.extend(window.start_unix_nanos, window.duration);
            for sample in &window.samples {
                tally.add(sample);
            }
        }
        let profiles = if window.closes_interval {
            Vec::new()
        } else {
            owner_profiles(&tally, self.period)
        };
        let lost = window.counters.ticks_lost + window.counters.counts_full;
        if let (Some(deliver), Some(span)) = (&mut self.deliver, tally.span) {
            deliver(Delivery::Window {
                span,
                lost,
                profiles,
            });
        }
        for (word, name) in &tally.names {
            keep(&mut self.interval.names, *word, name);
        }
        if window.closes_interval {
            self.end_interval();
        }
    }

    fn end_interval(&mut self) {
        let tally = std::mem::take(&mut self.interval);
        if let (Some(deliver), Some(span)) = (&mut self.deliver, tally.span) {
            deliver(Delivery::Interval {
                span,
                profiles: owner_profiles(&tally, self.period),
            });
        }
    }

    fn add_to_capture(&mut self, id: CaptureId, window: &Window, names: &Names) {
        let Some(pid) = self.desk.wanted(id) else {
            self.captures.remove(&id);
            return;
        };
        let tally = self.captures.entry(id).or_default();
        tally
            .threads
            .extend(window.start_unix_nanos, window.duration);
        tally.counters = tally.counters.plus(&window.counters);
        let wanted = |sample: &&Sample| pid.is_none_or(|pid| sample.thread.tgid == pid);
        for sample in window.samples.iter().filter(wanted) {
            tally.threads.add(sample);
            tally.samples += sample.events;
            if sample.outcome() == Outcome::TooDeep {
                tally.too_deep += sample.events;
            }
            for word in sample.stack.iter() {
                if let Some(name) = names.get(word) {
                    keep(&mut tally.threads.names, *word, name);
                }
            }
        }
    }

    fn end_capture(&mut self, id: CaptureId) {
        let tally = self.captures.remove(&id).unwrap_or_default();
        if let Some(waiting) = self.desk.close(id) {
            waiting.answer(Captured {
                profile: thread_profile(&tally.threads, self.period),
                samples: tally.samples,
                too_deep: tally.too_deep,
                left_out: tally.threads.left_out,
                counters: tally.counters,
            });
        }
    }
}
