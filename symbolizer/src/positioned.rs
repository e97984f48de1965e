//! Positioned reads of files that are not ours: nothing is mapped, so a file that shrinks meanwhile is an error and not a signal.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::demangle::LONGEST;
use crate::elf_header::Extent;

/// What is read at a time of a part that is looked into here and there.
const WINDOW: usize = 4096;
/// What most texts have room in.
const TEXT: u64 = 256;
/// To copy so many bytes in vain takes no longer than to read once more.
const GAP: u64 = 4096;
/// Most that is read at a time.
const AHEAD: u64 = 64 << 10;

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

/// A part of a file that is looked into here and there, mostly near where it was looked into before.
pub(crate) struct Window<'a> {
    file: &'a File,
    part: Extent,
    /// What was read last, and from which place in the part on.
    bytes: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a File, part: Extent) -> Self {
        Self {
            file,
            part,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// What follows a place in the part: as many bytes as are asked for or more, fewer only where it ends.
    pub(crate) fn from(&mut self, place: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = self.part.size.saturating_sub(place);
        let wanted = left.min(wanted as u64) as usize;
        let is_here = |rest: &[u8]| rest.len() >= wanted;
        if !self.read_before(place).is_some_and(is_here) {
            let at = self.part.offset.saturating_add(place);
            let size = left.min(wanted.max(WINDOW) as u64) as usize;
            self.start = place;
            self.bytes.resize(size, 0);
            let read = read_exact_at(self.file, &mut self.bytes, at);
            if read.is_err() {
                self.bytes.clear();
            }
            read?;
        }
        Ok(self.read_before(place).unwrap_or_default())
    }

    fn read_before(&self, place: u64) -> Option<&[u8]> {
        let distance = place.checked_sub(self.start)?;
        self.bytes.get(usize::try_from(distance).ok()?..)
    }

    /// Reads what is near the first of some places in ascending order, if that was not read yet: up to where the next is far away.
    /// Where it cannot be read, a smaller part may be.
    pub(crate) fn look_ahead(&mut self, places: &[u64]) {
        let Some(&first) = places.first() else {
            return;
        };
        if self.read_before(first).is_some_and(|rest| !rest.is_empty()) {
            return;
        }
        let mut end = first.saturating_add(TEXT);
        for &place in places {
            if place > end.saturating_add(GAP) || place - first > AHEAD {
                break;
            }
            end = place.saturating_add(TEXT);
        }
        let _ = self.from(first, (end - first) as usize);
    }

    /// The number of four bytes at a place.
    pub(crate) fn number(&mut self, place: u64) -> io::Result<u32> {
        let bytes = self.from(place, 4)?.first_chunk();
        bytes.map_or(Err(io::ErrorKind::UnexpectedEof.into()), |bytes| {
            Ok(u32::from_le_bytes(*bytes))
        })
    }

    /// The text at a place, which ends with 0 and is cut where it is beyond measure. One that the window ends within would be another.
    pub(crate) fn text(&mut self, place: u64) -> io::Result<String> {
        if CStr::from_bytes_until_nul(self.from(place, 1)?).is_err() {
            // One byte more than is shown, so that it is seen where it is cut.
            self.from(place, LONGEST + 1)?;
        }
        let bytes = self.from(place, 1)?;
        let text = match CStr::from_bytes_until_nul(bytes) {
            Ok(text) => text.to_bytes(),
            Err(_) if bytes.len() > LONGEST => bytes,
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}
