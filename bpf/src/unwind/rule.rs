//! What to do at one place: how the registers of the caller follow from those of the callee.

use crate::skeleton::types::{self, rule_kind, unsupported};
use std::fmt;

/// Where a frame pointer that lies at the address it holds is said to be saved.
pub(super) const FP_AT_FP: i16 = types::unwind_limits::FP_AT_FP.0.cast_signed() as i16;
// On aarch64 the upper half of `rule::kind` says what lies at `rule::fp`; on x86-64 it is zero.
const PAIR: u8 = 1 << 4;
const LINK: u8 = 2 << 4;
const KIND: u8 = 0x0f;
// Of `rule::reg`: the lower bits number a register, the upper ones say where rbx is.
const REGISTER_BITS: u32 = types::unwind_limits::REGISTER_BITS.0;
const RBX_LOST: u8 = types::unwind_limits::RBX_LOST.0 as u8;

/// A step to the caller, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Nothing is known.
    None,
    /// The return address is undefined: the entry of a program or a thread.
    End,
    /// An ordinary frame.
    Frame {
        /// The canonical frame address: the caller's stack pointer.
        cfa: Cfa,
        /// What is in the frame.
        saved: Saved,
        /// Where the caller's rbx is: glibc's lazy binding finds its frame by it.
        rbx: Rbx,
    },
    /// The stack pointer points at the ucontext of a signal frame, which holds all registers.
    Signal,
    /// A frame pointer step that may lead to another stack.
    Switch,
    /// Beyond what the walk can do.
    Unsupported(Unsupported),
}

/// How the canonical frame address is found. Registers have their DWARF numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cfa {
    /// `register + offset`
    Register {
        /// Whose value it is.
        register: u8,
        /// In bytes.
        offset: i32,
    },
    /// `*(register + offset) + addend`: a realigned stack, or one whose pointer is itself on the stack.
    Deref {
        /// Whose value it is.
        register: u8,
        /// In bytes.
        offset: i16,
        /// In bytes.
        addend: i16,
    },
    /// `rsp + 8`, and 8 more from byte `pushed` of each 16 on: a stub of the procedure linkage table.
    Plt {
        /// Offset in the stub of the first instruction behind its push.
        pushed: u8,
    },
}

/// Which registers of the caller are in the frame, in units of 8 bytes from the canonical frame address.
///
/// On x86-64 the return address is always at CFA - 8. On aarch64 it is in x30 unless it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Saved {
    /// None: the frame pointer is unchanged.
    Nothing,
    /// x86-64: the frame pointer.
    FramePointer(i16),
    /// x86-64: the frame pointer, at the address it now holds.
    AtFramePointer,
    /// aarch64: frame pointer and, above it, return address.
    Pair(i16),
    /// aarch64: the return address; the frame pointer is unchanged.
    Link(i16),
}

/// Where the caller's rbx is, on x86-64. A function saves it among the first of the six registers that it has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rbx {
    /// In rbx.
    Unchanged,
    /// At CFA - 8 * this, which is 2 to 7.
    Saved(u8),
    /// Nobody says where, or elsewhere.
    Lost,
}

impl Rbx {
    /// By its distance from the canonical frame address.
    pub(super) fn at(offset: i64) -> Self {
        match offset {
            -56..=-16 if offset % 8 == 0 => Self::Saved((offset / -8) as u8),
            _ => Self::Lost,
        }
    }

    /// As the upper bits of `rule::reg` say it.
    const fn code(self) -> u8 {
        match self {
            Self::Unchanged => 0,
            Self::Saved(slot) => slot.saturating_sub(1) & RBX_LOST,
            Self::Lost => RBX_LOST,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Unchanged,
            RBX_LOST => Self::Lost,
            code => Self::Saved(code + 1),
        }
    }
}

