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
    /// Reading it, and what follows from what it says, takes more than is allowed.
    #[error("takes more work than a file of its size may")]
    TooMuchWork,
}

/// What one file may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the image in bytes.
    pub image_bytes: usize,
    /// Functions with call frame information, at most; 8 bytes of memory each while a table is built.
    pub functions: usize,
    /// Bytes that are read, with those that are read again because they are out of order, and what is done with them in the
    /// same measure: a nanosecond or less each. A small file may take less, as its size is.
    pub work: u64,
}

impl Default for Limits {
    /// Room for programs several times as large as the largest: libLLVM of Rust takes a seventh of this work. What it makes a
    /// hostile file cost is a second or so.
    fn default() -> Self {
        Self {
            image_bytes: 64 << 20,
            functions: 4 << 20,
            work: 3 << 29,
        }
    }
}
