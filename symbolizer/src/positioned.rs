//! Positioned reads of files that are not ours: nothing is mapped, so a file that shrinks meanwhile is an error and not a signal.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::elf_header::Extent;

/// Fills `bytes` from a position on, which the file may have invented.
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    // pread takes a signed offset.
    if at > i64::MAX as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.read_exact_at(bytes, at)
}

/// A part of a file, of which no more than `most` bytes are read.
pub(crate) fn read_extent(file: &File, extent: Extent, most: u64) -> io::Result<Vec<u8>> {
    if extent.size > most {
        return Err(io::Error::other("a part of it is too large"));
    }
    let mut bytes = vec![0; extent.size as usize];
    read_exact_at(file, &mut bytes, extent.offset)?;
    Ok(bytes)
}

/// A part of a file as a stream.
pub(crate) struct Piece<'a> {
    file: &'a File,
    rest: Extent,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(file: &'a File, extent: Extent) -> Self {
        Self { file, rest: extent }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> u64 {
        self.rest.size
    }
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = (buffer.len() as u64).min(self.rest.size) as usize;
        let part = buffer.get_mut(..size).unwrap_or_default();
        read_exact_at(self.file, part, self.rest.offset)?;
        self.rest.offset = self.rest.offset.saturating_add(size as u64);
        self.rest.size -= size as u64;
        Ok(size)
    }
}
