//! Rules for aarch64 from gimli's.

use bpf::unwind::{Cfa, Rbx, Rule, Saved, Unsupported};
use gimli::{
    CfaRule, CommonInformationEntry, EhFrame, EndianSlice, LittleEndian, RegisterRule,
    UnwindTableRow,
};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The rule for a row of gimli's: where x29 and x30 are.
pub(super) fn expected(
    row: &UnwindTableRow<usize>,
    _frames: &EhFrame<Slice<'_>>,
    cie: &CommonInformationEntry<Slice<'_>>,
) -> Rule {
    if cie.return_address_register() != gimli::AArch64::X30 {
        return Rule::Unsupported(Unsupported::ReturnAddress);
    }
    let slot = |offset: i64| i16::try_from(offset / 8).unwrap();
    let [x29, x30] = [gimli::AArch64::X29, gimli::AArch64::X30].map(|name| {
        row.register(name)
            .filter(|rule| *rule != RegisterRule::SameValue)
    });
    if x30 == Some(RegisterRule::Undefined) {
        return Rule::End;
    }
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
        return Rule::Unsupported(Unsupported::CfaExpression);
    };
    let cfa = Cfa::Register {
        register: register.0.try_into().unwrap(),
        offset: (*offset).try_into().unwrap(),
    };
    let saved = match (x29, x30) {
        (None, None) => Saved::Nothing,
        (None, Some(RegisterRule::Offset(x30))) => Saved::Link(slot(x30)),
        (Some(RegisterRule::Offset(x29)), Some(RegisterRule::Offset(x30))) if x30 == x29 + 8 => {
            Saved::Pair(slot(x29))
        }
        _ => return Rule::Unsupported(Unsupported::FramePointer),
    };
    let rbx = Rbx::Unchanged;
    Rule::Frame { cfa, saved, rbx }
}
