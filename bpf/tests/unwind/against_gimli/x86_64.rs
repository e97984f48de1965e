//! Rules for x86-64 from gimli's.

use bpf::unwind::{Cfa, Rbx, Rule, Saved, Unsupported};
use gimli::{
    CfaRule, CommonInformationEntry, EhFrame, EndianSlice, LittleEndian, Operation, Register,
    RegisterRule, UnwindExpression, UnwindTableRow,
};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

const RBP: Register = gimli::X86_64::RBP;
const RBX: Register = gimli::X86_64::RBX;
const RETURN_ADDRESS: Register = gimli::X86_64::RA;

/// The rule for a row of gimli's, as `bpf/src/c/unwind.h` describes rules.
pub(super) fn expected(
    row: &UnwindTableRow<usize>,
    frames: &EhFrame<Slice<'_>>,
    cie: &CommonInformationEntry<Slice<'_>>,
) -> Rule {
    let return_address = row.register(RETURN_ADDRESS);
    if return_address == Some(RegisterRule::Undefined) {
        return Rule::End;
    }
    if cie.is_signal_trampoline() {
        // Where the kernel puts rsp, rbp and rip in a ucontext.
        let at = |rule, offset| match rule {
            Some(RegisterRule::Expression(expression)) => {
                operations(&expression, frames) == [breg(7, offset)]
            }
            _ => false,
        };
        let cfa = match row.cfa() {
            CfaRule::Expression(expression) => operations(expression, frames),
            CfaRule::RegisterAndOffset { .. } => Vec::new(),
        };
        assert!(
            cfa == [breg(7, 160), DEREF] && at(row.register(RBP), 120) && at(return_address, 168)
        );
        return Rule::Signal;
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Cfa::Register {
            register: register.0.try_into().unwrap(),
            offset: (*offset).try_into().unwrap(),
        },
        CfaRule::Expression(expression) => match cfa(&operations(expression, frames)) {
            Some(cfa) => cfa,
            None => return Rule::Unsupported(Unsupported::CfaExpression),
        },
    };
    if return_address != Some(RegisterRule::Offset(-8)) {
        return Rule::Unsupported(Unsupported::ReturnAddress);
    }
    let saved = match row.register(RBP) {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Saved::Nothing,
        Some(RegisterRule::Offset(offset)) if offset % 8 == 0 && offset != 0 => {
            Saved::FramePointer((offset / 8).try_into().unwrap())
        }
        Some(RegisterRule::Expression(expression))
            if operations(&expression, frames) == [breg(6, 0)] =>
        {
            Saved::AtFramePointer
        }
        _ => return Rule::Unsupported(Unsupported::FramePointer),
    };
    let rbx = match row.register(RBX) {
        None | Some(RegisterRule::SameValue) => Rbx::Unchanged,
        Some(RegisterRule::Offset(offset)) if offset % 8 == 0 && (-56..=-16).contains(&offset) => {
            Rbx::Saved((offset / -8).try_into().unwrap())
        }
        _ => Rbx::Lost,
    };
    Rule::Frame { cfa, saved, rbx }
}

const DEREF: Operation<Slice<'static>> = Operation::Deref {
    base_type: gimli::UnitOffset(0),
    size: 8,
    space: false,
};

fn breg(register: u16, offset: i64) -> Operation<Slice<'static>> {
    Operation::RegisterOffset {
        register: Register(register),
        offset,
        base_type: gimli::UnitOffset(0),
    }
}

fn operations<'a>(
    expression: &UnwindExpression<usize>,
    frames: &EhFrame<Slice<'a>>,
) -> Vec<Operation<Slice<'a>>> {
    let encoding = gimli::Encoding {
        address_size: 8,
        format: gimli::Format::Dwarf32,
        version: 5,
    };
    let mut operations = expression.get(frames).unwrap().operations(encoding);
    std::iter::from_fn(|| operations.next().unwrap()).collect()
}

fn cfa(operations: &[Operation<Slice<'_>>]) -> Option<Cfa> {
    use Operation::{And, Ge, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant};
    match *operations {
        [
            RegisterOffset {
                register, offset, ..
            },
            Operation::Deref { .. },
        ] => Some(Cfa::Deref {
            register: register.0 as u8,
            offset: offset.try_into().ok()?,
            addend: 0,
        }),
        [
            RegisterOffset {
                register, offset, ..
            },
            Operation::Deref { .. },
            PlusConstant { value },
        ] => Some(Cfa::Deref {
            register: register.0 as u8,
            offset: offset.try_into().ok()?,
            addend: value.try_into().ok()?,
        }),
        [
            RegisterOffset {
                register: Register(7),
                offset: 8,
                ..
            },
            RegisterOffset {
                register: Register(16),
                offset: 0,
                ..
            },
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value: pushed },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] => Some(Cfa::Plt {
            pushed: pushed.try_into().ok()?,
        }),
        _ => None,
    }
}
