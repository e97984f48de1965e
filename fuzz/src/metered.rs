//! A source that counts what is read of it.

use bpf::unwind::Source;
use std::cell::Cell;
use std::io;

pub(crate) struct Metered<'a, S: ?Sized> {
    source: &'a S,
    bytes: Cell<u64>,
}

impl<'a, S: Source + ?Sized> Metered<'a, S> {
    pub(crate) fn new(source: &'a S) -> Self {
        Self {
            source,
            bytes: Cell::new(0),
        }
    }

    /// How many bytes were read, those read twice counted twice.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl<S: Source + ?Sized> Source for Metered<'_, S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.source.read_at(buffer, offset)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }
}
