//! A stack is a list of 64-bit words, leaf first.
//!
//! ```text
//! 0x00 | file:24 | offset:32   a place in a file
//! 0x01 | address:56            an address in no file (JIT)
//! 0x02 | address:56            a user address whose mapping is not known yet: the kernel programs' form
//! 0x03 | outcome:56            how the walk ended; the root of a stack
//! 0xff | ...                   a kernel address
//! ```
//!
//! A word holds the address to look up: already minus one for a return address.

use crate::skeleton::types;

const PAYLOAD_BITS: u32 = 56;
const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;
const TAG_FILE: u8 = 0x00;
const TAG_ANONYMOUS: u8 = 0x01;
const TAG_UNRESOLVED: u8 = types::word_tag::WORD_UNRESOLVED.0 as u8;
const TAG_OUTCOME: u8 = types::word_tag::WORD_OUTCOME.0 as u8;
const TAG_KERNEL: u8 = 0xff;

/// One element of a stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(u64);

/// What a [`Word`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file offset in a file known by a number that is never given twice.
    File {
        /// Number of the file.
        file: FileId,
        /// Offset from that file's [`FileId`] base (a file over 4 GiB has several numbers).
        offset: u32,
    },
    /// A virtual address outside any file.
    Anonymous(u64),
    /// A virtual address not looked up yet.
    Unresolved(u64),
    /// The end of the walk.
    Outcome(Outcome),
    /// A kernel address.
    Kernel(u64),
}

/// Number of a file in words: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

impl FileId {
    /// The id numbered `n`, or nothing when 24 bits are exhausted.
    pub fn new(n: u32) -> Option<Self> {
        (n < 1 << 24).then_some(Self(n))
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The chain of frame pointers came to its end.
    ChainEnded,
    /// The stack has more frames than fit.
    TooDeep,
    /// A kernel thread: there is no user part.
    KernelThread,
    /// A kernel worker that acts for a process: there is no user part.
    IoWorker,
    /// The process had given its memory back.
    Exiting,
    /// The process was between its old and its new program.
    Exec,
    /// The idle task.
    Idle,
    /// No frame could be read.
    Unreadable,
    /// A return address that lies in no executable mapping: the chain had gone astray.
    Astray,
    /// The stack of this count never reached the agent.
    RingFull,
    /// The mappings of the process are not known.
    NoMappings,
    /// An outcome of a newer kernel program.
    Unknown(u64),
}

/// Outcomes that only the agent finds, beyond those of the kernel programs.
const AGENT_OUTCOMES: [(u64, Outcome); 3] = [
    (0x100, Outcome::Astray),
    (0x101, Outcome::RingFull),
    (0x102, Outcome::NoMappings),
];

const KERNEL_OUTCOMES: [(types::outcome, Outcome); 8] = [
    (types::outcome::OUTCOME_CHAIN_ENDED, Outcome::ChainEnded),
    (types::outcome::OUTCOME_TOO_DEEP, Outcome::TooDeep),
    (types::outcome::OUTCOME_KERNEL_THREAD, Outcome::KernelThread),
    (types::outcome::OUTCOME_IO_WORKER, Outcome::IoWorker),
    (types::outcome::OUTCOME_EXITING, Outcome::Exiting),
    (types::outcome::OUTCOME_EXEC, Outcome::Exec),
    (types::outcome::OUTCOME_IDLE, Outcome::Idle),
    (types::outcome::OUTCOME_UNREADABLE, Outcome::Unreadable),
];

impl Outcome {
    fn codes() -> impl Iterator<Item = (u64, Outcome)> {
        KERNEL_OUTCOMES
            .iter()
            .map(|(code, outcome)| (u64::from(code.0), *outcome))
            .chain(AGENT_OUTCOMES)
    }

    fn code(self) -> u64 {
        match self {
            Outcome::Unknown(code) => code,
            known => Self::codes()
                .find(|(_, outcome)| *outcome == known)
                .map_or(PAYLOAD, |(code, _)| code),
        }
    }

    fn from_code(code: u64) -> Self {
        Self::codes()
            .find(|(c, _)| *c == code)
            .map_or(Outcome::Unknown(code), |(_, outcome)| outcome)
    }

    /// The frame that shows this outcome to a person; nothing where there is nothing to say.
    pub fn frame(self) -> Option<&'static str> {
        Some(match self {
            // Frame pointers cannot tell a thread's entry from a function that does not keep them.
            Outcome::ChainEnded => return None,
            Outcome::TooDeep => "[stack cut: too deep]",
            Outcome::KernelThread => "[kernel thread]",
            Outcome::IoWorker => "[io worker]",
            Outcome::Exiting => "[exiting]",
            Outcome::Exec => "[exec]",
            Outcome::Idle => "[idle]",
            Outcome::Unreadable => "[user stack unreadable]",
            Outcome::Astray => "[stack cut: no frame pointer]",
            Outcome::RingFull => "[stack lost: ring full]",
            Outcome::NoMappings => "[mappings unknown]",
            Outcome::Unknown(_) => "[unknown outcome]",
        })
    }
}

impl Word {
    fn tagged(tag: u8, payload: u64) -> Self {
        Self(u64::from(tag) << PAYLOAD_BITS | payload & PAYLOAD)
    }

    /// As the kernel programs wrote it.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// A place in a file.
    pub fn file(file: FileId, offset: u32) -> Self {
        Self::tagged(TAG_FILE, u64::from(file.0) << 32 | u64::from(offset))
    }

    /// A virtual address outside any file.
    pub fn anonymous(address: u64) -> Self {
        Self::tagged(TAG_ANONYMOUS, address)
    }

    /// How a walk ended.
    pub fn outcome(outcome: Outcome) -> Self {
        Self::tagged(TAG_OUTCOME, outcome.code())
    }

    /// What it says.
    pub fn place(self) -> Place {
        let payload = self.0 & PAYLOAD;
        match (self.0 >> PAYLOAD_BITS) as u8 {
            TAG_FILE => Place::File {
                file: FileId((payload >> 32) as u32),
                offset: payload as u32,
            },
            TAG_ANONYMOUS => Place::Anonymous(payload),
            TAG_UNRESOLVED => Place::Unresolved(payload),
            TAG_OUTCOME => Place::Outcome(Outcome::from_code(payload)),
            TAG_KERNEL => Place::Kernel(self.0),
            // A tag of a newer kernel program: an end without a name, not a wrong address.
            tag => Place::Outcome(Outcome::Unknown(
                u64::from(tag) << 48 | payload & ((1 << 48) - 1),
            )),
        }
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.place().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_put_in() {
        let file = FileId::new(0xabcdef).unwrap();
        assert_eq!(
            Word::file(file, 0xffff_fffe).place(),
            Place::File {
                file,
                offset: 0xffff_fffe
            }
        );
        assert_eq!(
            Word::anonymous(0x7fff_dead_beef).place(),
            Place::Anonymous(0x7fff_dead_beef)
        );
        assert_eq!(
            Word::from_raw(0xffff_ffff_8100_0000).place(),
            Place::Kernel(0xffff_ffff_8100_0000)
        );
        assert_eq!(
            Word::from_raw(0x0200_7fff_dead_beef).place(),
            Place::Unresolved(0x7fff_dead_beef)
        );
        for (_, outcome) in Outcome::codes() {
            assert_eq!(Word::outcome(outcome).place(), Place::Outcome(outcome));
        }
    }

    #[test]
    fn file_numbers_end_at_24_bits() {
        assert!(FileId::new(0x00ff_ffff).is_some());
        assert!(FileId::new(0x0100_0000).is_none());
    }
}
