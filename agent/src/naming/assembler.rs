//! The thread that names windows, adds them up, and hands profiles to the page, the server and whoever asked for a capture.

use super::desk::{CaptureDesk, Captured};
use super::encode::thread_profile;
use super::intervals::Intervals;
use super::names::{Namer, Names, Naming, keep};
use super::tally::ThreadTally;
use super::trouble::NamingTrouble;
use crate::sampling::{CaptureId, Sample, Window};
use bpf::{Counters, Outcome, Word};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the names of a window may take. There is another one every five seconds, and files that are still being opened are waited for,
/// too.
const WINDOW_TIME: Duration = Duration::from_millis(3500);
/// The same where nobody waits for the next one: an emulator may be that slow.
const RECORDING_TIME: Duration = Duration::from_secs(10);

/// Names and adds up windows until there are no more.
pub(crate) struct Assembler {
    namer: Namer,
    period: u64,
    /// None if only captures are made.
    intervals: Option<Intervals>,
    captures: HashMap<CaptureId, CaptureTally>,
    desk: Arc<CaptureDesk>,
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
    /// nanoseconds. Without `intervals` only captures are made.
    pub(crate) fn start(
        period: u64,
        windows: Receiver<Window>,
        desk: Arc<CaptureDesk>,
        naming: Naming,
        intervals: Option<Intervals>,
        trouble: Arc<Mutex<NamingTrouble>>,
    ) -> std::io::Result<JoinHandle<()>> {
        let time = match intervals {
            Some(_) => WINDOW_TIME,
            None => RECORDING_TIME,
        };
        std::thread::Builder::new()
            .name("assembler".to_owned())
            .spawn(move || {
                let assembler = Self {
                    namer: Namer::new(naming, time),
                    period,
                    intervals,
                    captures: HashMap::new(),
                    desk,
                    trouble,
                };
                assembler.run(&windows);
            })
    }

    /// What is left of the interval at the end goes out too.
    fn run(mut self, windows: &Receiver<Window>) {
        while let Ok(window) = windows.recv() {
            self.take(&window);
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            *trouble = self.namer.trouble();
            if let Some(intervals) = &self.intervals {
                intervals.tell(&mut trouble);
            }
        }
        if let Some(intervals) = &mut self.intervals {
            intervals.end();
        }
    }

    fn take(&mut self, window: &Window) {
        if window.kernel_changed {
            self.namer.kernel_has_changed();
        }
        self.announce(window);
        let mut names = Names::new();
        self.namer
            .name(&mut names, words(window), &window.files, &window.functions);
        for capture in &window.captures {
            self.add_to_capture(*capture, window, &names);
        }
        for capture in &window.ended {
            self.end_capture(*capture);
        }
        if let Some(intervals) = &mut self.intervals {
            intervals.add(window, names);
        }
    }

    /// Names may take seconds. Where profiles are kept on disk now, this interval shall be there before.
    fn announce(&mut self, window: &Window) {
        if let Some(intervals) = &mut self.intervals
            && window.closes_interval
            && intervals.is_announced()
        {
            let known = self
                .namer
                .known(words(window), &window.files, &window.functions);
            intervals.announce(window, known);
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

fn words(window: &Window) -> impl Iterator<Item = Word> {
    let stacks = window.samples.iter().map(|sample| &sample.stack);
    stacks.flat_map(|stack| stack.iter().copied())
}
