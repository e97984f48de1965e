//! All processes and the programs they have run, kept true by the kernel's records and repaired from /proc.

use super::files::Hint;
use super::mappings::Mapping;
use super::{Files, Mappings, maps};
use bpf::Thread;
use bpf::sideband::{Event, MmapRecord, Record, monotonic_nanos};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Programs remembered of one process: a shell that execs itself without end must not fill memory.
const PROGRAMS: usize = 64;
/// Shortest and longest time between two looks at /proc for one program, nanoseconds.
const REPAIR: (u64, u64) = (1_000_000_000, 300_000_000_000);

/// One program that a process ran: from a fork or an exec to the next exec or the end.
struct Program {
    /// When it began, CLOCK_MONOTONIC nanoseconds; 0: before the records.
    begin: u64,
    ended: Option<u64>,
    mappings: Arc<Mappings>,
    /// Its mappings were read from /proc then: an older record must not undo that.
    read_at: u64,
    repair: Repair,
}

/// When /proc may be asked again for a program whose mappings seem incomplete.
#[derive(Clone, Copy)]
struct Repair {
    not_before: u64,
    pause: u64,
}

impl Program {
    fn new(begin: u64, mappings: Arc<Mappings>, read_at: u64) -> Self {
        Self {
            begin,
            ended: None,
            mappings,
            read_at,
            repair: Repair {
                not_before: 0,
                pause: REPAIR.0,
            },
        }
    }
}

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
    by_tgid: HashMap<u32, Vec<Program>>,
    files: Files,
    trouble: Trouble,
    /// Records are missing since /proc was last read.
    incomplete: bool,
}

impl Processes {
    /// Knows no process yet.
    pub(crate) fn new(files: Files) -> Self {
        Self {
            by_tgid: HashMap::new(),
            files,
            trouble: Trouble::default(),
            incomplete: false,
        }
    }

    /// What went wrong since the start.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble
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
                Event::Exec { tgid } => self.begin(tgid, time, Arc::default()),
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
                || now < program.repair.not_before
            {
                return false;
            }
            // Addresses that frame pointers made up are in no mapping ever: ask more and more seldom.
            program.repair.not_before = now + program.repair.pause;
            program.repair.pause = (program.repair.pause * 2).min(REPAIR.1);
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
        match known.map(|program| Arc::clone(&program.mappings)) {
            Some(mappings) => self.begin(child, time, mappings),
            None => {
                self.begin(child, time, Arc::default());
                self.read(child);
            }
        }
    }

    fn begin(&mut self, tgid: u32, time: u64, mappings: Arc<Mappings>) {
        let programs = self.by_tgid.entry(tgid).or_default();
        if let Some(last) = programs.last_mut() {
            if time <= last.read_at || time <= last.begin {
                return;
            }
            last.ended.get_or_insert(time);
        }
        programs.push(Program::new(time, mappings, 0));
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
        let hint = Hint {
            device: mmap.device,
            inode: mmap.inode,
            generation: Some(mmap.inode_generation),
            path: mmap.path.clone(),
        };
        let range = (mmap.start, mmap.end);
        let file = self.files.of_mapping(mmap.tgid, range, mmap.offset, &hint);
        let mapping = Mapping {
            start: mmap.start,
            end: mmap.end,
            offset: mmap.offset,
            file,
        };
        if !Arc::make_mut(&mut program.mappings).insert(mapping) {
            self.trouble.mappings_dropped += 1;
        }
    }

    /// Takes a process's mappings from /proc; false if it is gone or has none.
    fn read(&mut self, tgid: u32) -> bool {
        let before = monotonic_nanos();
        let lines = match maps::read(tgid) {
            Ok(lines) if !lines.is_empty() => lines,
            _ => return false,
        };
        let mut mappings = Mappings::default();
        for line in lines {
            let range = (line.start, line.end);
            let file = self.files.of_mapping(tgid, range, line.offset, &line.hint);
            let mapping = Mapping {
                start: line.start,
                end: line.end,
                offset: line.offset,
                file,
            };
            if !mappings.insert(mapping) {
                self.trouble.mappings_dropped += 1;
            }
        }
        let mappings = Arc::new(mappings);
        let programs = self.by_tgid.entry(tgid).or_default();
        match programs.last_mut() {
            Some(last) if last.ended.is_none() => {
                last.mappings = mappings;
                last.read_at = before;
            }
            _ => {
                // Whatever began it has left no record.
                let begin = programs.last().and_then(|last| last.ended).unwrap_or(0);
                programs.push(Program::new(begin, mappings, before));
            }
        }
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
        let mut processes = Processes::new(Files::new().unwrap());
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
        let mut processes = Processes::new(Files::new().unwrap());
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
