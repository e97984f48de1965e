//! A compressed section, inflated as it is read.

use super::error::BuildError;
use super::source::Source;
use super::window::Budget;
use flate2::read::ZlibDecoder;
use std::io::{self, Read};
use std::ops::Range;

/// Bytes kept: of what was read, half as many at least, because entries refer to some a little before them.
const KEPT: usize = 128 << 10;
const STEP: usize = 16 << 10;

/// Reads forward, and from the start again for what is no longer kept: functions are taken in the order of their
/// addresses, in which a section goes by once for each of the few sections of code that it is about.
pub(super) struct Inflated<'s, S: ?Sized> {
    source: &'s S,
    range: Range<u64>,
    size: u64,
    decoder: ZlibDecoder<Part<'s, S>>,
    /// Offset in the section of the first byte kept.
    begin: u64,
    kept: Vec<u8>,
    pub(super) budget: Budget,
}

impl<'s, S: Source + ?Sized> Inflated<'s, S> {
    /// `range` is where the compressed bytes lie in the source, `size` what they are when inflated.
    pub(super) fn new(source: &'s S, range: Range<u64>, size: u64, budget: Budget) -> Self {
        Self {
            source,
            range: range.clone(),
            size,
            decoder: ZlibDecoder::new(Part { source, range }),
            begin: 0,
            kept: Vec::new(),
            budget,
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
            let range = self.range.clone();
            self.decoder = ZlibDecoder::new(Part {
                source: self.source,
                range,
            });
            self.begin = 0;
            self.kept.clear();
        }
        while self.begin + (self.kept.len() as u64) < offset + size as u64 {
            self.read_on(offset)?;
        }
        let at = (offset - self.begin) as usize;
        self.kept.get(at..at + size).ok_or(BuildError::Truncated)
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
        let room = self.kept.get_mut(len..).unwrap_or_default();
        let read = match self.decoder.read(room) {
            Ok(read) => read,
            Err(error) => match error.kind() {
                // No stream of zlib, or one cut short.
                io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => 0,
                _ => return Err(error.into()),
            },
        };
        self.kept.truncate(len + read);
        self.budget.spend(read as u64)?;
        if read == 0 {
            Err(BuildError::Truncated)
        } else {
            Ok(())
        }
    }
}

/// A range of a source's bytes, one after the other.
struct Part<'s, S: ?Sized> {
    source: &'s S,
    range: Range<u64>,
}

impl<S: Source + ?Sized> Read for Part<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.range.start);
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self
            .source
            .read_at(buffer.get_mut(..most).unwrap_or_default(), self.range.start)?;
        self.range.start += read as u64;
        Ok(read)
    }
}
