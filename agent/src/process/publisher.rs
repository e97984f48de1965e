//! Tells the walk in the kernel what is mapped where, as soon as it is known.

use super::program::Program;
use super::{Mappings, Processes};
use bpf::sideband::monotonic_nanos;
use bpf::{FileId, List, Published, Slot, Unwinder};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::{HashMap, HashSet};
use std::f64::consts::SQRT_2;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Least time between two waits for memory that lists have left, nanoseconds: each takes some 10 ms, in which nothing is published.
const RECLAIM: u64 = 100_000_000;

/// Time from the record of an exec, a fork or a mapping to the moment at which walks go by it, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct PublishDelays {
    /// Of new programs.
    pub(crate) program: Histogram,
    /// Of what a program maps later.
    pub(crate) mapping: Histogram,
    /// Of the tables of files that are mapped for the first time.
    pub(crate) table: Histogram,
}

impl Default for PublishDelays {
    fn default() -> Self {
        // From 50 us to 1.6 s.
        let histogram = || Histogram::new(exponential_buckets(50e-6, SQRT_2, 31));
        Self {
            program: histogram(),
            mapping: histogram(),
            table: histogram(),
        }
    }
}

impl Processes {
    /// Publishes the mappings of every process that the walk is still to be told of, and whose turn it is. All records
    /// written until `read_until` have been applied; `slot` says where the table of a file is. Nothing is published while records
    /// are missing: a process may run another program than the one that is known.
    pub(crate) fn publish(
        &mut self,
        unwinder: &mut Unwinder,
        mut slot: impl FnMut(&mut Unwinder, FileId) -> Option<Slot>,
        read_until: u64,
    ) {
        if self.incomplete {
            return;
        }
        let now = monotonic_nanos();
        if self.starved && now >= self.reclaim_not_before {
            if let Err(error) = unwinder.reclaim() {
                complain(&mut self.complained, &error);
            }
            self.starved = false;
            self.reclaim_not_before = monotonic_nanos() + RECLAIM;
        }
        // Forks that have changed nothing share a list.
        let mut lists = HashMap::new();
        let mut left = Vec::new();
        for tgid in self.unpublished.drain() {
            let Some(program) = self.by_tgid.get_mut(&tgid).and_then(|all| all.last_mut()) else {
                continue;
            };
            if program.publication.due() > now {
                self.trouble.lists_refused += u64::from(program.publication.is_paced(now));
                left.push(tgid);
                continue;
            }
            let fate = publish(tgid, program, unwinder, &mut slot, read_until, &mut lists);
            let fate = fate.unwrap_or_else(|error| {
                complain(&mut self.complained, &error);
                Fate::Failed
            });
            match fate {
                Fate::Over => program.publication.measure(&self.delays),
                Fate::NotYet => {
                    program.publication.try_again(now);
                    left.push(tgid);
                }
                Fate::NoRoom | Fate::Failed => {
                    self.starved |= matches!(fate, Fate::NoRoom);
                    self.trouble.lists_refused += u64::from(program.publication.is_refused());
                    program.publication.try_later(now);
                    left.push(tgid);
                }
            }
        }
        self.unpublished.extend(left);
    }

    /// The tables of these files are elsewhere now: the walk must be told by all who have them mapped.
    pub(crate) fn relist(&mut self, files: &[FileId]) {
        if files.is_empty() {
            return;
        }
        let files: HashSet<FileId> = files.iter().copied().collect();
        for (tgid, programs) in &mut self.by_tgid {
            if let Some(program) = programs.last_mut()
                && program
                    .mappings
                    .files()
                    .any(|file| files.contains(&file.id()))
            {
                program.publication.outdate();
                self.unpublished.insert(*tgid);
            }
        }
    }

    /// Lets go of the lists of processes that are gone. Before the end of a window, which frees their memory.
    pub(crate) fn drop_lists_of_the_gone(&mut self) {
        for (tgid, programs) in &mut self.by_tgid {
            if let Some(last) = programs.last_mut()
                && last.ended.is_some()
                && last.publication.list().is_some()
                // The main thread may end long before the others.
                && !Path::new(&format!("/proc/{tgid}")).exists()
            {
                last.publication.outdate();
            }
        }
    }

    /// When there is something to publish next, CLOCK_MONOTONIC nanoseconds.
    pub(crate) fn publication_due(&self) -> Option<u64> {
        if self.incomplete {
            return None;
        }
        let programs = self
            .unpublished
            .iter()
            .filter_map(|tgid| self.by_tgid.get(tgid)?.last());
        programs.map(|program| program.publication.due()).min()
    }
}

/// What became of one process.
enum Fate {
    /// The walk has been told, or there is nobody left to tell of.
    Over,
    /// Its program is only beginning.
    NotYet,
    /// No memory is left.
    NoRoom,
    /// The kernel has no memory or no descriptors for now.
    Failed,
}

/// Says once that walks cannot be told of mappings.
fn complain(complained: &mut bool, error: &bpf::Error) {
    if !std::mem::replace(complained, true) {
        tracing::warn!("some mappings are not known to the kernel programs for now: {error}");
    }
}

fn publish(
    tgid: u32,
    program: &mut Program,
    unwinder: &mut Unwinder,
    mut slot: impl FnMut(&mut Unwinder, FileId) -> Option<Slot>,
    read_until: u64,
    lists: &mut HashMap<*const Mappings, Rc<List>>,
) -> Result<Fate, bpf::Error> {
    if program.mappings.is_empty() {
        return Ok(Fate::Over);
    }
    let known = program.publication.list();
    let list = match known.or(lists.get(&Arc::as_ptr(&program.mappings))) {
        Some(list) => Rc::clone(list),
        None => {
            let mappings = program.mappings.for_walk(|file| slot(unwinder, file));
            let Some(list) = unwinder.list(&mappings)? else {
                return Ok(Fate::NoRoom);
            };
            program.publication.wrote(list.bytes(), monotonic_nanos());
            lists.insert(Arc::as_ptr(&program.mappings), Rc::clone(&list));
            list
        }
    };
    program.publication.has(&list);
    Ok(
        match unwinder.publish(tgid, program.begin..=read_until, program.last_mapped, &list)? {
            Published::Yes => {
                program.publication.done(monotonic_nanos());
                Fate::Over
            }
            Published::NotYet => Fate::NotYet,
            Published::Gone => Fate::Over,
        },
    )
}
