//! The files that processes have mapped executable, each under one number.

use super::MappedFile;
use super::file::{Identity, Opened, Unopened};
use super::opener::{Opener, Request, Settled};
use bpf::FileId;
use lru::LruCache;
use rustix::process::{Resource, getrlimit};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use symbolizer::Module;

/// Files remembered; each may hold one open descriptor. One that is forgotten gets a new number when it is mapped again.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What the kernel says of a mapped file. Not its identity: overlayfs and btrfs show other numbers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hint {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// Without the mark of a deleted file, which it had not when it was mapped.
    pub(super) path: Vec<u8>,
}

impl Hint {
    pub(super) fn new(device: (u32, u32), inode: u64, path: &[u8]) -> Self {
        Self {
            device,
            inode,
            path: without_mark(path).to_vec(),
        }
    }

    fn is_vdso(&self) -> bool {
        self.path == b"[vdso]"
    }

    /// Memory of no file: inode 0.
    fn is_anonymous(&self) -> bool {
        self.inode == 0
    }
}

/// A path of the kernel's without what it says of a file that is deleted.
pub(super) fn without_mark(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// A file under a hint.
struct Known {
    file: Arc<MappedFile>,
    /// Of its inode: tells apart two files that had the same one after the other. /proc/PID/maps does not know it.
    generation: Option<u64>,
}

impl Known {
    /// The file, if it is still the one that the hint with this generation means.
    fn is(&mut self, generation: Option<u64>) -> Option<Arc<MappedFile>> {
        let same = match (self.generation, generation) {
            (Some(own), Some(other)) => own == other,
            // What is mapped or open holds its inode: nobody else can have the number.
            _ => true,
        };
        if !same || self.file.is_outdated() {
            return None;
        }
        self.generation = self.generation.or(generation);
        Some(Arc::clone(&self.file))
    }
}

/// All files known, and the threads that open them.
pub(crate) struct Files {
    known: LruCache<(Hint, u64), Known>,
    /// Those known, and those no longer known that are still mapped or were until lately.
    by_id: HashMap<FileId, Arc<MappedFile>>,
    /// Of these nobody had any but the index when it was swept last.
    unneeded: HashSet<FileId>,
    next: u32,
    /// It has been said that there are no more.
    exhausted: bool,
    opener: Opener,
    /// One image for all processes: the kernel maps the same pages into each.
    vdso: Option<Arc<MappedFile>>,
}

impl Files {
    /// Starts the threads that open files. They tell `settled` of each that is open, or cannot be opened.
    pub(crate) fn new(settled: Arc<Settled>) -> std::io::Result<Self> {
        let mut files = Self {
            known: LruCache::new(REMEMBERED),
            by_id: HashMap::new(),
            unneeded: HashSet::new(),
            next: 0,
            exhausted: false,
            opener: Opener::start(open_files(), Arc::clone(&settled))?,
            vdso: None,
        };
        let vdso = open_vdso().unwrap_or_else(|why| Opened::Failed(Unopened::Failed(why)));
        files.vdso = files.add(0, b"[vdso]", vdso);
        files.vdso.iter().for_each(|vdso| settled(vdso));
        Ok(files)
    }

    /// Lets no file hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.opener.tend();
    }

    /// The file that has this number in words.
    pub(crate) fn by_id(&self, id: FileId) -> Option<&Arc<MappedFile>> {
        self.by_id.get(&id)
    }

    /// Forgets files that nobody has mapped for as long as it takes to call this twice, and returns their numbers: words
    /// that name one may still be on their way when its last mapping goes.
    pub(crate) fn forget_unneeded(&mut self) -> Vec<FileId> {
        let is_unneeded = |(_, file): &(&FileId, &Arc<MappedFile>)| Arc::strong_count(file) == 1;
        let now: HashSet<FileId> = self
            .by_id
            .iter()
            .filter(is_unneeded)
            .map(|(id, _)| *id)
            .collect();
        let gone: Vec<FileId> = now.intersection(&self.unneeded).copied().collect();
        for id in &gone {
            self.by_id.remove(id);
        }
        self.unneeded = now;
        gone
    }

    /// A new file under a number of its own; nothing when all are used up.
    fn add(&mut self, base: u64, path: &[u8], opened: Opened) -> Option<Arc<MappedFile>> {
        let id = self.number()?;
        let file = MappedFile::new(id, base, path, opened);
        self.by_id.insert(id, Arc::clone(&file));
        Some(file)
    }

    /// The file behind a mapping of a process, whose opening begins now if it is new. Nothing for memory of no file.
    pub(super) fn of_mapping(
        &mut self,
        tgid: u32,
        range: (u64, u64),
        offset: u64,
        hint: &Hint,
        generation: Option<u64>,
    ) -> Option<Arc<MappedFile>> {
        if hint.is_vdso() {
            return self.vdso.clone();
        }
        if hint.is_anonymous() {
            return None;
        }
        // A word has 32 bits for the offset.
        let piece = offset >> 32;
        let key = (hint.clone(), piece);
        let known = self
            .known
            .get_mut(&key)
            .and_then(|known| known.is(generation));
        let (file, is_new) = match known {
            Some(file) => (file, false),
            None => {
                let file = self.add(piece << 32, &hint.path, Opened::Pending)?;
                let known = Known {
                    file: Arc::clone(&file),
                    generation,
                };
                self.known.put(key, known);
                (file, true)
            }
        };
        if is_new || file.forget_failure() {
            self.opener.open(Request {
                file: Arc::clone(&file),
                tgid,
                range,
                hint: hint.clone(),
            });
        }
        Some(file)
    }

    /// A number that was never given before; nothing when all are used up (then such code is as good as in no file).
    fn number(&mut self) -> Option<FileId> {
        let id = FileId::new(self.next);
        if id.is_none() && !self.exhausted {
            self.exhausted = true;
            tracing::error!(
                "all numbers of files are used up: code in further ones shows as [jit], start the agent again"
            );
        }
        self.next += u32::from(id.is_some());
        id
    }
}

