//! All processes and the programs they have run, kept true by the kernel's records and repaired from /proc.

use super::code_names::CodeNames;
use super::code_sources::MappedDump;
use super::declarations::Declarations;
use super::files::Hint;
use super::inspector::{Inspector, Suspect};
use super::mappings::{Inserted, Mapping};
use super::program::Program;
use super::repair::Since;
use super::{Files, MappedFile, Mappings, PublishDelays, maps, run_time};
use crate::owner::{Declaration, Declared};
use bpf::sideband::{Event, MmapRecord, Record};
use bpf::{FileId, Thread};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Programs remembered of one process: a shell that execs itself without end must not fill memory.
const PROGRAMS: usize = 64;

/// After more records than this at once their reader, which has priority, leaves its CPU to others for a moment: whoever maps
/// and unmaps without end must not keep them from running.
const STORM: usize = 1000;
const BREATH: Duration = Duration::from_millis(1);

/// What went wrong with keeping mappings true, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// Records of the kernel's that found their ring full.
    pub(crate) records_lost: u64,
    /// Mappings beyond what is kept of one process.
    pub(crate) mappings_dropped: u64,
    /// Programs whose mappings were read from /proc because of an address in none of them.
    pub(crate) repairs: u64,
    /// Lists of mappings that walks could not be told of at once, for want of memory or because their process changes its
    /// mappings too often.
    pub(crate) lists_refused: u64,
    /// Functions of code made at run time that have no name for want of memory.
    pub(crate) functions_dropped: u64,
    /// Programs whose environment and command line could not be read.
    pub(crate) undeclared: u64,
}

/// All processes that live, or did during the window.
pub(crate) struct Processes {
    pub(super) by_tgid: HashMap<u32, Vec<Program>>,
    /// Those whose mappings the walk is still to be told of.
    pub(super) unpublished: HashSet<u32>,
    /// Files that were mapped since they were asked for last, and when, CLOCK_MONOTONIC nanoseconds.
    mapped: Vec<(FileId, u64)>,
    pub(super) files: Files,
    pub(super) maps: maps::Reader,
    pub(super) inspector: Inspector,
    pub(super) code_names: CodeNames,
    pub(super) declarations: Declarations,
    /// That of a process nobody has seen.
    undeclared: Declared,
    pub(super) delays: PublishDelays,
    /// A list found no room, and when memory may be waited for, CLOCK_MONOTONIC nanoseconds.
    pub(super) starved: bool,
    pub(super) reclaim_not_before: u64,
    /// It has been said that walks cannot be told of mappings.
    pub(super) complained: bool,
    pub(super) trouble: Trouble,
    /// Records are missing since /proc was last read.
    pub(super) incomplete: bool,
    /// Code of the kernel came or went, or may have.
    kernel_changed: bool,
}

impl Processes {
    /// Knows no process yet. Its threads `wake` whoever is to call [`Processes::take_inspected`].
    pub(crate) fn new(
        files: Files,
        delays: PublishDelays,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let undeclared = Declared::default();
        undeclared.set(Declaration::default());
        Ok(Self {
            declarations: Declarations::start()?,
            undeclared,
            inspector: Inspector::start(wake)?,
            code_names: CodeNames::start()?,
            by_tgid: HashMap::new(),
            unpublished: HashSet::new(),
            mapped: Vec::new(),
            files,
            maps: maps::Reader::default(),
            delays,
            starved: false,
            reclaim_not_before: 0,
            complained: false,
            trouble: Trouble::default(),
            incomplete: false,
            kernel_changed: false,
        })
    }

    /// What went wrong since the start.
    pub(crate) fn trouble(&self) -> Trouble {
        Trouble {
            functions_dropped: self.code_names.dropped(),
            undeclared: self.declarations.unread(),
            ..self.trouble
        }
    }

    /// The file that has this number in words.
    pub(crate) fn file(&self, id: FileId) -> Option<&Arc<MappedFile>> {
        self.files.by_id(id)
    }

    /// Takes the kernel's records, oldest first.
    pub(crate) fn apply(&mut self, records: Vec<Record>) {
        let mut lost = 0;
        let is_storm = records.len() > STORM;
        for Record { time, event } in records {
            match event {
                Event::Fork { parent, child } => self.fork(parent, child, time),
                Event::Exec { tgid } => {
                    let declared = self.declarations.read(tgid);
                    self.begin(tgid, Program::execed(time, declared));
                }
                Event::Exit { tgid } => self.end(tgid, time),
                Event::Mmap(mmap) => self.map(&mmap, time),
                Event::KernelCode => self.kernel_changed = true,
                Event::Lost(records) => lost += records,
            }
        }
        if lost > 0 {
            self.kernel_changed = true;
            self.trouble.records_lost = self.trouble.records_lost.saturating_add(lost);
            if !self.incomplete {
                tracing::warn!(
                    "records of processes and mappings were lost: /proc is read again with this window"
                );
            }
            self.note_missing();
        }
        if is_storm {
            std::thread::sleep(BREATH);
        }
    }

