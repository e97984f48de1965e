//! What the kernel tells of processes as it happens: programs started, files mapped executable, processes gone.
//!
//! The records come from a dummy event on each CPU, in rings that are read here. munmap, mremap and data mapped over
//! code leave no record: whoever keeps mappings by these repairs them from /proc.

use crate::Error;
use perf_event::data::endian::Native;
use perf_event::data::parse::Parser;
use perf_event::data::{self, RecordMetadata, Visitor};
use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of each CPU's ring: room for the records of some 150 programs started at once.
const RING_BYTES: usize = 256 << 10;

/// `PROT_EXEC` and the misc bit that tells an exec from a mere change of name.
const PROT_EXEC: u32 = libc::PROT_EXEC as u32;
const MISC_COMM_EXEC: u16 = 1 << 13;

/// One record, with the time it was written: nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug)]
pub struct Record {
    /// When.
    pub time: u64,
    /// What.
    pub event: Event,
}

/// What a record tells.
#[derive(Debug)]
pub enum Event {
    /// A process began another program: all its mappings are gone.
    Exec {
        /// The process.
        tgid: u32,
    },
    /// A process made another one, which has the same mappings.
    Fork {
        /// The one that forked.
        parent: u32,
        /// The new process.
        child: u32,
    },
    /// The main thread of a process ended.
    Exit {
        /// The process.
        tgid: u32,
    },
    /// A piece of a file, or of memory of no file, was mapped executable.
    Mmap(MmapRecord),
    /// A BPF program, or other code that the kernel makes at run time, came or went.
    KernelCode,
    /// The ring was full: this many records are missing.
    Lost(u64),
}

/// A new executable mapping.
#[derive(Debug)]
pub struct MmapRecord {
    /// The process.
    pub tgid: u32,
    /// First virtual address.
    pub start: u64,
    /// The virtual address behind the last.
    pub end: u64,
    /// Where in the file `start` lies, bytes.
    pub offset: u64,
    /// Device of the file, major and minor: a hint (overlayfs and btrfs show others elsewhere).
    pub device: (u32, u32),
    /// Its inode number; 0 for memory of no file.
    pub inode: u64,
    /// Its inode's generation, where the file system keeps one.
    pub inode_generation: u64,
    /// Path in the process's view, or a label such as `[vdso]` and `//anon`.
    pub path: Vec<u8>,
}

/// What one reading brought.
#[derive(Debug)]
pub struct Records {
    /// In order of time across CPUs and readings.
    pub records: Vec<Record>,
    /// CLOCK_MONOTONIC nanoseconds: all that was written until then has been returned by now.
    pub until: u64,
}

/// The rings of all online CPUs.
#[derive(Default)]
pub struct Sideband {
    rings: BTreeMap<u32, Sampler>,
    /// Read already, but something older may still be in a ring.
    held: Vec<Record>,
}

