//! What tables make of call frame information that is unusual, contradicts itself or lies.

use crate::made::{Cfi, FRAMES_ADDRESS, Made, X86_64_BEGIN, rsp, table};
use bpf::unwind::{Cfa, Rbx, Rule, Saved, Unsupported};

/// Address of the code in [`Made::new`].
const CODE: u64 = 0x40_0000;

/// What the table says at addresses.
fn at<const N: usize>(made: &Made, addresses: [u64; N]) -> [Rule; N] {
    let table = table(made);
    addresses.map(|address| table.lookup(made.offset(address) as u32))
}

/// `DW_CFA_def_cfa_offset`
fn cfa_offset(offset: u8) -> [u8; 2] {
    [0x0e, offset]
}

/// Padding of up to 15 bytes takes the rule before it; from 16 on there is a gap. Equal neighbours are one row.
#[test]
fn gaps_and_neighbours() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    cfi.fde(cie, CODE, 16, &[]);
    cfi.fde(cie, CODE + 31, 16, &[]);
    cfi.fde(cie, CODE + 63, 16, &[]);
    let made = Made::new(cfi);
    let begin = made.offset(CODE);
    let rows: Vec<_> = table(&made).rows().collect();
    let expected = [
        (begin, rsp(8)),
        (begin + 47, Rule::None),
        (begin + 63, rsp(8)),
        (begin + 79, Rule::None),
    ];
    assert_eq!(rows, expected);
}

/// FDEs in any order give the table of those in order.
#[test]
fn unsorted() {
    let make = |order: &[u64]| {
        let mut cfi = Cfi::eh_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        for number in order {
            cfi.fde(
                cie,
                CODE + number * 64,
                40,
                &cfa_offset(8 * (1 + *number as u8)),
            );
        }
        table(&Made::new(cfi))
    };
    assert_eq!(make(&[4, 0, 3, 1, 2]), make(&[0, 1, 2, 3, 4]));
}

/// Where functions overlap, the one that begins last counts, as for every unwinder that searches by begin; what is behind
/// its end is unknown.
#[test]
fn overlapping() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    cfi.fde(cie, CODE, 100, &cfa_offset(16));
    cfi.fde(cie, CODE + 50, 10, &cfa_offset(24));
    cfi.fde(cie, CODE + 55, 30, &cfa_offset(32));
    let made = Made::new(cfi);
    let found = at(
        &made,
        [
            CODE + 49,
            CODE + 50,
            CODE + 54,
            CODE + 55,
            CODE + 84,
            CODE + 85,
        ],
    );
    assert_eq!(
        found,
        [rsp(16), rsp(24), rsp(24), rsp(32), rsp(32), Rule::None]
    );
}

/// A function of no length, one outside the code, one that would wrap around and one beyond the end of the segment.
#[test]
fn impossible_extents() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    cfi.fde(cie, CODE + 8, 0, &cfa_offset(16));
    cfi.fde(cie, FRAMES_ADDRESS, 64, &cfa_offset(24));
    cfi.fde(cie, CODE + 0x1_fff0, u32::MAX.into(), &cfa_offset(32));
    let mut made = Made::new(cfi);
    let mut debug = Cfi::debug_frame();
    let cie = debug.cie(X86_64_BEGIN);
    debug.fde(cie, u64::MAX - 3, 64, &cfa_offset(40));
    debug.fde(cie, CODE + 64, u64::MAX, &cfa_offset(48));
    made.debug_frame = debug.bytes;
    let found = at(
        &made,
        [
            CODE + 8,
            CODE + 64,
            CODE + 0x1_ffef,
            CODE + 0x1_fff0,
            CODE + 0x1_ffff,
        ],
    );
    assert_eq!(found, [Rule::None, rsp(48), rsp(48), rsp(32), rsp(32)]);
    assert_eq!(table(&made).lookup(0), Rule::None);
}