    /// Whether code of the kernel came or went since the last call.
    pub(crate) fn take_kernel_change(&mut self) -> bool {
        std::mem::take(&mut self.kernel_changed)
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(crate) fn tend(&self) {
        self.files.tend();
        self.inspector.tend();
        self.declarations.tend();
        self.look_for_names();
    }

    /// Files that were mapped since the last call, and when, CLOCK_MONOTONIC nanoseconds.
    pub(crate) fn take_mapped(&mut self) -> Vec<(FileId, u64)> {
        std::mem::take(&mut self.mapped)
    }

    /// Forgets files that nobody has mapped any more, and returns their numbers. Once a window.
    pub(crate) fn forget_files(&mut self) -> Vec<FileId> {
        self.files.forget_unneeded()
    }

    /// The mappings a thread had when it was sampled; nothing if its process was never seen.
    pub(crate) fn mappings(&self, thread: Thread) -> Option<&Arc<Mappings>> {
        self.program(thread).map(|program| &program.mappings)
    }

    /// What the process of a thread said of itself when that was sampled.
    pub(crate) fn declared(&self, thread: Thread) -> &Declared {
        let program = self.program(thread);
        program.map_or(&self.undeclared, |program| &program.declared)
    }

    pub(super) fn program(&self, thread: Thread) -> Option<&Program> {
        let programs = self.by_tgid.get(&thread.tgid)?;
        // The kernel program takes a generation's time just after the record of the same fork or exec is written.
        let mut programs = programs.iter().rev();
        programs.find(|program| program.begin <= thread.generation)
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

    /// Takes what turned out to be the code of a file, although it is mapped as memory of none.
    pub(crate) fn take_inspected(&mut self) {
        for Suspect {
            tgid,
            begin,
            mapping,
        } in self.inspector.found()
        {
            let program = self.by_tgid.get_mut(&tgid).and_then(|all| all.last_mut());
            let Some(program) = program.filter(|program| program.begin == begin) else {
                continue;
            };
            let there = program.mappings.find(mapping.start);
            if there.is_none_or(|there| there.file.is_some() || there.end < mapping.end) {
                continue;
            }
            Arc::make_mut(&mut program.mappings).insert(mapping);
            program.publication.outdate();
            self.unpublished.insert(tgid);
        }
    }

    fn fork(&mut self, parent: u32, child: u32, time: u64) {
        let known = self
            .by_tgid
            .get(&parent)
            .and_then(|programs| programs.last());
        let forked = |program: &Program| {
            let declared = self.declarations.of_fork(child, &program.declared);
            program.forked(time, declared)
        };
        match known.map(forked) {
            Some(program) => self.begin(child, program),
            None => {
                let declared = self.declarations.read(child);
                self.begin(child, Program::new(time, Arc::default(), 0, declared));
                self.read(child, Since::Known);
            }
        }
    }

    fn begin(&mut self, tgid: u32, program: Program) {
        let programs = self.by_tgid.entry(tgid).or_default();
        if let Some(last) = programs.last_mut() {
            if program.begin <= last.begin {
                return;
            }
            if program.begin <= last.read_at {
                // Its mappings are known better; what it says of itself may have been read before it began.
                last.declared = program.declared;
                return;
            }
            last.ended.get_or_insert(program.begin);
            // No walk is of the old program any more.
            last.publication.outdate();
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
            self.read(mmap.tgid, Since::Known);
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
        self.mapped
            .extend(file.as_ref().map(|file| (file.id(), time)));
        let mapping = Mapping {
            start: mmap.start,
            end: mmap.end,
            offset: mmap.offset,
            file,
        };
        if mapping.file.is_none() {
            for mapping in program.cover(mmap.start, mmap.end) {
                self.inspector.inspect(Suspect {
                    tgid: mmap.tgid,
                    begin: program.begin,
                    mapping,
                });
            }
        }
        let dump = MappedDump::of(&mmap.path, mmap.inode);
        if mapping.file.is_none() || dump.is_some() {
            run_time::watch(&mut self.code_names, program, mmap.tgid, dump);
        }
        program.last_mapped = time;
        program.publication.is_waiting(time);
        self.unpublished.insert(mmap.tgid);
        match Arc::make_mut(&mut program.mappings).insert(mapping) {
            Inserted::Already => {
                program.publication.unconfirm();
                return;
            }
            Inserted::Yes => {}
            // What was mapped there before is gone all the same.
            Inserted::No => self.trouble.mappings_dropped += 1,
        }
        program.publication.outdate();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bpf::Place;
    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
    use std::ffi::c_void;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    /// Beyond PID_MAX_LIMIT: no process ever has it.
    const NOBODY: u32 = 5_000_000;

    fn processes() -> Processes {
        let delays = PublishDelays::default();
        Processes::new(Files::for_test(), delays, Arc::new(|| {})).unwrap()
    }

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
        let mut processes = processes();
        processes.apply(vec![fork(10), map(20, 0x1000), exec(30), map(40, 0x8000)]);
        let has = |generation, address| {
            let mappings = processes.mappings(thread(generation)).unwrap();
            mappings.find(address).is_some()
        };
        assert!(has(11, 0x1000) && !has(11, 0x8000));
        assert!(!has(31, 0x1000) && has(31, 0x8000));
    }

    /// A sample of a program that is not remembered has no mappings, rather than another program's.
    #[test]
    fn forgotten_programs_have_no_mappings() {
        let mut processes = processes();
        processes.apply(vec![exec(30), map(40, 0x8000)]);
        assert!(processes.mappings(thread(20)).is_none());
        assert!(processes.mappings(thread(31)).is_some());
    }

    /// A mapping that is one too many is not kept, but the walk is told that it has taken the place of another.
    #[test]
    fn what_is_dropped_changes_the_mappings() {
        let mut processes = processes();
        processes.apply(vec![fork(10)]);
        let full = (1..=bpf::LONGEST_LIST as u64).map(|number| map(20, number * 0x2000));
        processes.apply(full.collect());
        processes.unpublished.clear();
        processes.apply(vec![map(30, 0x1f800)]);
        assert_eq!(processes.trouble().mappings_dropped, 1);
        assert!(processes.unpublished.contains(&NOBODY));
        let mappings = processes.mappings(thread(11)).unwrap();
        assert!(mappings.find(0x20000).is_none() && mappings.find(0x20800).is_some());
    }

    /// A process whose end is among the lost records is forgotten all the same.
    #[test]
    fn lost_ends_are_made_up_for() {
        let mut processes = processes();
        let lost = Record {
            time: 20,
            event: Event::Lost(7),
        };
        processes.apply(vec![fork(10), map(15, 0x1000), lost]);
        // Walks are not told of what may be another program's.
        assert!(processes.publication_due().is_none());
        processes.forget_ended(u64::MAX);
        assert!(processes.mappings(thread(11)).is_some());
        processes.catch_up();
        assert!(processes.publication_due().is_some());
        processes.forget_ended(u64::MAX);
        assert!(processes.mappings(thread(11)).is_none());
        assert_eq!(processes.trouble().records_lost, 7);
    }

    /// Memory of this process, executable or not as a record of the kernel's would say.
    struct Memory(*mut c_void);

    const LENGTH: usize = 64 << 12;

    impl Memory {
        /// A part of a file.
        fn of(file: &File) -> Self {
            let (flags, prot) = (MapFlags::PRIVATE, ProtFlags::READ);
            // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
            let at = unsafe { mmap(std::ptr::null_mut(), LENGTH, prot, flags, file, 4096) };
            Self(at.unwrap())
        }

        /// What programs do that move their code to huge pages, and so those that overwrite it.
        fn move_off_the_file(&self, change: Option<usize>) {
            // SAFETY: the mapping is this test's own and nobody else looks at it.
            unsafe {
                let mut copy = std::slice::from_raw_parts(self.0.cast::<u8>(), LENGTH).to_vec();
                if let Some(byte) = change {
                    copy[byte] ^= 1;
                }
                let (flags, prot) = (
                    MapFlags::PRIVATE | MapFlags::FIXED,
                    ProtFlags::READ | ProtFlags::WRITE,
                );
                mmap_anonymous(self.0, LENGTH, prot, flags).unwrap();
                self.0.cast::<u8>().copy_from(copy.as_ptr(), LENGTH);
            }
        }

        fn record(&self, time: u64, inode: u64, path: &[u8]) -> Record {
            let start = self.0 as u64;
            let event = Event::Mmap(MmapRecord {
                tgid: std::process::id(),
                start,
                end: start + LENGTH as u64,
                offset: 4096,
                device: (0, 0),
                inode,
                inode_generation: 0,
                path: path.to_vec(),
            });
            Record { time, event }
        }
    }

    /// Code that was moved to memory of no file is the file's still, if every byte that is looked at is the same.
    #[test]
    fn code_on_huge_pages_keeps_its_file() {
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy("/proc/self/exe", copy.path()).unwrap();
        let inode = copy.as_file().metadata().unwrap().ino();
        let path = copy.path().as_os_str().as_encoded_bytes();
        let mut processes = processes();
        let this = std::process::id();
        let exec = Event::Exec { tgid: this };
        processes.apply(vec![Record {
            time: 10,
            event: exec,
        }]);
        let word = |processes: &Processes, memory: &Memory| {
            let thread = Thread {
                tgid: this,
                tid: this,
                generation: 10,
            };
            let mappings = processes.mappings(thread).unwrap();
            mappings.word(memory.0 as u64 + 0x10).unwrap().place()
        };
        for (change, time) in [(None, 20), (Some(0), 30), (Some(LENGTH - 1), 40)] {
            let memory = Memory::of(copy.as_file());
            processes.apply(vec![memory.record(time, inode, path)]);
            let in_file = word(&processes, &memory);
            assert!(matches!(in_file, Place::File { offset: 0x1010, .. }));
            memory.move_off_the_file(change);
            processes.apply(vec![memory.record(time + 1, 0, b"//anon")]);
            assert!(matches!(word(&processes, &memory), Place::Anonymous(_)));
            while !processes.inspector.is_idle() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            processes.take_inspected();
            let is_known = word(&processes, &memory) == in_file;
            assert_eq!(is_known, change.is_none(), "{change:?}");
        }
    }
}
