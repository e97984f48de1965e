//! A file that reads the same each time, or not at all.
//!
//! A table is shared by all who map the same content, so it must be built from the very bytes that the content was
//! recognized by: whoever can write to a file could show one content first and another one later.

use bpf::unwind::Source;
use lru::LruCache;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use symbolizer::Module;

/// Bytes that are read, and remembered by their hash, together: no more than a build is charged for any read, because a
/// hostile file has it read here and there.
const CHUNK: usize = 4 << 10;
/// Chunks whose bytes are kept: neighbours are read soon after.
const KEPT: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");

/// A file of which what has been read once is held to it.
pub(super) struct Steady {
    module: Arc<Module>,
    size: u64,
    state: Mutex<State>,
}

struct State {
    /// Hashes of the chunks read so far, by their number. Nobody can find other bytes for them.
    seen: HashMap<u64, blake3::Hash>,
    kept: LruCache<u64, Vec<u8>>,
}

impl Steady {
    /// Nothing of it has been read yet, but its size.
    pub(super) fn new(module: Arc<Module>) -> io::Result<Self> {
        let (seen, kept) = (HashMap::new(), LruCache::new(KEPT));
        Ok(Self {
            size: module.file().metadata()?.len(),
            module,
            state: Mutex::new(State { seen, kept }),
        })
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> &str {
        self.module.name()
    }

    /// Lets go of bytes that can be read again.
    pub(super) fn shrink(&self) {
        self.with_state(|state| state.kept = LruCache::new(KEPT));
    }

    /// Copies what there is of a chunk from `within` on; returns how much that is.
    fn copy(&self, number: u64, within: usize, to: &mut [u8]) -> io::Result<usize> {
        self.with_state(|state| {
            let copy = |bytes: &Vec<u8>, to: &mut [u8]| {
                let bytes = bytes.get(within..).unwrap_or_default();
                let length = bytes.len().min(to.len());
                to[..length].copy_from_slice(&bytes[..length]);
                length
            };
            if let Some(bytes) = state.kept.get(&number) {
                return Ok(copy(bytes, to));
            }
            let mut bytes = vec![0; CHUNK];
            let offset = number.saturating_mul(CHUNK as u64);
            let length = Source::read_at(self.module.file(), &mut bytes, offset)?;
            bytes.truncate(length);
            let hash = blake3::hash(&bytes);
            if *state.seen.entry(number).or_insert(hash) != hash {
                return Err(io::Error::other("it changes while it is read"));
            }
            let copied = copy(&bytes, to);
            state.kept.put(number, bytes);
            Ok(copied)
        })
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Whoever panicked with it has at worst forgotten a chunk.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for Steady {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            let at = offset.saturating_add(done as u64);
            let within = (at % CHUNK as u64) as usize;
            match self.copy(at / CHUNK as u64, within, rest)? {
                0 => break,
                copied => done += copied,
            }
        }
        Ok(done)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// What has been read reads the same ever after, or not at all; what has not may be anything.
    #[test]
    fn a_change_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes.truncate(3 * CHUNK + 100);
        std::fs::write(file.path(), &bytes).unwrap();
        let module = Module::open(std::fs::File::open(file.path()).unwrap(), "x").unwrap();
        let steady = Steady::new(Arc::new(module)).unwrap();
        let read = |offset: usize, length: usize| {
            let mut buffer = vec![0; length];
            let read = steady.read_at(&mut buffer, offset as u64)?;
            buffer.truncate(read);
            Ok::<_, io::Error>(buffer)
        };
        let (from, to) = (CHUNK - 10, CHUNK + 10);
        assert_eq!(read(from, 20).unwrap(), &bytes[from..to]);
        assert_eq!(read(3 * CHUNK, 1000).unwrap(), &bytes[3 * CHUNK..]);
        assert!(read(4 * CHUNK, 10).unwrap().is_empty());
        steady.shrink();
        file.as_file().write_all_at(b"other", from as u64).unwrap();
        file.as_file()
            .write_all_at(b"other", 2 * CHUNK as u64)
            .unwrap();
        assert!(read(from, 20).is_err());
        assert_eq!(read(2 * CHUNK, 5).unwrap(), b"other");
        file.as_file().set_len(2 * CHUNK as u64).unwrap();
        steady.shrink();
        assert!(read(2 * CHUNK, 5).is_err());
    }
}
