//! A compressed section, inflated as it is read.

use super::error::BuildError;
use super::metered::Metered;
use super::source::Source;
use flate2::{Decompress, FlushDecompress};
use std::ops::Range;

/// Bytes kept: of what was read, half as many at least, because entries refer to some a little before them.
const KEPT: usize = 128 << 10;
const STEP: usize = 16 << 10;
/// Work to inflate a byte.
const INFLATED: u64 = 4;

/// Reads forward, and from the start again for what is no longer kept: functions are taken in the order of their
/// addresses, in which a section goes by once for each of the few sections of code that it is about.
pub(super) struct Inflated<'s, S: ?Sized> {
    file: &'s Metered<'s, S>,
    range: Range<u64>,
    size: u64,
    decoder: Decompress,
    /// Compressed bytes that were read, those that were inflated, and where the next begin in the file.
    input: Vec<u8>,
    used: usize,
    next: u64,
    /// Offset in the section of the first byte kept.
    begin: u64,
    kept: Vec<u8>,
}

impl<'s, S: Source + ?Sized> Inflated<'s, S> {
    /// `range` is where the compressed bytes lie in the file, `size` what they are when inflated.
    pub(super) fn new(file: &'s Metered<'s, S>, range: Range<u64>, size: u64) -> Self {
        Self {
            file,
            next: range.start,
            range,
            size,
            decoder: Decompress::new(true),
            input: Vec::new(),
            used: 0,
            begin: 0,
            kept: Vec::new(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Exactly `size` bytes of the section.
    pub(super) fn get(&mut self, offset: u64, size: usize) -> Result<&[u8], BuildError> {
        if self
            .size
            .checked_sub(offset)
            .is_none_or(|left| left < size as u64)
        {
            return Err(BuildError::Truncated);
        }
        if offset < self.begin {
            self.start_again();
        }
        while self.begin + (self.kept.len() as u64) < offset + size as u64 {
            self.read_on(offset)?;
        }
        let at = (offset - self.begin) as usize;
        self.kept.get(at..at + size).ok_or(BuildError::Truncated)
    }

    fn start_again(&mut self) {
        self.decoder.reset(true);
        self.input.clear();
        self.used = 0;
        self.next = self.range.start;
        self.begin = 0;
        self.kept.clear();
    }

    fn read_on(&mut self, needed_from: u64) -> Result<(), BuildError> {
        // Never drops what is asked for.
        let drop = (KEPT / 2).min(needed_from.saturating_sub(self.begin) as usize);
        if self.kept.len() >= KEPT {
            self.kept.drain(..drop);
            self.begin += drop as u64;
        }
        let len = self.kept.len();
        self.kept.resize(len + STEP, 0);
        let inflated = self.inflate(len);
        self.kept
            .truncate(len + inflated.as_ref().map_or(0, |made| *made));
        inflated.map(|_| ())
    }

    /// Fills what is kept from `from` on, in part at least, and says how much of it.
    fn inflate(&mut self, from: usize) -> Result<usize, BuildError> {
        loop {
            if self.used == self.input.len() {
                self.read_input()?;
            }
            let input = self.input.get(self.used..).unwrap_or_default();
            let room = self.kept.get_mut(from..).unwrap_or_default();
            let (taken, made) = (self.decoder.total_in(), self.decoder.total_out());
            let status = self.decoder.decompress(input, room, FlushDecompress::None);
            let taken = self.decoder.total_in() - taken;
            let made = self.decoder.total_out() - made;
            self.used += taken as usize;
            self.file.spend(INFLATED * made)?;
            if made > 0 {
                return Ok(made as usize);
            }
            // No stream of zlib, or one that ends early.
            if taken == 0 || status.is_err() {
                return Err(BuildError::Truncated);
            }
        }
    }

    fn read_input(&mut self) -> Result<(), BuildError> {
        let left = self.range.end.saturating_sub(self.next);
        self.used = 0;
        self.input.resize(left.min(STEP as u64) as usize, 0);
        if left > 0 {
            let read = self.file.read_at(&mut self.input, self.next)?;
            self.input.truncate(read);
            self.next += read as u64;
        }
        Ok(())
    }
}