/// Why a rule is beyond the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unsupported {
    /// An expression for the canonical frame address that is none of the known ones.
    CfaExpression = unsupported::UNSUPPORTED_CFA_EXPRESSION.0 as u8,
    /// The canonical frame address follows from a register the walk does not hold, or lies too far from it, or it is not the
    /// caller's stack pointer.
    CfaRegister = unsupported::UNSUPPORTED_CFA_REGISTER.0 as u8,
    /// The return address is at an unusual place.
    ReturnAddress = unsupported::UNSUPPORTED_RETURN_ADDRESS.0 as u8,
    /// The frame pointer is at an unusual place.
    FramePointer = unsupported::UNSUPPORTED_FRAME_POINTER.0 as u8,
    /// The file has more different rules than a table numbers, and this is one of the rarer.
    TooManyRules = unsupported::UNSUPPORTED_TOO_MANY_RULES.0 as u8,
    /// The call frame information makes no sense.
    BadCfi = unsupported::UNSUPPORTED_BAD_CFI.0 as u8,
}

impl Unsupported {
    const ALL: [Self; 6] = [
        Self::CfaExpression,
        Self::CfaRegister,
        Self::ReturnAddress,
        Self::FramePointer,
        Self::TooManyRules,
        Self::BadCfi,
    ];

    /// By its number in a rule.
    pub(crate) fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|why| *why as u64 == code)
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CfaExpression => "cfa-expression",
            Self::CfaRegister => "cfa-register",
            Self::ReturnAddress => "return-address",
            Self::FramePointer => "frame-pointer",
            Self::TooManyRules => "too-many-rules",
            Self::BadCfi => "bad-cfi",
        })
    }
}

/// A rule as it lies in memory: `struct rule`, read as one little-endian number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Packed(pub(super) u64);

impl Packed {
    pub(super) const BYTES: usize = size_of::<types::rule>();

    const fn new(kind: u8, reg: u8, fp: i16, cfa: i32) -> Self {
        Self(
            cfa.cast_unsigned() as u64
                | (fp.cast_unsigned() as u64) << 32
                | (kind as u64) << 48
                | (reg as u64) << 56,
        )
    }

    const fn simple(kind: rule_kind) -> Self {
        Self::new(kind.0 as u8, 0, 0, 0)
    }
}

impl From<Rule> for Packed {
    #[inline]
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::None => Self::simple(rule_kind::RULE_NONE),
            Rule::End => Self::simple(rule_kind::RULE_END),
            Rule::Signal => Self::simple(rule_kind::RULE_SIGNAL),
            Rule::Switch => Self::simple(rule_kind::RULE_SWITCH),
            Rule::Unsupported(why) => {
                Self::new(rule_kind::RULE_UNSUPPORTED.0 as u8, why as u8, 0, 0)
            }
            Rule::Frame { cfa, saved, rbx } => {
                let (what, fp) = match saved {
                    Saved::Nothing => (0, 0),
                    Saved::FramePointer(slot) => (0, slot),
                    Saved::AtFramePointer => (0, FP_AT_FP),
                    Saved::Pair(slot) => (PAIR, slot),
                    Saved::Link(slot) => (LINK, slot),
                };
                let (kind, register, number) = match cfa {
                    Cfa::Register { register, offset } => {
                        (rule_kind::RULE_REGISTER, register, offset)
                    }
                    Cfa::Deref {
                        register,
                        offset,
                        addend,
                    } => {
                        let halves = i32::from(addend) << 16 | i32::from(offset.cast_unsigned());
                        (rule_kind::RULE_DEREF, register, halves)
                    }
                    Cfa::Plt { pushed } => (rule_kind::RULE_PLT, 0, i32::from(pushed)),
                };
                let register = register | rbx.code() << REGISTER_BITS;
                Self::new(kind.0 as u8 | what, register, fp, number)
            }
        }
    }
}

