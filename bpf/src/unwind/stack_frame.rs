//! What is known of a function's frame before one of its instructions, and what is known behind it.

use super::rule::{Cfa, Rbx, Rule, Saved};
use iced_x86::{Instruction, Register};

pub(super) const WORD: i32 = 8;
const RSP: u8 = 7;
const RBP: u8 = 6;
/// Frames are smaller. Every distance stays far from where numbers end.
const FAR: i32 = 1 << 24;

/// What is known before an instruction. The canonical frame address (CFA) is the caller's stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) rsp: StackPointer,
    pub(super) rbp: FramePointer,
    /// CFA - the address where the caller's rbp lies.
    pub(super) saved: Option<i32>,
    pub(super) return_address: ReturnAddress,
}

/// CFA - rsp.
///
/// Two ways that meet have the stack pointer at one distance from the return address, or the code behind could not return. So
/// where ways meet, what is certain on one is true on all: a function that takes its arguments off the stack, as those of
/// JavaScript do, and one that moves its return address to make room for arguments, are not known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StackPointer {
    /// If what was called since left the arguments where they were.
    Assumed(i32),
    Unknown,
    Certain(i32),
    /// Certain on two ways, and not the same.
    Lost,
}

impl StackPointer {
    pub(super) fn get(self) -> Option<i32> {
        match self {
            Self::Assumed(distance) | Self::Certain(distance) => Some(distance),
            Self::Unknown | Self::Lost => None,
        }
    }

    pub(super) fn certain(distance: Option<i32>) -> Self {
        distance.map_or(Self::Unknown, Self::Certain)
    }

    /// Further down by so much.
    pub(super) fn lowered(self, bytes: i64) -> Self {
        let lower = |distance| near(i64::from(distance) + bytes);
        match self {
            Self::Assumed(distance) => lower(distance).map_or(Self::Unknown, Self::Assumed),
            Self::Certain(distance) => Self::certain(lower(distance)),
            Self::Unknown | Self::Lost => self,
        }
    }

    pub(super) fn meet(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Lost, _) | (_, Self::Lost) | (Self::Certain(_), Self::Certain(_)) => Self::Lost,
            (Self::Certain(_), _) => self,
            (_, Self::Certain(_)) => other,
            _ => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramePointer {
    /// As it was on entry.
    Callers,
    /// CFA - this.
    Into(i32),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReturnAddress {
    /// At CFA - 8.
    OnStack,
    /// Taken off the stack, to be pushed again.
    In(Register),
    Lost,
}

impl Frame {
    /// At a function's first instruction.
    pub(super) const ENTRY: Self = Self {
        rsp: StackPointer::Certain(WORD),
        rbp: FramePointer::Callers,
        saved: None,
        return_address: ReturnAddress::OnStack,
    };

    /// What is true whichever of two ways led here.
    pub(super) fn meet(self, other: Self) -> Self {
        Self {
            rsp: self.rsp.meet(other.rsp),
            rbp: match self.rbp == other.rbp {
                true => self.rbp,
                false => FramePointer::Other,
            },
            saved: self.saved.filter(|_| self.saved == other.saved),
            return_address: match self.return_address == other.return_address {
                true => self.return_address,
                false => ReturnAddress::Lost,
            },
        }
    }

    pub(super) fn rule(self) -> Rule {
        let slot = self.saved.and_then(|at| i16::try_from(-at / WORD).ok());
        let saved = match (self.rbp, slot) {
            (FramePointer::Callers, _) => Saved::Nothing,
            (_, Some(slot)) => Saved::FramePointer(slot),
            (_, None) => return Rule::None,
        };
        let (register, offset) = match (self.rbp, self.rsp.get(), self.return_address) {
            (FramePointer::Into(offset), _, ReturnAddress::OnStack) => (RBP, offset),
            (_, Some(offset), ReturnAddress::OnStack) => (RSP, offset),
            // What was popped is still there.
            (_, Some(0), ReturnAddress::In(_)) => (RSP, 0),
            _ => return Rule::None,
        };
        Rule::Frame {
            cfa: Cfa::Register { register, offset },
            saved,
            rbx: Rbx::Lost,
        }
    }

    /// rsp goes down by so much.
    pub(super) fn lower(&mut self, bytes: i64) {
        self.rsp = self.rsp.lowered(bytes);
    }

    pub(super) fn push(&mut self, register: Register) {
        match self.return_address {
            ReturnAddress::In(popped) if popped == register => {
                // Arguments may have come or gone below it: the caller's stack pointer is what this makes it.
                self.rsp = StackPointer::Certain(WORD);
                self.return_address = ReturnAddress::OnStack;
                return;
            }
            // In the place of the one that was popped.
            ReturnAddress::In(_) if self.rsp.get() == Some(0) => self.rsp = StackPointer::Unknown,
            _ => {}
        }
        self.lower(WORD.into());
        if register == Register::RBP && self.rbp == FramePointer::Callers {
            self.saved = self.rsp.get();
        }
    }

    pub(super) fn pop(&mut self, register: Register) {
        let at = self.rsp.get();
        self.written(register);
        if at == Some(WORD) && self.return_address == ReturnAddress::OnStack {
            self.return_address = ReturnAddress::In(register);
        }
        if register == Register::RBP && at.is_some() && at == self.saved {
            self.rbp = FramePointer::Callers;
            self.saved = None;
        }
        if register != Register::RSP {
            self.lower(-i64::from(WORD));
        }
    }

    /// mov %rbp, %rsp or lea n(%rbp), %rsp.
    pub(super) fn rsp_from_rbp(&mut self, distance: i64) {
        self.rsp = StackPointer::certain(match self.rbp {
            FramePointer::Into(offset) => near(i64::from(offset) - distance),
            _ => None,
        });
    }

    /// mov %rsp, %rbp or lea n(%rsp), %rbp.
    pub(super) fn rbp_from_rsp(&mut self, distance: i64) {
        self.rbp = match self.rsp.lowered(distance.wrapping_neg()).get() {
            Some(offset) => FramePointer::Into(offset),
            None => FramePointer::Other,
        };
    }

    /// A register got a value of which nothing is known.
    pub(super) fn written(&mut self, register: Register) {
        match register.full_register() {
            Register::RSP => self.rsp = StackPointer::Unknown,
            Register::RBP => self.rbp = FramePointer::Other,
            register if self.return_address == ReturnAddress::In(register) => {
                self.return_address = ReturnAddress::Lost;
            }
            _ => {}
        }
    }

    /// CFA - the address of an operand in memory, if that lies in the frame.
    pub(super) fn place(&self, instruction: &Instruction) -> Option<i32> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        let base = match (instruction.memory_base(), self.rbp) {
            (Register::RSP, _) => self.rsp.get()?,
            (Register::RBP, FramePointer::Into(offset)) => offset,
            _ => return None,
        };
        near(i64::from(base) - displacement(instruction))
    }
}

fn near(distance: i64) -> Option<i32> {
    let distance = i32::try_from(distance).ok()?;
    (-FAR..FAR).contains(&distance).then_some(distance)
}

pub(super) fn displacement(instruction: &Instruction) -> i64 {
    instruction.memory_displacement64().cast_signed()
}
