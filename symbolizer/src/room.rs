//! What of files is kept ready in memory: those asked about last, as much as fits.

use std::time::{Duration, Instant};

use lru::LruCache;

/// How long a file is kept ready after it was asked about: its steady places have been named by then, and opening it again takes less
/// than a millisecond, or as long as its decompression.
const KEPT: Duration = Duration::from_secs(60);

/// Something of files, by the numbers of their modules, within a budget of bytes.
pub(crate) struct Kept<T> {
    files: LruCache<u64, Ready<T>>,
    bytes: u64,
    budget: u64,
}

struct Ready<T> {
    what: T,
    bytes: u64,
    asked: Instant,
}

/// Memory for one file that is being read: taken bit by bit, for which others are let go.
pub(crate) struct Room<'a, T> {
    kept: &'a mut Kept<T>,
    taken: u64,
}

/// There is not that much in the whole budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl<T> Kept<T> {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            files: LruCache::unbounded(),
            bytes: 0,
            budget,
        }
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Takes a file out, with the memory that is its own, or memory for one that is not there yet. It is to be put back, and is forgotten if not.
    pub(crate) fn take(&mut self, number: u64) -> (Option<T>, Room<'_, T>) {
        let ready = self.files.pop(&number);
        let taken = ready.as_ref().map_or(0, |ready| ready.bytes);
        (ready.map(|ready| ready.what), Room { kept: self, taken })
    }

    /// Lets go of files that have not been asked about for a while.
    pub(crate) fn forget_unasked(&mut self) {
        while let Some((_, ready)) = self.files.peek_lru()
            && ready.asked.elapsed() > KEPT
        {
            self.forget_one();
        }
    }

    /// Lets go of what was asked about longest ago.
    fn forget_one(&mut self) -> bool {
        let oldest = self.files.pop_lru();
        self.bytes -= oldest.as_ref().map_or(0, |(_, ready)| ready.bytes);
        oldest.is_some()
    }
}

impl<T> Room<'_, T> {
    /// Takes some memory more.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if bytes > self.kept.budget.saturating_sub(self.taken) {
            return Err(NoRoom);
        }
        while self.kept.bytes > self.kept.budget - bytes && self.kept.forget_one() {}
        self.kept.bytes += bytes;
        self.taken += bytes;
        Ok(())
    }

    /// Gives all of it back.
    pub(crate) fn free(&mut self) {
        self.kept.bytes -= std::mem::take(&mut self.taken);
    }

    /// Keeps the file with what it has taken.
    pub(crate) fn keep(mut self, number: u64, what: T) {
        let ready = Ready {
            what,
            bytes: std::mem::take(&mut self.taken),
            asked: Instant::now(),
        };
        self.kept.files.put(number, ready);
    }
}

/// What was taken for a file that is not kept is free again.
impl<T> Drop for Room<'_, T> {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked about stays, what does not fit is refused, and what is not put back is free again.
    #[test]
    fn stays_within_its_budget() {
        let mut kept = Kept::new(100);
        let mut put = |number, bytes| {
            let (before, mut room) = kept.take(number);
            if before.is_none() {
                room.take(bytes)?;
            }
            room.keep(number, ());
            assert!(kept.bytes <= 100);
            Ok::<bool, NoRoom>(before.is_some())
        };
        assert_eq!(put(1, 40), Ok(false));
        assert_eq!(put(2, 40), Ok(false));
        assert_eq!(put(1, 40), Ok(true));
        assert_eq!(put(3, 60), Ok(false));
        assert_eq!(put(1, 40), Ok(true));
        assert_eq!(put(4, 101), Err(NoRoom));
        assert_eq!(put(5, 100), Ok(false));
        assert_eq!(put(5, 100), Ok(true));

        let (what, mut room) = kept.take(5);
        assert!(what.is_some());
        assert_eq!(room.take(1), Err(NoRoom));
        drop(room);
        assert_eq!((kept.bytes, kept.files.len()), (0, 0));
    }
}
