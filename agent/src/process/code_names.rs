//! Names of the code that programs make at run time, read on a thread of their own from the files that they write.

use super::code_sources::{MappedDump, Teller};
use crate::pool::{self, Pool};
use bpf::sideband::monotonic_nanos;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use symbolizer::{Jitdump, PerfMap, RunTimeCode};

const OPTIONS: pool::Options = pool::Options {
    name: "code names",
    threads: 1,
    queue: 1024,
    patience: Duration::from_secs(2),
};
/// Memory for the names of all programs: node itself tells of 1,500 functions, which take 250 KB.
const BYTES: usize = 4 << 20;
/// Programs whose files are open.
const PROGRAMS: usize = 512;
/// Bytes of all files that are read for one window.
const WORK: u64 = 8 << 20;
/// Shortest and longest time between two looks for files that are not there, nanoseconds. Some make them a moment after their first
/// code, most never.
const PAUSE: (u64, u64) = (20_000_000, 300_000_000_000);
/// Until it is as long, nobody waits for an occasion to look: a program may be gone in a second.
const YOUNG: u64 = 1_000_000_000;

/// The thread, and what all programs share.
pub(super) struct CodeNames {
    pool: Pool<Arc<ProgramCode>>,
    shares: Arc<Shares>,
    /// Programs that have made their first code lately, and have not told of it yet.
    young: Vec<Arc<ProgramCode>>,
}

#[derive(Default)]
struct Shares {
    bytes: AtomicUsize,
    programs: AtomicUsize,
    /// Functions of all programs that found no room.
    dropped: AtomicU64,
    /// Bytes that may still be read for this window.
    work: AtomicU64,
}

/// The code that one program has made.
pub(super) struct ProgramCode {
    tgid: u32,
    /// When the program began, CLOCK_MONOTONIC nanoseconds.
    begin: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Only the thread has these.
    sources: Mutex<Sources>,
    shares: Arc<Shares>,
}

struct State {
    code: RunTimeCode,
    /// It waits to be read, or is being read.
    busy: bool,
    /// Reading it hangs.
    given_up: bool,
    /// There is something to be read.
    has_source: bool,
    /// It is among those whose files are open.
    is_counted: bool,
    /// Mapped, and not opened yet.
    dump: Option<MappedDump>,
    /// CLOCK_MONOTONIC nanoseconds.
    look_again: u64,
    pause: u64,
}

#[derive(Default)]
struct Sources {
    map: Option<PerfMap>,
    dump: Option<Jitdump>,
}

impl CodeNames {
    pub(super) fn start() -> io::Result<Self> {
        let give_up = |program: &Arc<ProgramCode>, why| {
            let mut state = program.lock();
            // A reading that has ended just now does not hang.
            state.given_up = state.busy && why != pool::GivenUp::Full;
            state.busy = false;
            drop(state);
            program.changed.notify_all();
            tracing::debug!("names of run-time code of process {}: {why}", program.tgid);
        };
        Ok(Self {
            pool: Pool::start(
                OPTIONS,
                |program: &Arc<ProgramCode>| program.read(),
                give_up,
            )?,
            shares: Arc::new(Shares {
                work: AtomicU64::new(WORK),
                ..Shares::default()
            }),
            young: Vec::new(),
        })
    }

    /// A program that makes code, of which nothing is known yet.
    pub(super) fn of(&mut self, tgid: u32, begin: u64) -> Arc<ProgramCode> {
        let program = Arc::new(ProgramCode {
            tgid,
            begin,
            state: Mutex::new(State {
                code: RunTimeCode::new(0),
                busy: false,
                given_up: false,
                has_source: false,
                is_counted: false,
                dump: None,
                look_again: 0,
                pause: PAUSE.0,
            }),
            changed: Condvar::new(),
            sources: Mutex::default(),
            shares: Arc::clone(&self.shares),
        });
        self.young.push(Arc::clone(&program));
        program
    }

    /// Looks for the files of young programs, and says when to do so again, CLOCK_MONOTONIC nanoseconds.
    pub(super) fn look_for_young(&mut self) -> Option<u64> {
        let mut young = std::mem::take(&mut self.young);
        young.retain(|program| {
            self.look(program, None);
            program.lock().is_young()
        });
        self.young = young;
        // What hangs is not waited for.
        let now = monotonic_nanos();
        let programs = self.young.iter().map(|program| program.lock().look_again);
        programs.filter(|time| *time > now).min()
    }

    /// Functions that have no name for want of memory.
    pub(super) fn dropped(&self) -> u64 {
        self.shares.dropped.load(Ordering::Relaxed)
    }

    /// A window is over: so much may be read for it.
    pub(super) fn begin_window(&self) {
        self.shares.work.store(WORK, Ordering::Relaxed);
    }

    /// Looks for files that were not there, if it is time to.
    pub(super) fn look(&self, program: &Arc<ProgramCode>, dump: Option<MappedDump>) {
        let mut state = program.lock();
        if dump.is_some() {
            state.look_again = 0;
            state.dump = dump;
        }
        if !state.has_source || state.dump.is_some() {
            self.submit(program, state);
        }
    }

    /// Has read what a program has told since the last time. True if that is worth waiting for.
    pub(super) fn refresh(&self, program: &Arc<ProgramCode>) -> bool {
        self.submit(program, program.lock())
    }

    fn submit(&self, program: &Arc<ProgramCode>, mut state: MutexGuard<'_, State>) -> bool {
        let now = monotonic_nanos();
        let is_due = state.has_source || now >= state.look_again;
        if state.busy || state.given_up || !is_due {
            return false;
        }
        state.busy = true;
        if !state.has_source {
            state.look_again = now.saturating_add(state.pause);
            state.pause = (state.pause * 2).min(PAUSE.1);
        }
        drop(state);
        self.pool.submit(Arc::clone(program));
        true
    }