/// CIE pointers to itself, to another FDE, in a circle, to nothing: such functions have no rules, the others have theirs.
#[test]
fn wrong_cies() {
    let mut cfi = Cfi::debug_frame();
    let good = cfi.cie(X86_64_BEGIN);
    let first = cfi.bytes.len() as u64;
    cfi.fde(first, CODE, 16, &[]);
    let second = cfi.bytes.len() as u64;
    let third = cfi.fde(second + 28, CODE + 64, 16, &[]);
    cfi.fde(third, CODE + 128, 16, &[]);
    cfi.fde(0xffff_0000, CODE + 192, 16, &[]);
    cfi.fde(good + 1, CODE + 256, 16, &[]);
    cfi.fde(good, CODE + 320, 16, &[]);
    let mut made = Made::new(Cfi::eh_frame());
    made.debug_frame = cfi.bytes;
    let found = at(
        &made,
        [0, 64, 128, 192, 256, 320].map(|distance| CODE + distance),
    );
    let none = Rule::None;
    assert_eq!(found, [none, none, none, none, none, rsp(8)]);
}

/// Instructions that make no sense spoil the rest of their function, and nothing before or after it.
#[test]
fn bad_instructions() {
    let bad = Rule::Unsupported(Unsupported::BadCfi);
    let too_deep = [&[0x48][..], &[0x0a; 1000]].concat();
    for rest in [
        &[0x48, 0x3f][..],
        &[0x48, 0x0b],
        &[0x48, 0x0f, 0x7f],
        &[
            0x48, 0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
        &too_deep,
    ] {
        let mut cfi = Cfi::eh_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        cfi.fde(cie, CODE, 64, rest);
        cfi.fde(cie, CODE + 64, 64, &[]);
        let found = at(
            &Made::new(cfi),
            [CODE, CODE + 7, CODE + 8, CODE + 63, CODE + 64],
        );
        assert_eq!(found, [rsp(8), rsp(8), bad, bad, rsp(8)], "{rest:x?}");
    }
}

/// `DW_CFA_set_loc` goes forward only.
#[test]
fn set_location() {
    let at = |location: u64| {
        let mut cfi = Cfi::debug_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        let instructions = [&[0x48, 0x01][..], &location.to_le_bytes(), &cfa_offset(16)];
        cfi.fde(cie, CODE, 64, &instructions.concat());
        let mut made = Made::new(Cfi::eh_frame());
        made.debug_frame = cfi.bytes;
        at(&made, [CODE + 7, CODE + 8, CODE + 32, CODE + 63])
    };
    let bad = Rule::Unsupported(Unsupported::BadCfi);
    assert_eq!(at(CODE + 32), [rsp(8), rsp(8), rsp(16), rsp(16)]);
    assert_eq!(at(CODE + 64), [rsp(8); 4]);
    for back in [CODE + 4, CODE - 4, 0] {
        assert_eq!(at(back), [rsp(8), bad, bad, bad]);
    }
}

/// States can be remembered in one another, and a register restored to what the CIE says of it.
#[test]
fn remembered_states() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    let instructions = [
        &[0x41, 0x0e, 16, 0x86, 2][..],  // push rbp
        &[0x43, 0x0d, 6],                // CFA by rbp
        &[0x44, 0x0a, 0x0c, 7, 8, 0xc6], // remembered; leave
        &[0x41, 0x0b],                   // as remembered
    ];
    cfi.fde(cie, CODE, 64, &instructions.concat());
    let frame = |register, offset, saved| {
        let cfa = Cfa::Register { register, offset };
        let rbx = Rbx::Unchanged;
        Rule::Frame { cfa, saved, rbx }
    };
    let made = Made::new(cfi);
    let found = at(&made, [0, 1, 4, 8, 9, 63].map(|distance| CODE + distance));
    let by_rbp = frame(6, 16, Saved::FramePointer(-2));
    let expected = [
        rsp(8),
        frame(7, 16, Saved::FramePointer(-2)),
        by_rbp,
        rsp(8),
        by_rbp,
        by_rbp,
    ];
    assert_eq!(found, expected);
}

