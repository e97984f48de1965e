//! From what the kernel programs counted to samples with owners and words that mean the same in every process.

use super::owners::Owners;
use super::window::Sample;
use crate::process::{MappedFile, Mappings, Processes};
use bpf::{Counted, FileId, Outcome, Place, Thread, Word};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The samples of a window and the files their words name.
pub(super) struct Resolved {
    pub(super) samples: Vec<Sample>,
    pub(super) files: HashMap<FileId, Arc<MappedFile>>,
}

/// Gives each sample its owner and its stack in final words.
pub(super) fn resolve(
    counted: Counted,
    processes: &mut Processes,
    owners: &mut Owners,
) -> Resolved {
    let names: HashMap<_, _> = counted
        .threads
        .into_iter()
        .map(|(thread, names)| (thread, Arc::new(names)))
        .collect();
    let nameless = Arc::default();
    let mut resolver = Resolver {
        bodies: &counted.stacks,
        processes,
        by_process: HashMap::new(),
        distinct: HashSet::new(),
        files: HashMap::new(),
    };
    let mut samples = Vec::with_capacity(counted.samples.len());
    for sample in counted.samples {
        let names = names.get(&sample.thread).unwrap_or(&nameless);
        samples.push(Sample {
            thread: sample.thread,
            names: Arc::clone(names),
            owner: owners.of(sample.cgroup, names),
            stack: resolver.stack(sample.thread, sample.stack),
            events: sample.events,
            amount: sample.amount,
        });
    }
    Resolved {
        samples,
        files: resolver.files,
    }
}

struct Resolver<'a> {
    bodies: &'a HashMap<u64, Box<[Word]>>,
    processes: &'a mut Processes,
    /// Threads of one program share mappings, so they share stacks.
    by_process: HashMap<(u32, u64, u64), Arc<[Word]>>,
    /// Equal stacks of different processes are one.
    distinct: HashSet<Arc<[Word]>>,
    files: HashMap<FileId, Arc<MappedFile>>,
}

impl Resolver<'_> {
    fn stack(&mut self, thread: Thread, hash: u64) -> Arc<[Word]> {
        let key = (thread.tgid, thread.generation, hash);
        if let Some(stack) = self.by_process.get(&key) {
            return Arc::clone(stack);
        }
        let words = match self.bodies.get(&hash) {
            Some(body) => self.words(thread, body),
            None => vec![Word::outcome(Outcome::RingFull)],
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
        if !body
            .iter()
            .any(|word| matches!(word.place(), Place::Unresolved(_)))
        {
            return body.to_vec();
        }
        let mut mappings = self.processes.mappings(thread).cloned();
        if !covers(mappings.as_deref(), body) && self.processes.repair(thread) {
            mappings = self.processes.mappings(thread).cloned();
        }
        let words = match &mappings {
            Some(mappings) => in_files(mappings, body),
            None => up_to(body, Outcome::NoMappings),
        };
        if let Some(mappings) = &mappings {
            self.note_files(mappings, body);
        }
        words
    }

    fn note_files(&mut self, mappings: &Mappings, body: &[Word]) {
        for word in body {
            if let Place::Unresolved(address) = word.place()
                && let Some(file) = mappings
                    .find(address)
                    .and_then(|mapping| mapping.file.as_ref())
            {
                self.files
                    .entry(file.id())
                    .or_insert_with(|| Arc::clone(file));
            }
        }
    }
}

/// Whether every user address lies in a mapping.
fn covers(mappings: Option<&Mappings>, body: &[Word]) -> bool {
    let Some(mappings) = mappings else {
        return false;
    };
    body.iter().all(|word| match word.place() {
        Place::Unresolved(address) => mappings.find(address).is_some(),
        _ => true,
    })
}

/// User addresses as places in files. At the first that lies in no executable mapping the chain of frame pointers had
/// gone astray: what comes behind it is no stack, and the outcome says so.
fn in_files(mappings: &Mappings, body: &[Word]) -> Vec<Word> {
    let mut words = Vec::with_capacity(body.len());
    for word in body {
        match word.place() {
            Place::Unresolved(address) => match mappings.word(address) {
                Some(word) => words.push(word),
                None => {
                    words.push(Word::outcome(Outcome::Astray));
                    return words;
                }
            },
            _ => words.push(*word),
        }
    }
    words
}

/// The kernel part alone, and why there is no more.
fn up_to(body: &[Word], outcome: Outcome) -> Vec<Word> {
    let kernel = body
        .iter()
        .take_while(|word| matches!(word.place(), Place::Kernel(_)));
    kernel.copied().chain([Word::outcome(outcome)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Mapping;

    const KERNEL: u64 = 0xffff_ffff_8100_0000;

    fn unresolved(address: u64) -> Word {
        Word::from_raw(0x02 << 56 | address)
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

    /// Kernel addresses stay, user addresses become places in files, and the outcome stays the root.
    #[test]
    fn addresses_become_places_in_files() {
        let body = [
            Word::from_raw(KERNEL),
            unresolved(0x1010),
            Word::outcome(Outcome::ChainEnded),
        ];
        let file = FileId::new(3).unwrap();
        assert_eq!(
            in_files(&one_file(), &body),
            [
                Word::from_raw(KERNEL),
                Word::file(file, 0x410),
                Word::outcome(Outcome::ChainEnded)
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
            Word::outcome(Outcome::ChainEnded),
        ];
        assert!(!covers(Some(&one_file()), &body));
        let words = in_files(&one_file(), &body);
        assert_eq!(words.len(), 2);
        assert_eq!(words[1], Word::outcome(Outcome::Astray));
    }

    /// Of a process nobody has seen the kernel part is kept.
    #[test]
    fn without_mappings_the_kernel_part_stays() {
        let body = [
            Word::from_raw(KERNEL),
            unresolved(0x1010),
            Word::outcome(Outcome::ChainEnded),
        ];
        assert!(!covers(None, &body));
        assert_eq!(
            up_to(&body, Outcome::NoMappings),
            [Word::from_raw(KERNEL), Word::outcome(Outcome::NoMappings)]
        );
    }
}
