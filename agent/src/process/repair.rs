//! What /proc says of processes: read at the start, and where the records do not tell enough.

use super::code_sources::MappedDump;
use super::inspector::Suspect;
use super::mappings::{Inserted, Mapping};
use super::program::Program;
use super::{Mappings, Processes, run_time};
use bpf::sideband::monotonic_nanos;
use std::collections::HashSet;
use std::sync::Arc;

/// What is known of a process since its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// That it runs the same program.
    Known,
    /// Nothing: records are missing.
    Unknown,
}

impl Processes {
    /// Reads the mappings of every process there is. Records must be subscribed to before, so that none falls between.
    pub(crate) fn scan(&mut self) {
        let Ok(processes) = std::fs::read_dir("/proc") else {
            return;
        };
        let before = monotonic_nanos();
        let mut there = HashSet::new();
        for name in processes.flatten().map(|entry| entry.file_name()) {
            if let Some(tgid) = name.to_str().and_then(|name| name.parse().ok()) {
                there.insert(tgid);
                self.read(tgid, Since::Unknown);
            }
        }
        // The end of those that are gone may be among what was missed: they would be remembered for ever.
        for (_, programs) in self
            .by_tgid
            .iter_mut()
            .filter(|(tgid, _)| !there.contains(tgid))
        {
            if let Some(last) = programs.last_mut() {
                last.ended.get_or_insert(before);
            }
        }
    }

    /// Notes that records are missing: what is known may be wrong.
    pub(crate) fn note_missing(&mut self) {
        self.incomplete = true;
    }

    /// Reads /proc again if records are missing. Once a window is enough for its stacks, and whoever floods the rings with
    /// mappings shall not keep the agent reading without end. True if that was so.
    pub(crate) fn catch_up(&mut self) -> bool {
        let was_incomplete = std::mem::take(&mut self.incomplete);
        if was_incomplete {
            self.scan();
        }
        was_incomplete
    }

    /// Looks at /proc because an address of this process lies in no mapping (munmap, mremap and data mapped over code
    /// leave no record). True if something was read, so that another try makes sense. Not if another program has begun
    /// since `generation`.
    pub(crate) fn repair(&mut self, tgid: u32, generation: u64) -> bool {
        let now = monotonic_nanos();
        if let Some(programs) = self.by_tgid.get_mut(&tgid) {
            let Some(program) = programs.last_mut() else {
                return false;
            };
            if program.begin > generation || !program.repair.is_due(now) {
                return false;
            }
        }
        self.trouble.repairs += 1;
        self.read(tgid, Since::Known)
    }

    /// Looks at /proc because code was mapped in the place of other code and nothing that was recorded since `begin`
    /// (CLOCK_MONOTONIC nanoseconds) tells of that: it was data, which leaves no record.
    pub(crate) fn repair_remapped(&mut self, tgid: u32, generation: u64, begin: u64) {
        let programs = self.by_tgid.get(&tgid);
        let last = programs.and_then(|programs| programs.last());
        if last.is_some_and(|last| last.begin <= generation && last.last_mapped < begin) {
            self.trouble.repairs += 1;
            self.read(tgid, Since::Known);
        }
    }

    /// Takes a process's mappings from /proc; false if it is gone, has none, or does not let them be read.
    pub(super) fn read(&mut self, tgid: u32, since: Since) -> bool {
        let before = monotonic_nanos();
        let lines = match self.maps.read(tgid) {
            Ok(lines) if !lines.is_empty() => lines,
            _ => return false,
        };
        let mut mappings = Mappings::default();
        let mut dump = None;
        for line in lines {
            dump = dump.or_else(|| MappedDump::of(&line.hint.path, line.hint.inode));
            let range = (line.start, line.end);
            let mapping = Mapping {
                start: line.start,
                end: line.end,
                offset: line.offset,
                file: self
                    .files
                    .of_mapping(tgid, range, line.offset, &line.hint, None),
            };
            if mappings.insert(mapping) == Inserted::No {
                self.trouble.mappings_dropped += 1;
            }
        }
        let suspects = mappings.suspects();
        let makes_code = mappings.has_run_time_code() || dump.is_some();
        let programs = self.by_tgid.entry(tgid).or_default();
        match programs.last_mut() {
            // One whose main thread has ended is still there.
            Some(last) => {
                last.read_at = before;
                last.last_mapped = before;
                if *last.mappings == mappings {
                    last.publication.unconfirm();
                    self.unpublished.insert(tgid);
                    return true;
                }
                last.repair.was_needed(before);
                last.mappings = Arc::new(mappings);
                last.publication.outdate();
                if since == Since::Unknown {
                    last.declared = self.declarations.read(tgid);
                }
            }
            // Whatever began it has left no record.
            None => {
                let declared = self.declarations.read(tgid);
                programs.push(Program::new(0, Arc::new(mappings), before, declared));
            }
        }
        let begin = programs.last().map_or(0, |last| last.begin);
        if makes_code && let Some(last) = programs.last_mut() {
            run_time::watch(&mut self.code_names, last, tgid, dump);
        }
        for mapping in suspects {
            self.inspector.inspect(Suspect {
                tgid,
                begin,
                mapping,
            });
        }
        self.unpublished.insert(tgid);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Files, PublishDelays};
    use super::*;
    use bpf::sideband::{Event, Record};

    /// A process whose main thread has ended is the same program still, whose mappings can be read again.
    #[test]
    fn the_main_thread_may_end_first() {
        let delays = PublishDelays::default();
        let mut processes = Processes::new(Files::for_test(), delays, Arc::new(|| {})).unwrap();
        let tgid = std::process::id();
        let time = monotonic_nanos();
        let record = |time, event| vec![Record { time, event }];
        processes.apply(record(time, Event::Exec { tgid }));
        processes.apply(record(time + 1, Event::Exit { tgid }));
        processes.scan();
        let programs = &processes.by_tgid[&tgid];
        assert_eq!(programs.len(), 1);
        assert!(programs[0].begin == time && !programs[0].mappings.is_empty());
        assert!(processes.repair(tgid, u64::MAX));
    }

    /// An exec that /proc showed before its record came: what is known of its mappings stays, what it says is read again.
    #[test]
    fn an_exec_seen_before_is_still_read() {
        let delays = PublishDelays::default();
        let mut processes = Processes::new(Files::for_test(), delays, Arc::new(|| {})).unwrap();
        let tgid = std::process::id();
        let time = monotonic_nanos();
        processes.scan();
        let before = processes.by_tgid[&tgid][0].declared.clone();
        let event = Event::Exec { tgid };
        processes.apply(vec![Record { time, event }]);
        let programs = &processes.by_tgid[&tgid];
        assert_eq!(programs.len(), 1);
        assert!(!programs[0].mappings.is_empty());
        assert!(programs[0].declared != before);
    }
}
