//! What the agent and its worker say to each other.

use serde::{Deserialize, Serialize};

use crate::debug_info::LONGEST_MESSAGE;
use crate::elf_names::FileError;

/// Most bytes of a message. Both ends have room for one, so no length that comes with it is ever trusted.
pub(super) const LARGEST: usize = 64 << 10;
/// Most addresses of a request: each takes ten bytes at most.
pub(crate) const MOST_ADDRESSES: usize = 4096;
/// What a frame, and what a text beside its bytes, costs the agent.
pub(super) const FRAME_COST: usize = 64;
pub(super) const TEXT_COST: usize = 64;

/// To the worker, beside the open file, a debug file of it that was fetched, and the root directories below which files that belong to
/// it may be opened: what is at these ELF addresses?
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Of the module: the worker keeps what it has read of it.
    pub(super) module: u64,
    /// Of the file when it was opened: one that is shorter now holds something else.
    pub(super) length: u64,
    /// Where the file lies below the directories that come with it.
    pub(super) path: Vec<u8>,
    /// Whether debug information is to be read too.
    pub(super) lines: bool,
    /// Whether the second of the files is a debug file of the first.
    pub(super) has_debug_file: bool,
    /// What all frames and texts may cost.
    pub(super) budget: usize,
    /// Ascending.
    pub(super) addresses: Vec<u64>,
}

/// To the agent. Replies follow each other in messages; the frames of an address do too, innermost first, and addresses in
/// the order of the request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply<'a> {
    /// A text that frames speak of by its number: the first is 0. Most frames have theirs in common.
    Text(&'a str),
    /// A frame of one of the addresses.
    Frame(Frame),
    /// The frames so far are all that tables of symbols say of the first so many addresses; the rest would cost too much. What follows
    /// is better.
    Symbols(usize),
    /// What is wrong with the file.
    #[serde(borrow)]
    Fault(Fault<'a>),
    /// There is nothing more to say, and the worker has so many bytes of memory now. Whether the file would have lines if there were a
    /// debug file.
    End {
        resident: u64,
        lacks_debug_info: bool,
    },
}

/// Names and file are numbers of texts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Position of the address in the request.
    pub(super) index: usize,
    pub(super) name: usize,
    pub(super) system_name: usize,
    pub(super) file: Option<usize>,
    pub(super) line: u32,
    pub(super) inlined: bool,
}

/// [`FileError`] on its way, as far as a worker finds it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault<'a> {
    Symbols(&'a str),
    DebugInfo(&'a str),
    TooMuchDebugInfo,
    Go(&'a str),
    DebugFile(&'a str),
    Truncated,
}

impl<'a> Fault<'a> {
    pub(super) fn of(error: &'a FileError) -> Option<Self> {
        match error {
            FileError::Symbols(message) => Some(Self::Symbols(message)),
            FileError::DebugInfo(message) => Some(Self::DebugInfo(message)),
            FileError::TooMuchDebugInfo => Some(Self::TooMuchDebugInfo),
            FileError::Go(message) => Some(Self::Go(message)),
            FileError::DebugFile(message) => Some(Self::DebugFile(message)),
            FileError::Truncated => Some(Self::Truncated),
            FileError::Worker(_) => None,
        }
    }

    /// What it says, cut where it is longer than such messages are.
    pub(super) fn into_error(self) -> FileError {
        let cut = |message: &str| message.chars().take(LONGEST_MESSAGE).collect();
        match self {
            Self::Symbols(message) => FileError::Symbols(cut(message)),
            Self::DebugInfo(message) => FileError::DebugInfo(cut(message)),
            Self::TooMuchDebugInfo => FileError::TooMuchDebugInfo,
            Self::Go(message) => FileError::Go(cut(message)),
            Self::DebugFile(message) => FileError::DebugFile(cut(message)),
            Self::Truncated => FileError::Truncated,
        }
    }
}
