//! A file of which all that is read, and all that is done with it, is counted.
//!
//! What a file says costs whoever believes it: a few bytes inflate to a gigabyte, or send the reader to and fro. All of
//! that has one budget, so that no file takes longer than an honest one that is very large.

use super::error::{BuildError, Limits};
use super::source::Source;
use std::cell::Cell;

/// What a read counts at least: the source may have to fetch and to hash a block for it.
const LEAST_READ: u64 = 4 << 10;
/// What a file may take for its headers, and for each of its bytes. Of the files of a Debian installation none takes a
/// quarter of it.
const WORK_A_FILE: u64 = 16 << 20;
const WORK_A_BYTE: u64 = 16;

/// A source with what has been done with it so far, and what may be.
///
/// Work is counted in bytes that are read. What else is done counts as many as could be read meanwhile, or more: each takes
/// a nanosecond or less.
pub(super) struct Metered<'s, S: ?Sized> {
    source: &'s S,
    spent: Cell<u64>,
    most: u64,
}

impl<'s, S: Source + ?Sized> Metered<'s, S> {
    pub(super) fn new(source: &'s S, limits: &Limits) -> Result<Self, BuildError> {
        let of_its_size = source.size()?.saturating_mul(WORK_A_BYTE);
        Ok(Self {
            source,
            spent: Cell::new(0),
            most: limits.work.min(of_its_size.saturating_add(WORK_A_FILE)),
        })
    }

    /// Counts work. If that is too much, so is all that follows.
    #[inline]
    pub(super) fn spend(&self, work: u64) -> Result<(), BuildError> {
        let spent = self.spent.get().saturating_add(work);
        self.spent.set(spent);
        if spent > self.most {
            return Err(BuildError::TooMuchWork);
        }
        Ok(())
    }

    /// Reads at most as much as fits the buffer; less than that only at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, BuildError> {
        self.spend(LEAST_READ.max(buffer.len() as u64))?;
        Ok(self.source.read_at(buffer, offset)?)
    }

    /// Fills the buffer.
    pub(super) fn read_exact(&self, buffer: &mut [u8], offset: u64) -> Result<(), BuildError> {
        if self.read_at(buffer, offset)? == buffer.len() {
            Ok(())
        } else {
            Err(BuildError::Truncated)
        }
    }

    /// Reads exactly `N` bytes.
    pub(super) fn read_array<const N: usize>(&self, offset: u64) -> Result<[u8; N], BuildError> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(super) fn size(&self) -> Result<u64, BuildError> {
        Ok(self.source.size()?)
    }
}
