//! Rules for a function without call frame information, from its instructions: what each does with rsp and rbp.
//!
//! Where the stack pointer goes is followed from the function's first instruction, where it points at the return address,
//! along every way through it. JavaScript's builtins in V8 have nothing else to go by: most of them keep no frame on the short
//! way, and make one where they call something.

use super::rule::{Cfa, Rbx, Rule, Saved};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};

/// What is longer is left alone: no builtin of V8 is a third of that.
pub(super) const LONGEST: usize = 32 << 10;
/// Work for each byte of code: an instruction of four bytes or so is decoded once or twice.
pub(super) const BYTE: u64 = 16;

const BITS: u32 = 64;
const WORD: i32 = 8;
const RSP: u8 = 7;
const RBP: u8 = 6;
/// Parts of a function that only tables of jumps lead to, and that are looked for.
const MOST_ROUNDS: usize = 16;
/// Frames are smaller. Every distance stays far from where numbers end.
const FAR: i32 = 1 << 24;

/// What is known before an instruction. The canonical frame address (CFA) is the caller's stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    rsp: StackPointer,
    rbp: FramePointer,
    /// CFA - the address where the caller's rbp lies.
    saved: Option<i32>,
    return_address: ReturnAddress,
}

/// CFA - rsp.
///
/// Two ways that meet have the stack pointer at one distance from the return address, or the code behind could not return. So
/// where ways meet, what is certain on one is true on all: a function that takes its arguments off the stack, as those of
/// JavaScript do, and one that moves its return address to make room for arguments, are not known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StackPointer {
    /// If what was called since left the arguments where they were.
    Assumed(i32),
    Unknown,
    Certain(i32),
    /// Certain on two ways, and not the same.
    Lost,
}

impl StackPointer {
    fn get(self) -> Option<i32> {
        match self {
            Self::Assumed(distance) | Self::Certain(distance) => Some(distance),
            Self::Unknown | Self::Lost => None,
        }
    }

    fn certain(distance: Option<i32>) -> Self {
        distance.map_or(Self::Unknown, Self::Certain)
    }

    /// Further down by so much.
    fn lowered(self, bytes: i64) -> Self {
        let lower = |distance| near(i64::from(distance) + bytes);
        match self {
            Self::Assumed(distance) => lower(distance).map_or(Self::Unknown, Self::Assumed),
            Self::Certain(distance) => Self::certain(lower(distance)),
            Self::Unknown | Self::Lost => self,
        }
    }

