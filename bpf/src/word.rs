//! A stack is a list of 64-bit words, leaf first.
//!
//! ```text
//! 0x00 | file:24 | offset:32   a place in a file
//! 0x01 | address:56            an address in no file (JIT)
//! 0x02 | address:56            a user address in no mapping; while the kernel programs have it, whose mapping is not known yet
//! 0x03 | outcome:56            how the walk ended; the root of a stack
//! 0x04 | number:56             a function of code made at run time, by the number that its name was given
//! 0xff | ...                   a kernel address
//! ```
//!
//! A word holds the address to look up: already minus one for a return address.

use crate::skeleton::types;
use crate::unwind::Unsupported;

/// What layouts of memory are made of.
const PAGE: u64 = 4096;
const PAYLOAD_BITS: u32 = 56;
const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;
const TAG_FILE: u8 = types::word_tag::WORD_FILE.0 as u8;
const TAG_ANONYMOUS: u8 = types::word_tag::WORD_ANONYMOUS.0 as u8;
const TAG_UNRESOLVED: u8 = types::word_tag::WORD_UNRESOLVED.0 as u8;
const TAG_OUTCOME: u8 = types::word_tag::WORD_OUTCOME.0 as u8;
const TAG_FUNCTION: u8 = types::word_tag::WORD_FUNCTION.0 as u8;
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
    /// A virtual address not looked up yet; in a stack that the agent is done with, the end of one that lies in no mapping.
    Unresolved(u64),
    /// The end of the walk.
    Outcome(Outcome),
    /// A function of code made at run time, by the number of its name.
    Function(u64),
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

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// At the entry of a program or a thread: the stack is whole.
    Entry,
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
    /// The memory of the stack could not be read.
    Unreadable,
    /// The mappings of the program were not known to the walk yet: frames were found by frame pointers.
    NoMappings,
    /// A return address that lies in no executable mapping.
    NoMapping,
    /// A frame pointer led to no code.
    Astray,
    /// Code without rules that keeps no frame pointer.
    NoFramePointer,
    /// Code made at run time that keeps no frame pointer.
    NoFramePointerInJit,
    /// A rule beyond the format of tables.
    Unsupported(Unsupported),
    /// Frame pointers stood in for a table that was still to be built.
    TablePending(FileId),
    /// Frame pointers stood in for the table of a file that could not be read.
    TableUnreadable(FileId),
    /// Frame pointers stood in for a table that found no room.
    TableOverBudget(FileId),
    /// The entry was reached, but code of a file without rules was left by a frame pointer: callers may be missing.
    Guessed,
    /// A process of 32 bits.
    Compat32,
    /// The mappings of the program changed during the walk.
    ListChanged,
    /// Code at an address where something else was mapped until a moment ago.
    Remapped,
    /// The stack of this count never reached the agent.
    RingFull,
    /// An outcome of a newer kernel program.
    Unknown(u64),
}

/// Lost on its way to the agent: not an outcome of the kernel programs.
const RING_FULL: u64 = 0x101;
const OUTCOME_BITS: u32 = types::limits::OUTCOME_BITS.0;

