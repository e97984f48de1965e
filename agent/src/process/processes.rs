//! All processes and the programs they have run, kept true by the kernel's records and repaired from /proc.

use super::files::Hint;
use super::mappings::{Inserted, Mapping};
use super::program::Program;
use super::{Files, MappedFile, Mappings, PublishDelays, maps};
use bpf::sideband::{Event, MmapRecord, Record, monotonic_nanos};
use bpf::{FileId, Thread};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Programs remembered of one process: a shell that execs itself without end must not fill memory.
const PROGRAMS: usize = 64;

/// What went wrong with keeping mappings true, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// Records of the kernel's that found their ring full.
    pub(crate) records_lost: u64,
    /// Mappings beyond what is kept of one process.
    pub(crate) mappings_dropped: u64,
    /// Programs whose mappings were read from /proc because of an address in none of them.
    pub(crate) repairs: u64,
}

/// All processes that live, or did during the window.
pub(crate) struct Processes {
    pub(super) by_tgid: HashMap<u32, Vec<Program>>,
    /// Those whose mappings the walk is still to be told of.
    pub(super) unpublished: HashSet<u32>,
    files: Files,
    maps: maps::Reader,
    pub(super) delays: PublishDelays,
    /// A list found no room, and when memory may be waited for, CLOCK_MONOTONIC nanoseconds.
    pub(super) starved: bool,
    pub(super) reclaim_not_before: u64,
    trouble: Trouble,
    /// Records are missing since /proc was last read.
    incomplete: bool,
}

impl Processes {
    /// Knows no process yet.
    pub(crate) fn new(files: Files, delays: PublishDelays) -> Self {
        Self {
            by_tgid: HashMap::new(),
            unpublished: HashSet::new(),
            files,
            maps: maps::Reader::default(),
            delays,
            starved: false,
            reclaim_not_before: 0,
            trouble: Trouble::default(),
            incomplete: false,
        }
    }

    /// What went wrong since the start.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// The file that has this number in words.
    pub(crate) fn file(&self, id: FileId) -> Option<&Arc<MappedFile>> {
        self.files.by_id(id)
    }

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
                self.read(tgid);
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
    /// mappings shall not keep the agent reading without end.
    pub(crate) fn catch_up(&mut self) {
        if std::mem::take(&mut self.incomplete) {
            self.scan();
        }
    }

