//! A window that is over: what was counted in it, by whom and in words that mean the same in every process.

use crate::owner::Identity;
use crate::process::MappedFile;
use bpf::{Counters, FileId, Outcome, Place, Thread, ThreadNames, Word};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Number of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CaptureId(pub(crate) u64);

/// What one thread did with one stack.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) thread: Thread,
    pub(crate) names: Arc<ThreadNames>,
    pub(crate) identity: Arc<Identity>,
    /// Leaf first.
    pub(crate) stack: Arc<[Word]>,
    /// How often it was seen.
    pub(crate) events: u64,
    /// Nanoseconds of CPU time that stands for.
    pub(crate) amount: u64,
}

/// What was counted together.
#[derive(Debug)]
pub(crate) struct Window {
    /// Begin by CLOCK_REALTIME, nanoseconds since the Unix epoch.
    pub(crate) start_unix_nanos: i64,
    /// Length by CLOCK_MONOTONIC.
    pub(crate) duration: Duration,
    pub(crate) samples: Vec<Sample>,
    /// The files that words of these stacks name.
    pub(crate) files: HashMap<FileId, Arc<MappedFile>>,
    /// What the functions are called that are words of these stacks.
    pub(crate) functions: HashMap<Word, Arc<str>>,
    /// Code of the kernel came or went, other than its modules.
    pub(crate) kernel_changed: bool,
    /// The push interval is over with this window.
    pub(crate) closes_interval: bool,
    /// Captures that it is a part of.
    pub(crate) captures: Vec<CaptureId>,
    /// Of them, those that are over with it.
    pub(crate) ended: Vec<CaptureId>,
    /// What was counted and lost in it.
    pub(crate) counters: Counters,
}

impl Sample {
    /// How its walk ended.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.stack.last().map(|word| word.place()) {
            Some(Place::Outcome(outcome)) => outcome,
            _ => Outcome::RingFull,
        }
    }
}