impl Outcome {
    /// From the payload of an outcome's word.
    fn from_payload(payload: u64) -> Self {
        use types::outcome as o;
        let detail = payload >> OUTCOME_BITS;
        let Ok(code) = u32::try_from(payload & ((1 << OUTCOME_BITS) - 1)) else {
            return Outcome::Unknown(payload);
        };
        if payload == RING_FULL {
            return Outcome::RingFull;
        }
        let file = u32::try_from(detail).ok().and_then(FileId::new);
        match (o(code), file) {
            (o::OUTCOME_ENTRY, _) => Outcome::Entry,
            (o::OUTCOME_TOO_DEEP, _) => Outcome::TooDeep,
            (o::OUTCOME_KERNEL_THREAD, _) => Outcome::KernelThread,
            (o::OUTCOME_IO_WORKER, _) => Outcome::IoWorker,
            (o::OUTCOME_EXITING, _) => Outcome::Exiting,
            (o::OUTCOME_EXEC, _) => Outcome::Exec,
            (o::OUTCOME_IDLE, _) => Outcome::Idle,
            (o::OUTCOME_UNREADABLE, _) => Outcome::Unreadable,
            (o::OUTCOME_NO_MAPPINGS, _) => Outcome::NoMappings,
            (o::OUTCOME_NO_MAPPING, _) => Outcome::NoMapping,
            (o::OUTCOME_ASTRAY, _) => Outcome::Astray,
            (o::OUTCOME_NO_FRAME_POINTER, _) if detail == 0 => Outcome::NoFramePointer,
            (o::OUTCOME_NO_FRAME_POINTER, _) => Outcome::NoFramePointerInJit,
            (o::OUTCOME_UNSUPPORTED, _) => Unsupported::from_code(detail)
                .map_or(Outcome::Unknown(payload), Outcome::Unsupported),
            (o::OUTCOME_TABLE_PENDING, Some(file)) => Outcome::TablePending(file),
            (o::OUTCOME_TABLE_UNREADABLE, Some(file)) => Outcome::TableUnreadable(file),
            (o::OUTCOME_TABLE_OVER_BUDGET, Some(file)) => Outcome::TableOverBudget(file),
            (o::OUTCOME_COMPAT_32, _) => Outcome::Compat32,
            (o::OUTCOME_LIST_CHANGED, _) => Outcome::ListChanged,
            (o::OUTCOME_GUESSED, _) => Outcome::Guessed,
            (o::OUTCOME_REMAPPED, _) => Outcome::Remapped,
            _ => Outcome::Unknown(payload),
        }
    }