    /// Lets no program hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

impl State {
    fn is_young(&self) -> bool {
        !self.has_source && !self.given_up && self.pause < YOUNG
    }
}

impl ProgramCode {
    /// Waits until what was to be read is read.
    pub(super) fn wait(&self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        let is_busy = |state: &mut State| state.busy;
        // Without an answer what was read before has to do.
        drop(
            self.changed
                .wait_timeout_while(self.lock(), patience, is_busy),
        );
    }

    /// What the function at a virtual address is called.
    pub(super) fn name(&self, address: u64) -> Option<Arc<str>> {
        self.lock().code.name(address).cloned()
    }

    /// A thread that panicked while it held the lock has left an answer that is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's work.
    fn read(&self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        self.open(&mut sources);
        let (before, dropped) = {
            let code = &self.lock().code;
            (code.bytes(), code.dropped())
        };
        let others = self
            .shares
            .bytes
            .load(Ordering::Relaxed)
            .saturating_sub(before);
        self.lock().code.allow(BYTES.saturating_sub(others));
        if let Some(map) = &mut sources.map {
            self.take(|most| map.read(most, |change| self.lock().code.apply(&change)));
        }
        if let Some(dump) = &mut sources.dump {
            let read = |most| dump.read(most, |change| self.lock().code.apply(&change));
            if !self.take(read) {
                // What comes behind the damage is no record.
                sources.dump = None;
            }
        }
        let mut state = self.lock();
        let after = state.code.bytes();
        let dropped = state.code.dropped() - dropped;
        state.has_source = sources.map.is_some() || sources.dump.is_some();
        state.busy = false;
        // It was only slow.
        state.given_up = false;
        drop(state);
        self.shares.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.shares.bytes.fetch_add(after, Ordering::Relaxed);
        self.shares.bytes.fetch_sub(before, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Opens what there is and is not open yet.
    fn open(&self, sources: &mut Sources) {
        let has_none = |sources: &Sources| sources.map.is_none() && sources.dump.is_none();
        let mut state = self.lock();
        let (dump, is_counted) = (state.dump.take(), state.is_counted);
        drop(state);
        let is_full = || self.shares.programs.load(Ordering::Relaxed) >= PROGRAMS;
        if dump.is_none() && !has_none(sources) || !is_counted && is_full() {
            return;
        }
        let said = |error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!("names of run-time code of process {}: {error}", self.tgid);
            }
        };
        match Teller::of(self.tgid, self.begin) {
            Ok(teller) => {
                if let Some(dump) = dump {
                    sources.dump = teller.jitdump(&dump).map_err(said).ok();
                }
                if has_none(sources) {
                    sources.map = teller.perf_map().map_err(said).ok();
                }
            }
            // It has ended.
            Err(error) => said(error),
        }
        if !is_counted && !has_none(sources) {
            self.lock().is_counted = true;
            self.shares.programs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has as much read as this window may take; false if it cannot be read.
    fn take<E: std::error::Error>(&self, read: impl FnOnce(u64) -> Result<u64, E>) -> bool {
        let most = self.shares.work.load(Ordering::Relaxed);
        match read(most) {
            Ok(done) => {
                // Another window may have begun meanwhile, with work of its own.
                let less = |left: u64| Some(left.saturating_sub(done));
                let _ = self
                    .shares
                    .work
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                true
            }
            Err(error) => {
                tracing::debug!("names of run-time code of process {}: {error}", self.tgid);
                false
            }
        }
    }
}

impl Drop for ProgramCode {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shares
            .bytes
            .fetch_sub(state.code.bytes(), Ordering::Relaxed);
        if state.is_counted {
            self.shares.programs.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not there is looked for ever more seldom, and at once when a dump is mapped; nobody waits for what is not read.
    #[test]
    fn looking_in_vain_becomes_rare() {
        let mut names = CodeNames::start().unwrap();
        let nobody = names.of(5_000_000, 0);
        let far = || Instant::now() + Duration::from_secs(60);
        for _ in 0..30 {
            nobody.lock().look_again = 0;
            assert!(names.refresh(&nobody));
            nobody.wait(far());
            assert!(!nobody.lock().busy);
        }
        assert_eq!(nobody.lock().pause, PAUSE.1);
        assert!(!names.refresh(&nobody));
        names.look(&nobody, None);
        assert!(!nobody.lock().busy && nobody.name(0x1000).is_none());
        names.look(&nobody, MappedDump::of(b"/tmp/jit-1.dump", 1));
        nobody.wait(far());
        assert!(nobody.lock().dump.is_none());
    }

    /// The memory and the files of a program are given back with it.
    #[test]
    fn shares_are_given_back() {
        let mut names = CodeNames::start().unwrap();
        let mut written = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut written, b"1000 10 f\n").unwrap();
        let program = names.of(5_000_000, 0);
        let map = PerfMap::new(written.reopen().unwrap());
        program.sources.lock().unwrap().map = Some(map);
        names.refresh(&program);
        program.wait(Instant::now() + Duration::from_secs(60));
        assert_eq!(program.name(0x1008).as_deref(), Some("f"));
        assert!(names.shares.bytes.load(Ordering::Relaxed) > 0);
        // The thread lets go of it a moment later.
        while Arc::strong_count(&program) > 1 {
            assert!(names.look_for_young().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(program);
        assert_eq!(names.shares.bytes.load(Ordering::Relaxed), 0);
    }
}
