//! One program that a process ran: from a fork or an exec to the next exec or the end.

use super::Mappings;
use super::code_names::ProgramCode;
use super::mappings::Mapping;
use super::publication::Publication;
use crate::owner::Declared;
use std::sync::Arc;

/// Shortest and longest time between two looks at /proc for one program, nanoseconds.
const REPAIR: (u64, u64) = (1_000_000_000, 300_000_000_000);

/// Pieces of code that are remembered when memory of no file takes their place, and how often each is compared with that.
const COVERED: usize = 8;
const LOOKS: u32 = 8;

/// What is known of it.
pub(super) struct Program {
    /// When it began, CLOCK_MONOTONIC nanoseconds; 0: before the records.
    pub(super) begin: u64,
    pub(super) ended: Option<u64>,
    pub(super) mappings: Arc<Mappings>,
    /// Its mappings were read from /proc then: an older record must not undo that.
    pub(super) read_at: u64,
    /// `mappings` tell of all that was mapped until then.
    pub(super) last_mapped: u64,
    pub(super) repair: Repair,
    pub(super) publication: Publication,
    /// What it says of itself.
    pub(super) declared: Declared,
    /// Nothing if it makes none, as far as is known.
    pub(super) code: Option<Arc<ProgramCode>>,
    covered: Vec<Covered>,
}

/// Code of a file in whose place memory of no file was mapped.
struct Covered {
    mapping: Mapping,
    /// How often it may still be compared with that memory.
    looks: u32,
}

impl Program {
    pub(super) fn new(
        begin: u64,
        mappings: Arc<Mappings>,
        read_at: u64,
        declared: Declared,
    ) -> Self {
        Self {
            begin,
            ended: None,
            mappings,
            read_at,
            last_mapped: read_at,
            repair: Repair::default(),
            publication: Publication::default(),
            declared,
            code: None,
            covered: Vec::new(),
        }
    }

    /// Memory of no file is mapped within [start, end), or what it may be used for has changed. Returns the code of files whose
    /// place it has taken: it may be a copy of that.
    pub(super) fn cover(&mut self, start: u64, end: u64) -> Vec<Mapping> {
        for mapping in self.mappings.of_files_within(start, end) {
            let is_known = |covered: &Covered| covered.mapping == mapping;
            if self.covered.len() < COVERED && !self.covered.iter().any(is_known) {
                let looks = LOOKS;
                self.covered.push(Covered { mapping, looks });
            }
        }
        let mut suspects = Vec::new();
        for covered in &mut self.covered {
            let Mapping {
                start: from,
                end: to,
                ..
            } = covered.mapping;
            if from < end && start < to && covered.looks > 0 {
                covered.looks -= 1;
                suspects.push(covered.mapping.clone());
            }
        }
        suspects
    }

    /// The one that an exec began at `time`: nothing of it is mapped yet.
    pub(super) fn execed(time: u64, declared: Declared) -> Self {
        let mut program = Self::new(time, Arc::default(), 0, declared);
        program.publication.is_waiting(time);
        program
    }

    /// The one that a fork made at `time` begins with.
    pub(super) fn forked(&self, time: u64, declared: Declared) -> Self {
        Self {
            publication: self.publication.inherited(time),
            last_mapped: self.last_mapped,
            ..Self::new(time, Arc::clone(&self.mappings), 0, declared)
        }
    }
}

/// When /proc may be asked again for a program whose mappings seem incomplete.
#[derive(Clone, Copy)]
pub(super) struct Repair {
    not_before: u64,
    pause: u64,
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            not_before: 0,
            pause: REPAIR.0,
        }
    }
}

impl Repair {
    /// Whether /proc may be asked now; it is taken for done. Addresses that frame pointers made up are in no mapping ever:
    /// more and more seldom.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        let due = now >= self.not_before;
        if due {
            self.not_before = now.saturating_add(self.pause);
            self.pause = (self.pause * 2).min(REPAIR.1);
        }
        due
    }

    /// The mappings were other ones indeed: this program is worth looking at.
    pub(super) fn was_needed(&mut self, now: u64) {
        self.pause = REPAIR.0;
        self.not_before = self.not_before.min(now.saturating_add(self.pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program whose addresses are never found is looked at ever more seldom, one that needed it soon again.
    #[test]
    fn repairs_become_rare_where_they_are_useless() {
        let mut repair = Repair::default();
        let looks = |repair: &mut Repair, seconds: std::ops::Range<u64>| {
            let due = seconds.filter(|second| repair.is_due(second * 1_000_000_000));
            due.count()
        };
        assert_eq!(looks(&mut repair, 0..60), 6);
        repair.was_needed(60_000_000_000);
        assert_eq!(looks(&mut repair, 61..64), 2);
    }
}
