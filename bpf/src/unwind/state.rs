//! Where the registers of the caller are, as call frame instructions tell it, and the rule that follows.

use super::registers::{Machine, Registers};
use super::rule::{Cfa, FP_AT_FP, Rbx, Rule, Saved, Unsupported};

/// Before any instruction has named one.
const NO_REGISTER: u64 = u64::MAX;

/// Offsets in the signal frame that the kernel pushes, from rsp, which points at a `ucontext` (x86-64).
const SIGNAL_CFA: Cfa = Cfa::Deref {
    register: 7,
    offset: 160,
    addend: 0,
};
const SIGNAL_FRAME_POINTER: Place = Place::At {
    register: 7,
    offset: 120,
};
const SIGNAL_RETURN_ADDRESS: Place = Place::At {
    register: 7,
    offset: 168,
};

/// What a CIE tells its functions' instructions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) registers: &'static Registers,
    pub(super) code_alignment: u64,
    pub(super) data_alignment: i64,
    pub(super) address_encoding: u8,
    /// Column of the return address.
    pub(super) return_address: u64,
    pub(super) signal_frame: bool,
    /// Written by the Go linker, which tells nothing of the frame pointer.
    pub(super) go: bool,
}

/// Where the caller's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) cfa_register: u64,
    pub(super) cfa_offset: i64,
    /// Counts instead of register and offset, which may nevertheless be set meanwhile.
    pub(super) cfa_expression: Option<Expression>,
    pub(super) frame_pointer: Place,
    /// x86-64.
    pub(super) rbx: Place,
    pub(super) return_address: Place,
    pub(super) stack_pointer: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Known(Cfa),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its register, as far as anyone says.
    Unchanged,
    Undefined,
    /// Saved relative to the canonical frame address.
    Saved(i64),
    /// It is the canonical frame address.
    Cfa,
    /// Saved relative to a register.
    At {
        register: u8,
        offset: i64,
    },
    Elsewhere,
}

impl State {
    pub(super) const INITIAL: Self = Self {
        cfa_register: NO_REGISTER,
        cfa_offset: 0,
        cfa_expression: None,
        frame_pointer: Place::Unchanged,
        rbx: Place::Unchanged,
        return_address: Place::Unchanged,
        stack_pointer: Place::Cfa,
    };

    /// The rule for this state.
    #[inline]
    pub(super) fn rule(&self, common: &Common) -> Rule {
        let registers = common.registers;
        if common.return_address != registers.return_address.into() {
            return Rule::Unsupported(Unsupported::ReturnAddress);
        }
        if self.return_address == Place::Undefined {
            return Rule::End;
        }
        if common.signal_frame && registers.machine == Machine::X86_64 {
            return self.signal();
        }
        let cfa = match self.cfa_expression {
            Some(Expression::Known(cfa)) => cfa,
            Some(Expression::Other) => return Rule::Unsupported(Unsupported::CfaExpression),
            None if self.cfa_register == NO_REGISTER => {
                return Rule::Unsupported(Unsupported::BadCfi);
            }
            None => match i32::try_from(self.cfa_offset) {
                Ok(offset) if self.cfa_register < registers.general.into() => Cfa::Register {
                    register: self.cfa_register as u8,
                    offset,
                },
                _ => return Rule::Unsupported(Unsupported::CfaRegister),
            },
        };
        let saved = match registers.machine {
            Machine::X86_64 if common.go => Ok(self.saved_by_go()),
            Machine::X86_64 => self.saved_x86_64(registers),
            Machine::Aarch64 => self.saved_aarch64(),
        };
        match saved {
            Ok(_) if !self.goes_on_at(cfa) => Rule::Unsupported(Unsupported::CfaRegister),
            Ok(saved) => Rule::Frame {
                cfa,
                saved,
                rbx: self.rbx(),
            },
            Err(why) => Rule::Unsupported(why),
        }
    }

    #[inline]
    fn rbx(&self) -> Rbx {
        match self.rbx {
            Place::Unchanged => Rbx::Unchanged,
            Place::Saved(offset) => Rbx::at(offset),
            _ => Rbx::Lost,
        }
    }

    /// Whether the caller's stack pointer is the canonical frame address, as the walk takes it.
    #[inline]
    fn goes_on_at(&self, cfa: Cfa) -> bool {
        match self.stack_pointer {
            Place::Cfa => true,
            Place::At { register, offset } => i16::try_from(offset).is_ok_and(|offset| {
                let addend = 0;
                cfa == Cfa::Deref {
                    register,
                    offset,
                    addend,
                }
            }),
            _ => false,
        }
    }

    fn signal(&self) -> Rule {
        let known = self.goes_on_at(SIGNAL_CFA)
            && self.cfa_expression == Some(Expression::Known(SIGNAL_CFA))
            && self.frame_pointer == SIGNAL_FRAME_POINTER
            && self.return_address == SIGNAL_RETURN_ADDRESS;
        if known {
            Rule::Signal
        } else {
            Rule::Unsupported(Unsupported::ReturnAddress)
        }
    }

    #[inline]
    fn saved_x86_64(&self, registers: &Registers) -> Result<Saved, Unsupported> {
        if self.return_address != Place::Saved(-8) {
            return Err(Unsupported::ReturnAddress);
        }
        match self.frame_pointer {
            Place::Unchanged | Place::Undefined => Ok(Saved::Nothing),
            Place::Saved(offset) => match slot(offset) {
                Some(slot) if slot != 0 => Ok(Saved::FramePointer(slot)),
                _ => Err(Unsupported::FramePointer),
            },
            Place::At {
                register,
                offset: 0,
            } if register == registers.frame_pointer => Ok(Saved::AtFramePointer),
            _ => Err(Unsupported::FramePointer),
        }
    }

    /// A function of Go, unless it has no frame, first pushes the frame pointer.
    fn saved_by_go(&self) -> Saved {
        match self.cfa_offset {
            ..=8 => Saved::Nothing,
            _ => Saved::FramePointer(-2),
        }
    }

    fn saved_aarch64(&self) -> Result<Saved, Unsupported> {
        let link = match self.return_address {
            Place::Unchanged => None,
            Place::Saved(offset) => Some(slot(offset).ok_or(Unsupported::ReturnAddress)?),
            _ => return Err(Unsupported::ReturnAddress),
        };
        match (self.frame_pointer, link) {
            (Place::Unchanged | Place::Undefined, None) => Ok(Saved::Nothing),
            (Place::Unchanged | Place::Undefined, Some(link)) => Ok(Saved::Link(link)),
            (Place::Saved(offset), Some(link)) => match slot(offset) {
                Some(slot) if slot.checked_add(1) == Some(link) => Ok(Saved::Pair(slot)),
                _ => Err(Unsupported::FramePointer),
            },
            _ => Err(Unsupported::FramePointer),
        }
    }
}

/// A byte offset in units of 8, unless it is none.
fn slot(offset: i64) -> Option<i16> {
    let slot = i16::try_from(offset / 8).ok()?;
    (offset % 8 == 0 && slot != FP_AT_FP).then_some(slot)
}