/// Mapped files that may be open: half of all descriptors, the rest is for maps, events and sockets.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / 2).unwrap_or(usize::MAX)
    })
}

fn open_vdso() -> Result<Opened, String> {
    let module = Module::vdso().map_err(|error| error.to_string())?;
    let stat = rustix::fs::fstat(module.file()).map_err(|error| error.to_string())?;
    Ok(Opened::Ready(Arc::new(module), Identity::of(&stat)))
}

#[cfg(test)]
impl Files {
    /// Files that nobody else cares for.
    pub(super) fn for_test() -> Self {
        Self::new(Arc::new(|_| {})).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A file that is mapped no more is found by its number until a window later, and then no more.
    #[test]
    fn numbers_outlive_mappings_by_a_window() {
        let mut files = Files::for_test();
        let file = files.add(0, b"/bin/x", Opened::Pending).unwrap();
        let id = file.id();
        for _ in 0..3 {
            assert!(files.forget_unneeded().is_empty());
        }
        drop(file);
        assert!(files.forget_unneeded().is_empty());
        assert!(files.by_id(id).is_some());
        assert_eq!(files.forget_unneeded(), [id]);
        assert!(files.by_id(id).is_none());
    }

    /// A file has one number whether it was read of in /proc or in a record, before or after it was deleted; another one that got
    /// its inode has another.
    #[test]
    fn records_and_proc_mean_the_same_file() {
        let mut files = Files::for_test();
        let mut map = |path: &[u8], generation| {
            let hint = Hint::new((0, 1), 1, path);
            let file = files.of_mapping(5_000_000, (0, 0x1000), 0, &hint, generation);
            file.unwrap().id()
        };
        let first = map(b"/bin/x", None);
        assert_eq!(map(b"/bin/x", Some(7)), first);
        assert_eq!(map(b"/bin/x (deleted)", None), first);
        let second = map(b"/bin/x", Some(8));
        assert_ne!(second, first);
        assert_eq!(map(b"/bin/x", Some(8)), second);
    }

    /// Numbers are not used up by a file that can never be opened, however often it is mapped.
    #[test]
    fn a_file_that_fails_to_open_keeps_its_number() {
        let mut files = Files::for_test();
        let hint = Hint::new((0, 1), 1, b"/nowhere/at/all");
        let mut map = || {
            files
                .of_mapping(5_000_000, (0, 0x1000), 0, &hint, None)
                .unwrap()
        };
        let first = map();
        for _ in 0..3 {
            assert!(first.module(Duration::from_secs(60)).is_err());
            assert_eq!(map().id(), first.id());
        }
    }
}