    /// Takes the kernel's records, oldest first.
    pub(crate) fn apply(&mut self, records: Vec<Record>) {
        let mut lost = 0;
        for Record { time, event } in records {
            match event {
                Event::Fork { parent, child } => self.fork(parent, child, time),
                Event::Exec { tgid } => self.begin(tgid, Program::execed(time)),
                Event::Exit { tgid } => self.end(tgid, time),
                Event::Mmap(mmap) => self.map(&mmap, time),
                Event::Lost(records) => lost += records,
            }
        }
        if lost > 0 {
            self.trouble.records_lost = self.trouble.records_lost.saturating_add(lost);
            if !self.incomplete {
                tracing::warn!(
                    "records of processes and mappings were lost: /proc is read again with this window"
                );
            }
            self.note_missing();
        }
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(crate) fn tend(&self) {
        self.files.tend();
    }

    /// Forgets files that nobody has mapped any more, and returns their numbers. Once a window.
    pub(crate) fn forget_files(&mut self) -> Vec<FileId> {
        self.files.forget_unneeded()
    }

    /// The mappings a thread had when it was sampled; nothing if its process was never seen.
    pub(crate) fn mappings(&self, thread: Thread) -> Option<&Arc<Mappings>> {
        let programs = self.by_tgid.get(&thread.tgid)?;
        // The kernel program takes a generation's time just after the record of the same fork or exec is written.
        let program = programs
            .iter()
            .rev()
            .find(|program| program.begin <= thread.generation);
        program
            .or(programs.first())
            .map(|program| &program.mappings)
    }

    /// Looks at /proc because an address of this thread lies in no mapping (munmap, mremap and data mapped over code
    /// leave no record). True if something was read, so that another try makes sense.
    pub(crate) fn repair(&mut self, thread: Thread) -> bool {
        let now = monotonic_nanos();
        if let Some(programs) = self.by_tgid.get_mut(&thread.tgid) {
            let Some(program) = programs.last_mut() else {
                return false;
            };
            if program.begin > thread.generation
                || program.ended.is_some()
                || !program.repair.is_due(now)
            {
                return false;
            }
        }
        self.trouble.repairs += 1;
        self.read(thread.tgid)
    }

    /// Forgets what had ended before `time`.
    pub(crate) fn forget_ended(&mut self, time: u64) {
        self.by_tgid.retain(|tgid, programs| {
            let last = programs.len().saturating_sub(1);
            let mut index = 0;
            programs.retain(|program| {
                // The main thread may end long before the others: such a process is still there.
                let over = program.ended.is_some_and(|ended| ended < time)
                    && (index < last || !Path::new(&format!("/proc/{tgid}")).exists());
                index += 1;
                !over
            });
            !programs.is_empty()
        });
    }

    fn fork(&mut self, parent: u32, child: u32, time: u64) {
        let known = self
            .by_tgid
            .get(&parent)
            .and_then(|programs| programs.last());
        match known.map(|program| program.forked(time)) {
            Some(program) => self.begin(child, program),
            None => {
                self.begin(child, Program::new(time, Arc::default(), 0));
                self.read(child);
            }
        }
    }

    fn begin(&mut self, tgid: u32, program: Program) {
        let programs = self.by_tgid.entry(tgid).or_default();
        if let Some(last) = programs.last_mut() {
            if program.begin <= last.read_at || program.begin <= last.begin {
                return;
            }
            last.ended.get_or_insert(program.begin);
            // No walk is of the old program any more.
            last.publication.is_outdated();
        }
        if !program.publication.is_done() {
            self.unpublished.insert(tgid);
        }
        programs.push(program);
        if programs.len() > PROGRAMS {
            programs.remove(0);
        }
    }

    fn end(&mut self, tgid: u32, time: u64) {
        if let Some(last) = self
            .by_tgid
            .get_mut(&tgid)
            .and_then(|programs| programs.last_mut())
            && time > last.begin
        {
            last.ended.get_or_insert(time);
        }
    }

    fn map(&mut self, mmap: &MmapRecord, time: u64) {
        let Some(program) = self
            .by_tgid
            .get_mut(&mmap.tgid)
            .and_then(|programs| programs.last_mut())
        else {
            self.read(mmap.tgid);
            return;
        };
        if time <= program.read_at || time < program.begin {
            return;
        }
        let hint = Hint::new(mmap.device, mmap.inode, &mmap.path);
        let range = (mmap.start, mmap.end);
        let generation = Some(mmap.inode_generation);
        let file = self
            .files
            .of_mapping(mmap.tgid, range, mmap.offset, &hint, generation);
        let mapping = Mapping {
            start: mmap.start,
            end: mmap.end,
            offset: mmap.offset,
            file,
        };
        match Arc::make_mut(&mut program.mappings).insert(mapping) {
            Inserted::Already => {}
            Inserted::No => self.trouble.mappings_dropped += 1,
            Inserted::Yes => {
                program.publication.is_outdated();
                program.publication.is_waiting(time);
                self.unpublished.insert(mmap.tgid);
            }
        }
    }

    /// Takes a process's mappings from /proc; false if it is gone, has none, or does not let them be read.
    fn read(&mut self, tgid: u32) -> bool {
        let before = monotonic_nanos();
        let lines = match self.maps.read(tgid) {
            Ok(lines) if !lines.is_empty() => lines,
            _ => return false,
        };
        let mut mappings = Mappings::default();
        for line in lines {
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
        let programs = self.by_tgid.entry(tgid).or_default();
        match programs.last_mut() {
            Some(last) if last.ended.is_none() => {
                last.read_at = before;
                if *last.mappings == mappings {
                    return true;
                }
                last.repair.was_needed();
                last.mappings = Arc::new(mappings);
                last.publication.is_outdated();
            }
            _ => {
                // Whatever began it has left no record.
                let begin = programs.last().and_then(|last| last.ended).unwrap_or(0);
                programs.push(Program::new(begin, Arc::new(mappings), before));
            }
        }
        self.unpublished.insert(tgid);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beyond PID_MAX_LIMIT: no process ever has it.
    const NOBODY: u32 = 5_000_000;

    fn thread(generation: u64) -> Thread {
        Thread {
            tgid: NOBODY,
            tid: NOBODY,
            generation,
        }
    }

    fn fork(time: u64) -> Record {
        let event = Event::Fork {
            parent: NOBODY + 1,
            child: NOBODY,
        };
        Record { time, event }
    }

    fn exec(time: u64) -> Record {
        let event = Event::Exec { tgid: NOBODY };
        Record { time, event }
    }

    fn map(time: u64, start: u64) -> Record {
        let event = Event::Mmap(MmapRecord {
            tgid: NOBODY,
            start,
            end: start + 0x1000,
            offset: 0,
            device: (0, 0),
            inode: 0,
            inode_generation: 0,
            path: b"//anon".to_vec(),
        });
        Record { time, event }
    }

    /// A sample of before an exec is looked up in what was mapped before it, one of after it in what was mapped after it.
    #[test]
    fn programs_of_one_process_are_told_apart() {
        let mut processes = Processes::new(Files::for_test(), PublishDelays::default());
        processes.apply(vec![fork(10), map(20, 0x1000), exec(30), map(40, 0x8000)]);
        let has = |generation, address| {
            let mappings = processes.mappings(thread(generation)).unwrap();
            mappings.find(address).is_some()
        };
        assert!(has(11, 0x1000) && !has(11, 0x8000));
        assert!(!has(31, 0x1000) && has(31, 0x8000));
    }

    /// A process whose end is among the lost records is forgotten all the same.
    #[test]
    fn lost_ends_are_made_up_for() {
        let mut processes = Processes::new(Files::for_test(), PublishDelays::default());
        let lost = Record {
            time: 20,
            event: Event::Lost(7),
        };
        processes.apply(vec![fork(10), lost]);
        processes.forget_ended(u64::MAX);
        assert!(processes.mappings(thread(11)).is_some());
        processes.catch_up();
        processes.forget_ended(u64::MAX);
        assert!(processes.mappings(thread(11)).is_none());
        assert_eq!(processes.trouble().records_lost, 7);
    }
}