/// What the format cannot say says why: registers that are none, frames of 2 GiB, return addresses and frame pointers at
/// other places. A frame of 200 KB is nothing unusual.
#[test]
fn beyond_the_format() {
    let unsupported = |why| Rule::Unsupported(why);
    for (instructions, expected) in [
        (&[0x0e, 0xc0, 0x9a, 0x0c][..], rsp(200_000)),
        (
            &[0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f],
            unsupported(Unsupported::CfaRegister),
        ),
        (&[0x0d, 17], unsupported(Unsupported::CfaRegister)),
        (&[0x0f, 1, 0x50], unsupported(Unsupported::CfaExpression)),
        (&[0x90, 2], unsupported(Unsupported::ReturnAddress)),
        (&[0x08, 16], unsupported(Unsupported::ReturnAddress)),
        (&[0x07, 16], Rule::End),
        (&[0x09, 6, 3], unsupported(Unsupported::FramePointer)),
        (&[0x14, 6, 3], unsupported(Unsupported::FramePointer)),
        (&[0x11, 6, 0], unsupported(Unsupported::FramePointer)),
        (
            &[0x11, 6, 0x80, 0x80, 0x02],
            unsupported(Unsupported::FramePointer),
        ),
    ] {
        let mut cfi = Cfi::eh_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        cfi.fde(cie, CODE, 64, instructions);
        assert_eq!(at(&Made::new(cfi), [CODE]), [expected], "{instructions:x?}");
    }
}

/// The caller's stack pointer is the canonical frame address, as the walk takes it, or nobody goes on from there.
#[test]
fn stack_pointer_elsewhere() {
    let unsupported = Rule::Unsupported(Unsupported::CfaRegister);
    let realigned = Rule::Frame {
        cfa: Cfa::Deref {
            register: 6,
            offset: -8,
            addend: 0,
        },
        saved: Saved::Nothing,
        rbx: Rbx::Unchanged,
    };
    for (instructions, expected) in [
        // Its value is CFA + 0: what it is anyway.
        (&[0x14, 7, 0][..], rsp(8)),
        (&[0x15, 7, 0], rsp(8)),
        (&[0x87, 2, 0xc7], rsp(8)),
        // CFA = *(rbp - 8), and it was saved there.
        (
            &[0x0f, 3, 0x76, 0x78, 0x06, 0x10, 7, 2, 0x76, 0x78],
            realigned,
        ),
        (
            &[0x0f, 3, 0x76, 0x78, 0x06, 0x10, 7, 2, 0x76, 0x70],
            unsupported,
        ),
        // CFA + 8, CFA - 8; saved at CFA - 16 and at rsp; in rbx; rsp + 8 by an expression; unchanged; lost.
        (&[0x14, 7, 0x7f], unsupported),
        (&[0x15, 7, 1], unsupported),
        (&[0x87, 2], unsupported),
        (&[0x10, 7, 2, 0x77, 0], unsupported),
        (&[0x09, 7, 3], unsupported),
        (&[0x16, 7, 2, 0x77, 8], unsupported),
        (&[0x08, 7], unsupported),
        (&[0x07, 7], unsupported),
    ] {
        let mut cfi = Cfi::eh_frame();
        let cie = cfi.cie(X86_64_BEGIN);
        cfi.fde(cie, CODE, 64, instructions);
        assert_eq!(at(&Made::new(cfi), [CODE]), [expected], "{instructions:x?}");
    }
}

/// A file with more rules than rows can number is read twice: the most frequent rules are kept, the others say so.
#[test]
fn too_many_rules() {
    let mut cfi = Cfi::eh_frame();
    let cie = cfi.cie(X86_64_BEGIN);
    for number in 0..6000_u64 {
        // Every second function has CFA = rsp + 16, the others one of 3,000.
        let offset = if number % 2 == 0 {
            16
        } else {
            8 * (number / 2 + 10)
        };
        let low = (offset & 0x7f) as u8 | 0x80;
        let instructions = [0x0e, low, (offset >> 7) as u8 | 0x80, (offset >> 14) as u8];
        cfi.fde(cie, CODE + number * 16, 16, &instructions);
    }
    let mut made = Made::new(cfi);
    made.code_offset = 0x80_0000;
    let table = table(&made);
    let rule = |number: u64| table.lookup(made.offset(CODE + number * 16) as u32);
    assert!((0..6000).step_by(2).all(|number| rule(number) == rsp(16)));
    let too_many = Rule::Unsupported(Unsupported::TooManyRules);
    let kept = (1..6000)
        .step_by(2)
        .filter(|number| rule(*number) != too_many);
    for number in kept.clone() {
        assert_eq!(rule(number), rsp(8 * (number as i32 / 2 + 10)));
    }
    assert!(kept.count() > 2040);
    assert_eq!(rule(6000), Rule::None);
}
