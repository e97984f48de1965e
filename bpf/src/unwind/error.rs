//! Why there is no table.

use std::io;

/// Why a file has no table.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Reading failed.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It ended before what its headers say: it shrank, or they lie.
    #[error("is shorter than it says")]
    Truncated,
    /// It is no ELF file.
    #[error("is not an ELF file")]
    NotElf,
    /// It is an ELF file for another kind of machine.
    #[error("is ELF, but not for a machine whose stacks are known (x86-64, aarch64)")]
    Machine,
    /// Its headers contradict themselves.
    #[error("has a damaged {0}")]
    Malformed(&'static str),
    /// The table would be larger than allowed.
    #[error("needs a table of more than {0} bytes")]
    ImageTooLarge(usize),
    /// It has more functions than allowed.
    #[error("has more than {0} functions with call frame information")]
    TooManyFunctions(usize),
    /// Reading its call frame information takes more than is allowed.
    #[error("takes more than {0} bytes of call frame information to read")]
    TooMuchReading(u64),
}

/// What one file may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the image in bytes.
    pub image_bytes: usize,
    /// Functions with call frame information, at most; 8 bytes of memory each while a table is built.
    pub functions: usize,
    /// Bytes of call frame information that are read, with those that are read again because they are out of order. Time
    /// follows from it.
    pub read_bytes: u64,
}

impl Default for Limits {
    /// Room for the largest programs there are: a browser has 600,000 functions and 100 MB of call frame information.
    fn default() -> Self {
        Self {
            image_bytes: 64 << 20,
            functions: 4 << 20,
            read_bytes: 1 << 30,
        }
    }
}
