//! From what the kernel programs counted to samples with identities and words that mean the same in every process.

use super::functions::Functions;
use super::identities::Identities;
use super::window::Sample;
use crate::process::{MappedFile, Mappings, Processes};
use bpf::{Counted, FileId, Outcome, Place, Thread, Word};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The samples of a window, and the files and functions their words name.
pub(super) struct Resolved {
    pub(super) samples: Vec<Sample>,
    pub(super) files: HashMap<FileId, Arc<MappedFile>>,
    pub(super) functions: HashMap<Word, Arc<str>>,
}

/// Gives each sample of a window that began at `begin` (CLOCK_MONOTONIC nanoseconds) its identity and its stack in final words.
pub(super) fn resolve(
    counted: Counted,
    processes: &mut Processes,
    identities: &mut Identities,
    functions: &mut Functions,
    begin: u64,
) -> Resolved {
    processes.refresh_names(threads_in_no_file(&counted));
    let names: HashMap<_, _> = counted
        .threads
        .into_iter()
        .map(|(thread, names)| (thread, Arc::new(names)))
        .collect();
    let nameless = Arc::default();
    let mut resolver = Resolver {
        bodies: &counted.stacks,
        processes,
        begin,
        by_process: HashMap::new(),
        distinct: HashSet::new(),
        files: HashMap::new(),
        numbers: functions,
        functions: HashMap::new(),
    };
    let mut samples = Vec::with_capacity(counted.samples.len());
    for sample in counted.samples {
        let names = names.get(&sample.thread).unwrap_or(&nameless);
        let declared = resolver.processes.declared(sample.thread);
        samples.push(Sample {
            thread: sample.thread,
            names: Arc::clone(names),
            identity: identities.of(sample.cgroup, names, declared),
            stack: resolver.stack(sample.thread, sample.stack),
            events: sample.events,
            amount: sample.amount,
        });
    }
    Resolved {
        samples,
        files: resolver.files,
        functions: resolver.functions,
    }
}

/// The threads that seem to have run code that is in no file.
fn threads_in_no_file(counted: &Counted) -> impl Iterator<Item = Thread> {
    let may_be = |word: &Word| matches!(word.place(), Place::Anonymous(_) | Place::Unresolved(_));
    let stacks = counted.stacks.iter();
    let stacks: HashSet<u64> = stacks
        .filter(|(_, body)| body.iter().any(may_be))
        .map(|(hash, _)| *hash)
        .collect();
    let samples = counted.samples.iter();
    samples
        .filter(move |sample| stacks.contains(&sample.stack))
        .map(|sample| sample.thread)
}

struct Resolver<'a> {
    bodies: &'a HashMap<u64, Box<[Word]>>,
    processes: &'a mut Processes,
    begin: u64,
    /// Threads of one program share mappings, so they share stacks.
    by_process: HashMap<(u32, u64, u64), Arc<[Word]>>,
    /// Equal stacks of different processes are one.
    distinct: HashSet<Arc<[Word]>>,
    files: HashMap<FileId, Arc<MappedFile>>,
    numbers: &'a mut Functions,
    functions: HashMap<Word, Arc<str>>,
}

impl Resolver<'_> {
    fn stack(&mut self, thread: Thread, hash: u64) -> Arc<[Word]> {
        let key = (thread.tgid, thread.generation, hash);
        if let Some(stack) = self.by_process.get(&key) {
            return Arc::clone(stack);
        }
        let words = match self.bodies.get(&hash) {
            Some(body) => self.words(thread, body),
            None => vec![Word::ring_full()],
        };
        let stack = match self.distinct.get(words.as_slice()) {
            Some(stack) => Arc::clone(stack),
            None => {
                let stack: Arc<[Word]> = words.into();
                self.distinct.insert(Arc::clone(&stack));
                stack
            }
        };
        self.by_process.insert(key, Arc::clone(&stack));
        stack
    }

    fn words(&mut self, thread: Thread, body: &[Word]) -> Vec<Word> {
        let outcome = outcome(body);
        // The walk met an address that is mapped nowhere by what it was told.
        if matches!(outcome, Outcome::NoMapping | Outcome::Astray) {
            self.processes.repair(thread.tgid, thread.generation);
        }
        if outcome == Outcome::Remapped {
            self.processes
                .repair_remapped(thread.tgid, thread.generation, self.begin);
        }
        let mut words = if body.iter().any(is_unresolved) {
            self.resolved(thread, body)
        } else {
            body.to_vec()
        };
        for word in &mut words {
            match word.place() {
                Place::File { file: id, .. } => {
                    if let Some(file) = self.processes.file(id) {
                        self.files.entry(id).or_insert_with(|| Arc::clone(file));
                    }
                }
                Place::Anonymous(address) => {
                    if let Some(name) = self.processes.function(thread, address) {
                        *word = self.numbers.word(&name);
                        self.functions.entry(*word).or_insert(name);
                    }
                }
                _ => {}
            }
        }
        words
    }

    fn resolved(&mut self, thread: Thread, body: &[Word]) -> Vec<Word> {
        let mut mappings = self.processes.mappings(thread).cloned();
        if !covers(mappings.as_deref(), body)
            && self.processes.repair(thread.tgid, thread.generation)
        {
            mappings = self.processes.mappings(thread).cloned();
        }
        in_files(mappings.as_deref(), body)
    }
}

