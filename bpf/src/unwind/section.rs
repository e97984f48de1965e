//! A section's bytes, as they lie in the file or inflated.

use super::elf::Frames;
use super::error::BuildError;
use super::inflate::Inflated;
use super::metered::Metered;
use super::source::Source;
use super::window::Windows;

/// Bytes of a section at any place, of which only a small part is in memory.
pub(super) enum Section<'s, S: ?Sized> {
    Plain(Windows<'s, S>),
    Compressed(Box<Inflated<'s, S>>),
}

impl<'s, S: Source + ?Sized> Section<'s, S> {
    pub(super) fn new(file: &'s Metered<'s, S>, frames: &Frames) -> Self {
        let range = frames.range.clone();
        match frames.inflated_size {
            None => Self::Plain(Windows::new(file, range)),
            Some(size) => Self::Compressed(Box::new(Inflated::new(file, range, size))),
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Plain(windows) => windows.size(),
            Self::Compressed(inflated) => inflated.size(),
        }
    }

    /// Exactly `size` bytes from `offset` on.
    #[inline]
    pub(super) fn get(&mut self, offset: u64, size: usize) -> Result<&[u8], BuildError> {
        match self {
            Self::Plain(windows) => windows.get(offset, size),
            Self::Compressed(inflated) => inflated.get(offset, size),
        }
    }
}
