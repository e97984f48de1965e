//! Where the bytes of an ELF file come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Something to read an ELF file from: a file, or its bytes where there is none (the vDSO).
///
/// A file is read and never mapped: one that is truncated while it is mapped kills whoever reads it.
pub trait Source {
    /// Reads at most as much as fits the buffer; less than that only at the end.
    ///
    /// # Errors
    /// What reading answers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Its size in bytes, now.
    ///
    /// # Errors
    /// What asking for it answers.
    fn size(&self) -> io::Result<u64>;
}

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // pread takes a signed offset.
        if offset > i64::MAX as u64 {
            return Ok(0);
        }
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            match FileExt::read_at(self, rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

impl Source for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}