impl From<Packed> for Rule {
    /// A number that no rule has is [`Unsupported::BadCfi`].
    fn from(Packed(bits): Packed) -> Self {
        let number = bits as u32 as i32;
        let fp = (bits >> 32) as u16 as i16;
        let kind = (bits >> 48) as u8;
        let reg = (bits >> 56) as u8;
        let register = reg & ((1 << REGISTER_BITS) - 1);
        let rbx = Rbx::from_code(reg >> REGISTER_BITS);
        let cfa = match rule_kind(u32::from(kind & KIND)) {
            rule_kind::RULE_NONE => return Self::None,
            rule_kind::RULE_END => return Self::End,
            rule_kind::RULE_SIGNAL => return Self::Signal,
            rule_kind::RULE_SWITCH => return Self::Switch,
            rule_kind::RULE_REGISTER => Cfa::Register {
                register,
                offset: number,
            },
            rule_kind::RULE_DEREF => Cfa::Deref {
                register,
                offset: number as i16,
                addend: (number >> 16) as i16,
            },
            rule_kind::RULE_PLT => Cfa::Plt {
                pushed: number as u8,
            },
            _ => {
                let why = Unsupported::from_code(reg.into());
                return Self::Unsupported(why.unwrap_or(Unsupported::BadCfi));
            }
        };
        let saved = match (kind & !KIND, fp) {
            (PAIR, slot) => Saved::Pair(slot),
            (LINK, slot) => Saved::Link(slot),
            (_, 0) => Saved::Nothing,
            (_, FP_AT_FP) => Saved::AtFramePointer,
            (_, slot) => Saved::FramePointer(slot),
        };
        Self::Frame { cfa, saved, rbx }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod;

    fn frame(cfa: Cfa, saved: Saved) -> Rule {
        let rbx = Rbx::Unchanged;
        Rule::Frame { cfa, saved, rbx }
    }

    /// Every kind of rule, with the extremes of its numbers.
    fn rules() -> Vec<Rule> {
        let mut rules = vec![Rule::None, Rule::End, Rule::Signal, Rule::Switch];
        rules.extend(Unsupported::ALL.map(Rule::Unsupported));
        let cfas = [
            Cfa::Register {
                register: 7,
                offset: i32::MAX,
            },
            Cfa::Register {
                register: 31,
                offset: i32::MIN,
            },
            Cfa::Deref {
                register: 6,
                offset: -8,
                addend: 0,
            },
            Cfa::Deref {
                register: 7,
                offset: i16::MAX,
                addend: i16::MIN,
            },
            Cfa::Plt { pushed: 11 },
        ];
        let saved = [
            Saved::Nothing,
            Saved::FramePointer(-2),
            Saved::FramePointer(i16::MAX),
            Saved::AtFramePointer,
            Saved::Pair(0),
            Saved::Pair(i16::MIN),
            Saved::Link(-2),
        ];
        for cfa in cfas {
            rules.extend(saved.map(|saved| frame(cfa, saved)));
            let rbx = (2..=7).map(Rbx::Saved).chain([Rbx::Lost]);
            let saved = Saved::FramePointer(-2);
            rules.extend(rbx.map(|rbx| Rule::Frame { cfa, saved, rbx }));
        }
        rules
    }

    /// Packing loses nothing, and no two rules look alike in memory.
    #[test]
    fn packs_without_loss() {
        let rules = rules();
        for rule in &rules {
            assert_eq!(Rule::from(Packed::from(*rule)), *rule);
        }
        let distinct: std::collections::HashSet<_> =
            rules.iter().map(|rule| Packed::from(*rule)).collect();
        assert_eq!(distinct.len(), rules.len());
    }

    /// The number's bytes are the C structure's fields.
    #[test]
    fn lies_in_memory_as_the_walk_reads_it() {
        let rule = frame(
            Cfa::Register {
                register: 7,
                offset: 200_000,
            },
            Saved::FramePointer(-2),
        );
        let read: types::rule = pod::read(&Packed::from(rule).0.to_le_bytes()).unwrap();
        assert_eq!((read.cfa, read.fp, read.reg), (200_000, -2, 7));
        assert_eq!(u32::from(read.kind), rule_kind::RULE_REGISTER.0);

        let rule = frame(
            Cfa::Deref {
                register: 6,
                offset: -8,
                addend: 24,
            },
            Saved::AtFramePointer,
        );
        let read: types::rule = pod::read(&Packed::from(rule).0.to_le_bytes()).unwrap();
        assert_eq!((read.cfa as i16, read.cfa >> 16, read.reg), (-8, 24, 6));
        assert_eq!(i32::from(read.fp), FP_AT_FP.into());
    }
}