/// How a walk ended.
fn outcome(body: &[Word]) -> Outcome {
    match body.last().map(|word| word.place()) {
        Some(Place::Outcome(outcome)) => outcome,
        _ => Outcome::RingFull,
    }
}

fn is_unresolved(word: &Word) -> bool {
    matches!(word.place(), Place::Unresolved(_))
}

/// Whether every address that the walk could not place lies in a mapping.
fn covers(mappings: Option<&Mappings>, body: &[Word]) -> bool {
    body.iter().all(|word| match word.place() {
        Place::Unresolved(address) => {
            mappings.is_some_and(|mappings| mappings.find(address).is_some())
        }
        _ => true,
    })
}

/// Addresses that the walk could not place as places in files. At the first that lies in no executable mapping a chain of frame
/// pointers had gone astray: what comes behind it is no stack. That address itself stays, as the frame that it would have been.
fn in_files(mappings: Option<&Mappings>, body: &[Word]) -> Vec<Word> {
    let mut words = Vec::with_capacity(body.len());
    for (index, word) in body.iter().enumerate() {
        let Place::Unresolved(address) = word.place() else {
            words.push(*word);
            continue;
        };
        match mappings.and_then(|mappings| mappings.word(address)) {
            Some(word) => words.push(word),
            None => {
                let is_last = index + 2 >= body.len();
                if mappings.is_some() {
                    words.push(Word::unknown(address));
                }
                // The walk itself ended here, or knew as little as the agent does.
                let root = if is_last || mappings.is_none() {
                    body.last().copied()
                } else {
                    Some(Word::astray())
                };
                words.extend(root);
                return words;
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Mapping;

    const KERNEL: u64 = 0xffff_ffff_8100_0000;

    fn unresolved(address: u64) -> Word {
        Word::from_raw(0x02 << 56 | address)
    }

    /// By frame pointers, before the mappings were published.
    fn no_mappings() -> Word {
        Word::from_raw(0x03 << 56 | 8)
    }

    fn no_mapping() -> Word {
        Word::from_raw(0x03 << 56 | 9)
    }

    fn one_file() -> Mappings {
        let mut mappings = Mappings::default();
        mappings.insert(Mapping {
            start: 0x1000,
            end: 0x2000,
            offset: 0x400,
            file: Some(MappedFile::for_test(3, b"/bin/x")),
        });
        mappings
    }

    /// The numbers that the tests give outcomes are those of the kernel programs.
    #[test]
    fn outcomes_are_what_they_are_called_here() {
        assert_eq!(outcome(&[no_mappings()]), Outcome::NoMappings);
        assert_eq!(outcome(&[no_mapping()]), Outcome::NoMapping);
    }

    /// Kernel addresses stay, addresses become places in files, and the outcome stays the root.
    #[test]
    fn addresses_become_places_in_files() {
        let body = [Word::from_raw(KERNEL), unresolved(0x1010), no_mappings()];
        let file = FileId::new(3).unwrap();
        assert_eq!(
            in_files(Some(&one_file()), &body),
            [
                Word::from_raw(KERNEL),
                Word::file(file, 0x410),
                no_mappings()
            ]
        );
    }

    /// What lies behind an address in no mapping is no stack: it is cut there, and says so.
    #[test]
    fn a_chain_that_leads_nowhere_is_cut() {
        let body = [
            unresolved(0x1010),
            unresolved(0x9999),
            unresolved(0x1020),
            no_mappings(),
        ];
        assert!(!covers(Some(&one_file()), &body));
        let words = in_files(Some(&one_file()), &body);
        assert_eq!(words.len(), 3);
        assert_eq!(words[1..], [Word::unknown(0x999), Word::astray()]);
    }

    /// Where the walk itself ended for want of a mapping, the address and its outcome stay; and a mapping told of too late names the place.
    #[test]
    fn the_walks_own_end_stays() {
        let file = FileId::new(3).unwrap();
        let ended = |address| {
            let body = [Word::file(file, 0x10), unresolved(address), no_mapping()];
            in_files(Some(&one_file()), &body)
        };
        let place = Word::file(file, 0x10);
        assert_eq!(ended(0x9999), [place, Word::unknown(0x999), no_mapping()]);
        let late = Word::file(file, 0x400);
        assert_eq!(ended(0x1000), [place, late, no_mapping()]);
    }

    /// Of a process nobody has seen the kernel part is kept.
    #[test]
    fn without_mappings_the_kernel_part_stays() {
        let body = [
            Word::from_raw(KERNEL),
            unresolved(0x1010),
            unresolved(0x1020),
            no_mappings(),
        ];
        assert!(!covers(None, &body));
        assert_eq!(
            in_files(None, &body),
            [Word::from_raw(KERNEL), no_mappings()]
        );
    }
}
