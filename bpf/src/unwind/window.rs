//! A section read through a few windows, which are small beside it.

use super::elf::Frames;
use super::error::BuildError;
use super::source::Source;

/// Functions are taken in the order of their addresses, and a section has them in that of the files it was linked from: a
/// few orderly sequences (hot, unlikely, startup ...) in one another. A window follows each.
const WINDOWS: usize = 8;
/// A first look reads little; where one leads to the next, they grow.
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 64 << 10;

/// A section, through windows.
pub(super) struct Windows<'s, S: ?Sized> {
    source: &'s S,
    section: Frames,
    windows: Vec<Window>,
    last: usize,
    clock: u64,
    /// Bytes that may still be read.
    budget: u64,
    limit: u64,
}

#[derive(Default)]
struct Window {
    begin: u64,
    bytes: Vec<u8>,
    step: u64,
    used: u64,
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
    /// `limit` is in bytes that are read, again and again if need be.
    pub(super) fn new(source: &'s S, section: Frames, limit: u64) -> Self {
        let windows = std::iter::repeat_with(Window::default)
            .take(WINDOWS)
            .collect();
        Self {
            source,
            section,
            windows,
            last: 0,
            clock: 0,
            budget: limit,
            limit,
        }
    }

    /// Size of the section.
    pub(super) fn size(&self) -> u64 {
        self.section.size
    }

    /// Exactly `size` bytes of the section.
    #[inline]
    pub(super) fn get(&mut self, offset: u64, size: usize) -> Result<&[u8], BuildError> {
        let hit = |window: &Window| window.get(offset, size).is_some();
        if !self.windows.get(self.last).is_some_and(hit) {
            self.last = match self.windows.iter().position(hit) {
                Some(index) => index,
                None => self.read(offset, size)?,
            };
            self.clock += 1;
            if let Some(window) = self.windows.get_mut(self.last) {
                window.used = self.clock;
            }
        }
        self.windows
            .get(self.last)
            .and_then(|window| window.get(offset, size))
            .ok_or(BuildError::Truncated)
    }

    /// Reads into the window that ends here, or else into the one not used for longest.
    #[inline(never)]
    fn read(&mut self, offset: u64, size: usize) -> Result<usize, BuildError> {
        let left = self.section.size.saturating_sub(offset);
        if left < size as u64 {
            return Err(BuildError::Truncated);
        }
        let continued = self
            .windows
            .iter()
            .position(|window| window.precedes(offset));
        let oldest = || {
            let windows = self.windows.iter().enumerate();
            windows
                .min_by_key(|(_, window)| window.used)
                .map_or(0, |(index, _)| index)
        };
        let index = continued.unwrap_or_else(oldest);
        let Some(window) = self.windows.get_mut(index) else {
            return Err(BuildError::Truncated);
        };
        window.step = match continued {
            Some(_) => (window.step * 2).clamp(SMALLEST, LARGEST),
            None => SMALLEST,
        };
        // An entry that is larger than a window gets one of its own size for once.
        let bytes = window.step.max(size as u64).min(left);
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or(BuildError::TooMuchReading(self.limit))?;
        if window.bytes.capacity() as u64 > LARGEST {
            window.bytes = Vec::new();
        }
        window.begin = offset;
        window.bytes.resize(bytes as usize, 0);
        let at = self
            .section
            .offset
            .checked_add(offset)
            .ok_or(BuildError::Truncated)?;
        let read = self.source.read_at(&mut window.bytes, at)?;
        window.bytes.truncate(read);
        if read < size {
            return Err(BuildError::Truncated);
        }
        Ok(index)
    }
}