    /// Whether the stack reached its entry, or has no user part to reach.
    pub fn is_whole(self) -> bool {
        matches!(
            self,
            Outcome::Entry
                | Outcome::KernelThread
                | Outcome::IoWorker
                | Outcome::Exiting
                | Outcome::Exec
                | Outcome::Idle
        )
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Entry => "entry",
            Outcome::TooDeep => "too_deep",
            Outcome::KernelThread => "kernel_thread",
            Outcome::IoWorker => "io_worker",
            Outcome::Exiting => "exiting",
            Outcome::Exec => "exec",
            Outcome::Idle => "idle",
            Outcome::Unreadable => "memory_unreadable",
            Outcome::NoMappings => "mappings_not_read",
            Outcome::NoMapping => "no_mapping",
            Outcome::Astray => "astray",
            Outcome::NoFramePointer => "no_frame_pointer",
            Outcome::NoFramePointerInJit => "no_frame_pointer_in_jit",
            Outcome::Unsupported(reason) => match reason {
                Unsupported::CfaExpression => "unsupported_cfa_expression",
                Unsupported::CfaRegister => "unsupported_cfa_register",
                Unsupported::ReturnAddress => "unsupported_return_address",
                Unsupported::FramePointer => "unsupported_frame_pointer",
                Unsupported::TooManyRules => "too_many_rules",
                Unsupported::BadCfi => "bad_cfi",
            },
            Outcome::TablePending(_) => "table_pending",
            Outcome::TableUnreadable(_) => "table_unreadable",
            Outcome::TableOverBudget(_) => "table_over_budget",
            Outcome::Guessed => "guessed",
            Outcome::Compat32 => "compat_32",
            Outcome::ListChanged => "mappings_changed",
            Outcome::Remapped => "remapped",
            Outcome::RingFull => "stack_lost",
            Outcome::Unknown(_) => "unknown",
        }
    }

    /// The file whose table was missing.
    pub fn file(self) -> Option<FileId> {
        match self {
            Outcome::TablePending(file)
            | Outcome::TableUnreadable(file)
            | Outcome::TableOverBudget(file) => Some(file),
            _ => None,
        }
    }

    /// The frame that shows this outcome to a person; nothing where there is nothing to say.
    pub fn frame(self) -> Option<&'static str> {
        Some(match self {
            Outcome::Entry => return None,
            Outcome::TooDeep => "[stack cut: too deep]",
            Outcome::KernelThread => "[kernel thread]",
            Outcome::IoWorker => "[io worker]",
            Outcome::Exiting => "[exiting]",
            Outcome::Exec => "[exec]",
            Outcome::Idle => "[idle]",
            Outcome::Unreadable => "[stack cut: memory unreadable]",
            Outcome::NoMappings => "[frame pointers only: mappings not read yet]",
            Outcome::NoMapping => "[stack cut: address in no mapping]",
            Outcome::Astray => "[stack cut: frame pointer led astray]",
            Outcome::NoFramePointer => "[stack cut: no unwind rule, no frame pointer]",
            Outcome::NoFramePointerInJit => "[stack cut: run-time code without frame pointer]",
            Outcome::Unsupported(reason) => match reason {
                Unsupported::CfaExpression => "[stack cut: unsupported CFA expression]",
                Unsupported::CfaRegister => "[stack cut: unsupported CFA register]",
                Unsupported::ReturnAddress => "[stack cut: unsupported return address rule]",
                Unsupported::FramePointer => "[stack cut: unsupported frame pointer rule]",
                Unsupported::TooManyRules => "[stack cut: too many unwind rules in the file]",
                Unsupported::BadCfi => "[stack cut: bad unwind information]",
            },
            Outcome::TablePending(_) => "[frame pointers only: unwind table not built yet]",
            Outcome::TableUnreadable(_) => "[frame pointers only: unwind table unreadable]",
            Outcome::TableOverBudget(_) => "[frame pointers only: no room for the unwind table]",
            Outcome::Guessed => "[frames may be missing: no unwind rule, frame pointer used]",
            Outcome::Compat32 => "[32-bit process]",
            Outcome::ListChanged => "[stack uncertain: mappings changed]",
            Outcome::Remapped => "[stack cut: code mapped just now]",
            Outcome::RingFull => "[stack lost: ring full]",
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

    /// A virtual address in no mapping, by its distance from the begin of its page. That is the same in every process that
    /// does the same; the rest would give away where the process has its memory, or, where it is no address at all, what it keeps there.
    pub fn unknown(address: u64) -> Self {
        Self::tagged(TAG_UNRESOLVED, address & (PAGE - 1))
    }

    /// A function of code made at run time, by a number that only its name was ever given.
    pub fn function(number: u64) -> Self {
        Self::tagged(TAG_FUNCTION, number)
    }

    /// The whole stack of a count whose stack was lost on its way.
    pub fn ring_full() -> Self {
        Self::tagged(TAG_OUTCOME, RING_FULL)
    }

    /// The root of a stack that is cut at an address without code.
    pub fn astray() -> Self {
        Self::tagged(TAG_OUTCOME, types::outcome::OUTCOME_ASTRAY.0.into())
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
            TAG_OUTCOME => Place::Outcome(Outcome::from_payload(payload)),
            TAG_FUNCTION => Place::Function(payload),
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
        assert_eq!(Word::function(7).place(), Place::Function(7));
        assert_eq!(
            Word::from_raw(0xffff_ffff_8100_0000).place(),
            Place::Kernel(0xffff_ffff_8100_0000)
        );
        assert_eq!(
            Word::from_raw(0x0200_7fff_dead_beef).place(),
            Place::Unresolved(0x7fff_dead_beef)
        );
        assert_eq!(
            Word::unknown(0x7fff_dead_beef).place(),
            Place::Unresolved(0xeef)
        );
        assert_eq!(Word::ring_full().place(), Place::Outcome(Outcome::RingFull));
        assert_eq!(Word::astray().place(), Place::Outcome(Outcome::Astray));
    }

    /// What an outcome is about lies above its code, and a number of a newer kernel program is none of the known ones.
    #[test]
    fn an_outcome_says_what_it_is_about() {
        let outcome = |code: u64| match Word::from_raw(0x03 << 56 | code).place() {
            Place::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(outcome(0), Outcome::Entry);
        let file = FileId::new(0x1234).unwrap();
        assert_eq!(outcome(0x1234_000d), Outcome::TablePending(file));
        let reason = Outcome::Unsupported(Unsupported::CfaRegister);
        assert_eq!(outcome(0x0002_000c), reason);
        assert_eq!(outcome(0x0001_000b), Outcome::NoFramePointerInJit);
        assert_eq!(outcome(0x7777), Outcome::Unknown(0x7777));
        assert!(Outcome::Exec.is_whole() && !Outcome::TooDeep.is_whole());
    }

    #[test]
    fn file_numbers_end_at_24_bits() {
        assert!(FileId::new(0x00ff_ffff).is_some());
        assert!(FileId::new(0x0100_0000).is_none());
    }
}