    fn meet(self, other: Self) -> Self {
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
enum FramePointer {
    /// As it was on entry.
    Callers,
    /// CFA - this.
    Into(i32),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReturnAddress {
    /// At CFA - 8.
    OnStack,
    /// Taken off the stack, to be pushed again.
    In(Register),
    Lost,
}

impl Frame {
    /// At a function's first instruction.
    const ENTRY: Self = Self {
        rsp: StackPointer::Certain(WORD),
        rbp: FramePointer::Callers,
        saved: None,
        return_address: ReturnAddress::OnStack,
    };

    /// What is true whichever of two ways led here.
    fn meet(self, other: Self) -> Self {
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

    fn rule(self) -> Rule {
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
    fn lower(&mut self, bytes: i64) {
        self.rsp = self.rsp.lowered(bytes);
    }

    fn push(&mut self, register: Register) {
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

    fn pop(&mut self, register: Register) {
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
    fn rsp_from_rbp(&mut self, distance: i64) {
        self.rsp = StackPointer::certain(match self.rbp {
            FramePointer::Into(offset) => near(i64::from(offset) - distance),
            _ => None,
        });
    }

    /// mov %rsp, %rbp or lea n(%rsp), %rbp.
    fn rbp_from_rsp(&mut self, distance: i64) {
        self.rbp = match self.rsp.lowered(distance.wrapping_neg()).get() {
            Some(offset) => FramePointer::Into(offset),
            None => FramePointer::Other,
        };
    }

    /// A register got a value of which nothing is known.
    fn written(&mut self, register: Register) {
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
    fn place(&self, instruction: &Instruction) -> Option<i32> {
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

fn displacement(instruction: &Instruction) -> i64 {
    instruction.memory_displacement64().cast_signed()
}

/// The rules of the function whose code this is, each with the distance from the function's begin that it holds from.
pub(super) fn rules(code: &[u8]) -> Vec<(u32, Rule)> {
    let mut function = Function {
        code,
        frames: vec![None; code.len()],
        lengths: vec![0; code.len()],
        open: vec![(0, Frame::ENTRY)],
        at_jumps: None,
        is_guessing: false,
        registers: InstructionInfoFactory::new(),
    };
    function.follow();
    // What a jump table leads to is reached by nothing else. It may as well be nothing that ever runs, so it changes nothing
    // of what is known by now.
    function.is_guessing = true;
    for _ in 0..MOST_ROUNDS {
        let (Some(frame), Some(start)) = (function.at_jumps, function.unreached()) else {
            break;
        };
        function.reach(start, frame);
        function.follow();
    }
    function.rules()
}

/// A function that is being followed.
struct Function<'c> {
    code: &'c [u8],
    /// What is known before each instruction, by its place.
    frames: Vec<Option<Frame>>,
    lengths: Vec<u8>,
    /// Where to go on.
    open: Vec<(usize, Frame)>,
    /// What is known at all jumps that do not say where to.
    at_jumps: Option<Frame>,
    /// Whether ways are followed that nothing is known to take.
    is_guessing: bool,
    registers: InstructionInfoFactory,
}

impl Function<'_> {
    fn follow(&mut self) {
        while let Some((start, frame)) = self.open.pop() {
            self.follow_from(start, frame);
        }
    }

    /// Notes what is known at a place, if that is news; each place has news a few times at most.
    fn reach(&mut self, at: usize, frame: Frame) {
        if let Some(known) = self.frames.get(at)
            && known.is_none_or(|known| known.meet(frame) != known)
        {
            self.open.push((at, frame));
        }
    }

    /// Follows instructions up to a jump, or to where nothing is news.
    fn follow_from(&mut self, start: usize, mut frame: Frame) {
        let options = DecoderOptions::NONE;
        let Some(code) = self.code.get(start..) else {
            return;
        };
        // Behind the last call.
        let mut resumed = None;
        let mut decoder = Decoder::with_ip(BITS, code, start as u64, options);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            let at = decoder.ip() as usize;
            let Some(known) = self.frames.get_mut(at) else {
                return;
            };
            if let Some(known) = known {
                let both = known.meet(frame);
                if both == *known || self.is_guessing {
                    return;
                }
                frame = both;
            }
            *known = Some(frame);
            decoder.decode_out(&mut instruction);
            if let Some(length) = self.lengths.get_mut(at) {
                *length = instruction.len() as u8;
            }
            if instruction.flow_control() != FlowControl::Return {
                self.apply(&instruction, &mut frame);
            }
            match instruction.flow_control() {
                FlowControl::Call | FlowControl::IndirectCall => {
                    resumed = Some((instruction.next_ip() as usize, frame));
                }
                FlowControl::Return => {
                    // What was called took so much off the stack, as this could not return otherwise.
                    if let (Some((at, then)), StackPointer::Assumed(now)) = (resumed, frame.rsp)
                        && now != WORD
                    {
                        let rsp = then.rsp.lowered(i64::from(WORD - now)).get();
                        let rsp = StackPointer::certain(rsp);
                        self.reach(at, Frame { rsp, ..then });
                    }
                    return;
                }
                FlowControl::ConditionalBranch => {
                    self.reach(instruction.near_branch_target() as usize, frame);
                }
                FlowControl::UnconditionalBranch => {
                    self.reach(instruction.near_branch_target() as usize, frame);
                    return;
                }
                FlowControl::IndirectBranch => {
                    let others = self.at_jumps.map(|others| others.meet(frame));
                    self.at_jumps = Some(others.unwrap_or(frame));
                    return;
                }
                FlowControl::Interrupt | FlowControl::Exception => return,
                _ => {}
            }
            if matches!(instruction.mnemonic(), Mnemonic::Hlt | Mnemonic::INVALID) {
                return;
            }
        }
    }

    /// What is known behind an instruction.
    fn apply(&mut self, instruction: &Instruction, frame: &mut Frame) {
        let register = instruction.op0_register();
        let operands = (instruction.op0_kind(), instruction.op1_kind());
        match (instruction.mnemonic(), operands) {
            (Mnemonic::Push, _) if instruction.stack_pointer_increment() == -WORD => {
                frame.push(register)
            }
            (Mnemonic::Pushfq, _) => frame.push(Register::None),
            (Mnemonic::Pop, (OpKind::Register, _)) if register.is_gpr64() => frame.pop(register),
            (Mnemonic::Popfq, _) | (Mnemonic::Pop, (OpKind::Memory, _)) => {
                frame.pop(Register::None);
            }
            (Mnemonic::Leave, _) => {
                frame.rsp_from_rbp(0);
                frame.pop(Register::RBP);
            }
            (Mnemonic::Call, _) => {
                // To the next instruction: the address is popped there.
                let is_push = operands.0 == OpKind::NearBranch64
                    && instruction.near_branch_target() == instruction.next_ip();
                if is_push {
                    frame.push(Register::None);
                } else if let StackPointer::Certain(distance) = frame.rsp {
                    frame.rsp = StackPointer::Assumed(distance);
                }
                if frame.return_address != ReturnAddress::OnStack {
                    frame.return_address = ReturnAddress::Lost;
                }
            }
            (Mnemonic::Add | Mnemonic::Sub, (OpKind::Register, kind))
                if register == Register::RSP && is_number(kind) =>
            {
                let number = instruction.immediate(1).cast_signed();
                let is_sub = instruction.mnemonic() == Mnemonic::Sub;
                frame.lower(if is_sub {
                    number
                } else {
                    number.wrapping_neg()
                });
            }
            (Mnemonic::Mov, (OpKind::Register, OpKind::Register)) => {
                match (register, instruction.op1_register()) {
                    (Register::RBP, Register::RSP) => frame.rbp_from_rsp(0),
                    (Register::RSP, Register::RBP) => frame.rsp_from_rbp(0),
                    _ => frame.written(register),
                }
            }
            (Mnemonic::Lea, (OpKind::Register, _))
                if matches!(register, Register::RSP | Register::RBP)
                    && instruction.memory_index() == Register::None =>
            {
                let distance = displacement(instruction);
                match (register, instruction.memory_base()) {
                    (Register::RSP, Register::RSP) => frame.lower(distance.wrapping_neg()),
                    (Register::RSP, Register::RBP) => frame.rsp_from_rbp(distance),
                    (Register::RBP, Register::RSP) => frame.rbp_from_rsp(distance),
                    _ => frame.written(register),
                }
            }
            (Mnemonic::Mov, (OpKind::Memory, OpKind::Register))
                if instruction.op1_register() == Register::RBP =>
            {
                if frame.rbp == FramePointer::Callers {
                    frame.saved = frame.place(instruction).or(frame.saved);
                }
            }
            (Mnemonic::Mov, (OpKind::Register, OpKind::Memory)) if register == Register::RBP => {
                let place = frame.place(instruction);
                frame.rbp = match place.is_some() && place == frame.saved {
                    true => FramePointer::Callers,
                    false => FramePointer::Other,
                };
            }
            _ => self.others(instruction, frame),
        }
    }

    fn others(&mut self, instruction: &Instruction, frame: &mut Frame) {
        let names = |register: Register| {
            (0..instruction.op_count()).any(|operand| {
                instruction.op_kind(operand) == OpKind::Register
                    && instruction.op_register(operand).full_register() == register
            })
        };
        let is_of_interest = instruction.is_stack_instruction()
            || names(Register::RSP)
            || names(Register::RBP)
            || frame.return_address != ReturnAddress::OnStack;
        // Of most instructions that is enough, and takes a tenth of what follows.
        if !is_of_interest {
            return;
        }
        let options = InstructionInfoOptions::NO_MEMORY_USAGE;
        let info = self.registers.info_options(instruction, options);
        for used in info.used_registers() {
            let is_written = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            if is_written {
                frame.written(used.register());
            }
        }
    }

    /// The first place that nothing led to.
    fn unreached(&self) -> Option<usize> {
        let mut end = 0;
        for (at, (frame, length)) in self.frames.iter().zip(&self.lengths).enumerate() {
            match frame {
                Some(_) => end = at + usize::from(*length),
                None if at >= end => return Some(at),
                None => {}
            }
        }
        None
    }

    fn rules(&self) -> Vec<(u32, Rule)> {
        let mut rules: Vec<(u32, Rule)> = Vec::new();
        let mut end = 0;
        for (at, (frame, length)) in self.frames.iter().zip(&self.lengths).enumerate() {
            let rule = match frame {
                Some(frame) => {
                    end = at + usize::from(*length);
                    frame.rule()
                }
                None if at >= end => Rule::None,
                None => continue,
            };
            if rules.last().is_none_or(|(_, last)| *last != rule) {
                rules.push((at as u32, rule));
            }
        }
        rules
    }
}

fn is_number(kind: OpKind) -> bool {
    matches!(kind, OpKind::Immediate8to64 | OpKind::Immediate32to64)
}
