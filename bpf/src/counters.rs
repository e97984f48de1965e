//! What the kernel programs counted.

/// What the programs counted since they were loaded, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Program runs.
    pub ticks: u64,
    /// Of them, on the idle task.
    pub idle: u64,
    /// Of them, on a task the filter leaves out.
    pub filtered: u64,
    /// Samples that were counted.
    pub counted: u64,
    /// Samples lost: the map of counts was full.
    pub counts_full: u64,
    /// Tries to send a stack that found the ring full. The stack goes with its next sample, if there is one.
    pub ring_full: u64,
    /// Threads without names: their map was full.
    pub threads_full: u64,
    /// Samples counted under another stack that has the same hash.
    pub hash_collisions: u64,
    /// Ticks that no program run answered.
    pub ticks_lost: u64,
    /// Records of stacks that could not be read.
    pub malformed: u64,
}

impl Counters {
    /// What was added since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The sum of two stretches of time.
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            ticks: f(self.ticks, other.ticks),
            idle: f(self.idle, other.idle),
            filtered: f(self.filtered, other.filtered),
            counted: f(self.counted, other.counted),
            counts_full: f(self.counts_full, other.counts_full),
            ring_full: f(self.ring_full, other.ring_full),
            threads_full: f(self.threads_full, other.threads_full),
            hash_collisions: f(self.hash_collisions, other.hash_collisions),
            ticks_lost: f(self.ticks_lost, other.ticks_lost),
            malformed: f(self.malformed, other.malformed),
        }
    }
}