impl Sideband {
    /// Subscribes on these CPUs, anew where there is a ring already: a ring whose CPU went offline stays silent when it is back.
    pub fn subscribe(&mut self, cpus: &BTreeSet<u32>) -> Result<(), Error> {
        for &cpu in cpus {
            match open(cpu) {
                Ok(ring) => {
                    if let Some(mut old) = self.rings.insert(cpu, ring) {
                        read_ring(&mut old, &mut self.held);
                    }
                }
                Err(source) if source.raw_os_error() == Some(libc::ENODEV) => {}
                Err(source) => {
                    return Err(Error::Event {
                        event: "mapping",
                        cpu,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Descriptors that are readable when there are records.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        // SAFETY: the descriptor belongs to the ring, which outlives the borrow.
        self.rings
            .values()
            .map(|ring| unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) })
    }

    /// The records written until now.
    ///
    /// The rings are read one after the other, while a process that moves from one CPU to another leaves an exec in the one
    /// and mappings in the other. So what was written after the reading began is held back for the next call, and no longer, whatever
    /// its time says: by then all that is older has been read.
    pub fn read(&mut self) -> Records {
        let until = monotonic_nanos();
        let held_until = self.held.last().map_or(0, |record| record.time);
        for ring in self.rings.values_mut() {
            read_ring(ring, &mut self.held);
        }
        self.held.sort_by_key(|record| record.time);
        let ready = self
            .held
            .partition_point(|record| record.time <= until.max(held_until));
        Records {
            records: self.held.drain(..ready).collect(),
            until,
        }
    }

    /// Whether records are held back: no descriptor wakes for them.
    pub fn holds_records(&self) -> bool {
        !self.held.is_empty()
    }
}

/// CLOCK_MONOTONIC now: the clock of records and generations.
pub fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn open(cpu: u32) -> std::io::Result<Sampler> {
    Builder::new(Software::DUMMY)
        .any_pid()
        .one_cpu(cpu as usize)
        .exclude_kernel(false)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true)
        .ksymbol(true)
        .sample(SampleFlag::TID | SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        // wakeup_events counts samples only, and a dummy event has none: it would never wake a reader.
        .wakeup_watermark(1)
        .enabled(true)
        .build()?
        .sampled(RING_BYTES)
}

fn read_ring(ring: &mut Sampler, into: &mut Vec<Record>) {
    let config = ring.config().clone();
    while let Some(record) = ring.next_record() {
        let header = perf_event_header(record.ty(), record.misc(), record.len());
        let bytes = record.to_contiguous();
        let mut parser: Parser<_, Native> = Parser::new(bytes.as_ref(), config.clone());
        // A record this library cannot read is as good as lost.
        match parser.parse_record_with_header(Reader, header) {
            Ok(Some(record)) => into.push(record),
            Ok(None) => {}
            Err(_) => into.push(Record {
                time: 0,
                event: Event::Lost(1),
            }),
        }
    }
}

fn perf_event_header(
    ty: u32,
    misc: u16,
    len: usize,
) -> perf_event_open_sys::bindings::perf_event_header {
    perf_event_open_sys::bindings::perf_event_header {
        type_: ty,
        misc,
        size: (len + 8) as u16,
    }
}

/// Picks the records that matter here.
struct Reader;

impl Reader {
    fn record(metadata: &RecordMetadata, event: Event) -> Option<Record> {
        Some(Record {
            time: metadata.sample_id().time().unwrap_or(0),
            event,
        })
    }
}

impl<'a> Visitor<'a> for Reader {
    type Output = Option<Record>;

    fn visit_unimplemented(self, _: RecordMetadata) -> Self::Output {
        None
    }

    fn visit_lost(self, record: data::Lost, metadata: RecordMetadata) -> Self::Output {
        Self::record(&metadata, Event::Lost(record.lost))
    }

    fn visit_comm(self, record: data::Comm<'a>, metadata: RecordMetadata) -> Self::Output {
        if metadata.misc() & MISC_COMM_EXEC == 0 {
            return None;
        }
        Self::record(&metadata, Event::Exec { tgid: record.pid })
    }

    fn visit_fork(self, record: data::Fork, metadata: RecordMetadata) -> Self::Output {
        if record.pid == record.ppid {
            return None;
        }
        Self::record(
            &metadata,
            Event::Fork {
                parent: record.ppid,
                child: record.pid,
            },
        )
    }

    fn visit_exit(self, record: data::Exit, metadata: RecordMetadata) -> Self::Output {
        if record.pid != record.tid {
            return None;
        }
        Self::record(&metadata, Event::Exit { tgid: record.pid })
    }

    fn visit_ksymbol(self, _: data::KSymbol<'a>, metadata: RecordMetadata) -> Self::Output {
        Self::record(&metadata, Event::KernelCode)
    }

    fn visit_mmap2(self, record: data::Mmap2<'a>, metadata: RecordMetadata) -> Self::Output {
        if record.prot & PROT_EXEC == 0 {
            return None;
        }
        let path = record.filename.split(|byte| *byte == 0).next();
        let mmap = MmapRecord {
            tgid: record.pid,
            start: record.addr,
            end: record.addr.saturating_add(record.len),
            offset: record.pgoff,
            device: (record.maj().unwrap_or(0), record.min().unwrap_or(0)),
            inode: record.ino().unwrap_or(0),
            inode_generation: record.ino_generation().unwrap_or(0),
            path: path.unwrap_or_default().to_vec(),
        };
        Self::record(&metadata, Event::Mmap(mmap))
    }
}
