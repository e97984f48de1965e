//! Rules for a function without call frame information, from its instructions: what each does with rsp and rbp.
//!
//! Where the stack pointer goes is followed from the function's first instruction, where it points at the return address,
//! along every way through it. JavaScript's builtins in V8 have nothing else to go by: most of them keep no frame on the short
//! way, and make one where they call something.

use super::rule::Rule;
use super::stack_frame::{Frame, FramePointer, ReturnAddress, StackPointer, WORD, displacement};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};

/// What is longer is left alone: no builtin of V8 is a third of that.
pub(super) const LONGEST: usize = 32 << 10;
/// Work for each byte of code: an instruction of four bytes or so is decoded once or twice.
pub(super) const BYTE: u64 = 16;

const BITS: u32 = 64;
/// Parts of a function that only tables of jumps lead to, and that are looked for.
const MOST_ROUNDS: usize = 16;

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
