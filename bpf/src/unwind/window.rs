//! A part of a file read through windows that are small beside it.

use super::error::BuildError;
use super::metered::Metered;
use super::source::Source;
use std::ops::Range;

/// One for entries, one for what they refer to.
const WINDOWS: usize = 2;
/// A first look reads little; where one leads to the next, they grow.
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 64 << 10;

/// A range of a file's bytes, through windows.
pub(super) struct Windows<'s, S: ?Sized> {
    file: &'s Metered<'s, S>,
    range: Range<u64>,
    windows: [Window; WINDOWS],
    last: usize,
}

#[derive(Default)]
struct Window {
    begin: u64,
    bytes: Vec<u8>,
    step: u64,
}

impl Window {
    fn get(&self, offset: u64, size: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.begin)?).ok()?;
        self.bytes.get(at..at.checked_add(size)?)
    }

    /// Whether what is at `offset` continues it.
    fn precedes(&self, offset: u64) -> bool {
        offset >= self.begin && offset - self.begin <= self.bytes.len() as u64
    }
}

impl<'s, S: Source + ?Sized> Windows<'s, S> {
    pub(super) fn new(file: &'s Metered<'s, S>, range: Range<u64>) -> Self {
        Self {
            file,
            range,
            windows: Default::default(),
            last: 0,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Exactly `size` bytes of the range.
    #[inline]
    pub(super) fn get(&mut self, offset: u64, size: usize) -> Result<&[u8], BuildError> {
        let hit = |window: &Window| window.get(offset, size).is_some();
        if !self.windows.get(self.last).is_some_and(hit) {
            self.last = match self.windows.iter().position(hit) {
                Some(index) => index,
                None => self.read(offset, size)?,
            };
        }
        self.windows
            .get(self.last)
            .and_then(|window| window.get(offset, size))
            .ok_or(BuildError::Truncated)
    }

    /// Reads into the window that ends here, or else into the one not used last.
    #[inline(never)]
    fn read(&mut self, offset: u64, size: usize) -> Result<usize, BuildError> {
        let left = self.size().saturating_sub(offset);
        if left < size as u64 {
            return Err(BuildError::Truncated);
        }
        let precedes = |window: &Window| window.precedes(offset);
        let continued = self.windows.iter().position(precedes);
        let index = continued.unwrap_or((self.last + 1) % WINDOWS);
        let Some(window) = self.windows.get_mut(index) else {
            return Err(BuildError::Truncated);
        };
        window.step = match continued {
            Some(_) => (window.step * 2).clamp(SMALLEST, LARGEST),
            None => SMALLEST,
        };
        // What is larger than a window gets one of its own size for once.
        let bytes = window.step.max(size as u64).min(left);
        if window.bytes.capacity() as u64 > LARGEST {
            window.bytes = Vec::new();
        }
        window.begin = offset;
        window.bytes.resize(bytes as usize, 0);
        let at = self.range.start.saturating_add(offset);
        let read = self.file.read_at(&mut window.bytes, at)?;
        window.bytes.truncate(read);
        Ok(index)
    }
}
