//! Where tables take rules from: sections, program headers, names of functions, and which of these counts more.

use crate::made::{Cfi, FRAMES_ADDRESS, Made, X86_64_BEGIN, rsp, table};
use bpf::unwind::{BuildError, Cfa, Limits, Rbx, Rule, Saved, Unsupported, build};
use std::os::unix::fs::FileExt;

const CODE: u64 = 0x40_0000;

fn at<const N: usize>(made: &Made, distances: [u64; N]) -> [Rule; N] {
    let table = table(made);
    distances.map(|distance| table.lookup(made.offset(CODE + distance) as u32))
}

/// Functions with CFA = rsp + 8, 16, 24 ... at these distances from the code's begin, of these sizes.
fn functions(mut cfi: Cfi, extents: &[(u64, u64)]) -> Cfi {
    let cie = cfi.cie(X86_64_BEGIN);
    for ((distance, size), number) in extents.iter().zip(1..) {
        cfi.fde(cie, CODE + distance, *size, &[0x0e, 8 * number]);
    }
    cfi
}

/// A file whose section headers were removed is read by its program headers, up to the terminator.
#[test]
fn without_sections() {
    let mut cfi = functions(Cfi::eh_frame(), &[(0, 64), (100, 64)]);
    let whole = table(&Made::new(cfi.clone()));
    cfi.terminator();
    let mut made = Made::new(functions(cfi, &[(1000, 64)]));
    made.sections = false;
    assert_eq!(table(&made), whole);
    // By its section, .eh_frame is read to its end: GNU ld may leave a terminator in the middle.
    made.sections = true;
    assert_eq!(at(&made, [0, 1000]), [rsp(8), rsp(8)]);
}

/// .debug_frame counts where .eh_frame says nothing, up to where that begins, and only there.
#[test]
fn debug_frame_fills_gaps() {
    let mut made = Made::new(functions(Cfi::eh_frame(), &[(100, 50), (200, 50)]));
    let debug = functions(
        Cfi::debug_frame(),
        &[(0, 30), (100, 50), (140, 100), (300, 20)],
    );
    made.debug_frame = debug.bytes;
    let found = at(&made, [0, 29, 100, 149, 150, 199, 200, 249, 300, 320]);
    let expected = [8, 8, 8, 8, 24, 24, 16, 16, 32].map(rsp);
    assert_eq!(found[..9], expected);
    assert_eq!(found[9], Rule::None);
}

/// A compressed .debug_frame gives what it gives as it is: in order, and in an order that makes it be read several times.
#[test]
fn compressed_debug_frame() {
    let ordered: Vec<_> = (0..8000).map(|number| (number * 16, 12)).collect();
    let strided: Vec<_> = (0..8000)
        .map(|number| ((number % 4 * 2000 + number / 4) * 16, 12))
        .collect();
    for extents in [ordered, strided] {
        let mut cfi = Cfi::debug_frame();
        for ((distance, size), number) in extents.iter().zip(0_u64..) {
            // A CIE for each, as linkers leave them there.
            let cie = cfi.cie(X86_64_BEGIN);
            cfi.fde(
                cie,
                CODE + distance,
                *size,
                &[0x0e, 8 + (number % 100) as u8],
            );
        }
        assert!(cfi.bytes.len() > 300_000);
        let mut made = Made::new(Cfi::eh_frame());
        made.debug_frame = cfi.bytes;
        made.code_offset = 0x100_0000;
        let plain = table(&made);
        assert!(plain.rows().count() >= 8000);
        made.compress = true;
        assert_eq!(table(&made), plain);
    }
}

/// A compressed section that is no stream of zlib, or whose stream ends early, is an error, not a hang.
#[test]
fn damaged_compression() {
    let mut made = Made::new(Cfi::eh_frame());
    made.debug_frame = functions(Cfi::debug_frame(), &[(0, 64); 1000]).bytes;
    made.compress = true;
    let good = made.bytes();
    let stream = good
        .windows(4)
        .position(|bytes| bytes == [0x78, 0x01, 0xed, 0xd9]);
    let stream = stream
        .or_else(|| good.windows(2).position(|bytes| bytes == [0x78, 0x01]))
        .unwrap();
    for at in (stream..stream + 200).step_by(3) {
        let mut bad = good.clone();
        bad[at..at + 40].fill(0xff);
        let _ = build(&bad[..], 0, &Limits::default());
    }
    let mut bad = good;
    bad[stream..stream + 4].fill(0xff);
    let result = build(&bad[..], 0, &Limits::default());
    assert!(matches!(result, Err(BuildError::Truncated)), "{result:?}");
}

/// A program's entry without call frame information is where stacks end; one that has some is believed.
#[test]
fn entry() {
    let mut made = Made::new(functions(Cfi::eh_frame(), &[(20, 30)]));
    made.entry = CODE;
    assert_eq!(at(&made, [0, 19, 20]), [Rule::End, Rule::End, rsp(8)]);
    made.entry = CODE + 20;
    assert_eq!(
        at(&made, [0, 20, 49, 50]),
        [Rule::None, rsp(8), rsp(8), Rule::None]
    );
    made.entry = FRAMES_ADDRESS;
    assert_eq!(at(&made, [0, 20]), [Rule::None, rsp(8)]);
}

/// Old linkers gave libraries an entry: whatever lies first. A dynamic linker, and a static program that may lie anywhere,
/// have a true one, which begins as no function does.
#[test]
fn entry_of_a_library() {
    let mut made = Made::new(functions(Cfi::eh_frame(), &[(20, 30)]));
    made.kind = 3;
    made.entry = CODE;
    assert_eq!(at(&made, [0, 20]), [Rule::None, rsp(8)]);
    for first in [
        &[0x48, 0x89, 0xe7][..],
        &[0xf3, 0x0f, 0x1e, 0xfa, 0x31, 0xed],
    ] {
        made.code[..first.len()].copy_from_slice(first);
        assert_eq!(at(&made, [0, 20]), [Rule::End, rsp(8)]);
    }
}

/// Stubs of the procedure linkage table are known by their bytes, for LLVM's linker writes no call frame information for
/// them; of other bytes nothing is known.
#[test]
fn stubs_of_llvm() {
    let first = [
        &[0xff, 0x35, 1, 2, 3, 4, 0xff, 0x25, 1, 2, 3, 4][..],
        &[0; 4],
    ]
    .concat();
    let other = [0xff, 0x25, 1, 2, 3, 4, 0x68, 0, 0, 0, 0, 0xe9, 1, 2, 3, 4];
    let mut made = Made::new(functions(Cfi::eh_frame(), &[(48, 30)]));
    made.plt = 48;
    let code = [&first[..], &other, &other].concat();
    made.code[..48].copy_from_slice(&code);
    let stub = Rule::Frame {
        cfa: Cfa::Plt { pushed: 11 },
        saved: Saved::Nothing,
        rbx: Rbx::Unchanged,
    };
    assert_eq!(
        at(&made, [0, 5, 6, 15, 16, 47, 48]),
        [rsp(16), rsp(16), rsp(24), rsp(24), stub, stub, rsp(8)]
    );
    made.code[22] = 0x90;
    assert_eq!(at(&made, [0, 16, 48]), [Rule::None, Rule::None, rsp(8)]);
}

/// Go's functions that change stacks are steps by frame pointer from where that is set up to where the frame is gone; where
/// there is none (Go before 1.21), and where nobody comes back, a stack ends behind the instruction that changes stacks, and
/// not before. Its entries end stacks; the assembly counts, not what wraps it. Frames have the frame pointer that Go's linker
/// does not tell of.
#[test]
fn go_runtime() {
    let mut cfi = Cfi::debug_frame();
    // Version 3, data alignment -4, CFA = rsp + 8, rip at CFA - 8.
    let cie = cfi.entry(u32::MAX, &[3, 0, 1, 0x7c, 16, 0x0c, 7, 8, 0x05, 16, 2]);
    for distance in (0..640).step_by(64) {
        // rsp + 8, + 16 from 1 on, + 64 from 5 on, + 8 from 60 on: DW_CFA_def_cfa_offset_sf.
        cfi.fde(
            cie,
            CODE + distance,
            64,
            &[
                0x13, 0x7e, 0x41, 0x13, 0x7c, 0x44, 0x13, 0x70, 0x77, 0x13, 0x7e,
            ],
        );
    }
    let mut made = Made::new(Cfi::eh_frame());
    made.debug_frame = cfi.bytes;
    made.go = true;
    made.symbols = vec![
        ("main.main", CODE, 64),
        ("runtime.systemstack", CODE + 64, 64),
        ("runtime.systemstack.abi0", CODE + 128, 64),
        ("runtime.goexit.abi0", CODE + 192, 64),
        ("runtime.sigreturn__sigaction.abi0", CODE + 256, 64),
        ("runtime.morestack.abi0", CODE + 320, 64),
        ("runtime.clone.abi0", CODE + 384, 64),
        ("runtime.asmcgocall.abi0", CODE + 448, 64),
        ("runtime.mcall", CODE + 512, 64),
    ];
    let mut write = |distance: usize, code: &[u8]| {
        made.code[distance..][..code.len()].copy_from_slice(code);
    };
    // push %rbp; mov %rsp, %rbp
    write(128, &[0x55, 0x48, 0x89, 0xe5]);
    // mov 56(%rbx), %rsp
    write(320 + 20, &[0x48, 0x8b, 0x63, 0x38]);
    // mov %rbx, %rsp
    write(448 + 10, &[0x48, 0x89, 0xdc]);
    // syscall; cmp $0, %rax; je; mov %eax, 48(%rsp); ret; call stackcheck; call *%r12
    let clone = [
        0x0f, 0x05, 0x48, 0x83, 0xf8, 0, 0x74, 5, 0x89, 0x44, 0x24, 0x30, 0xc3, 0xe8, 0, 0, 0, 0,
        0x41, 0xff, 0xd4,
    ];
    write(384 + 8, &clone);

    let frame = |offset| Rule::Frame {
        cfa: Cfa::Register {
            register: 7,
            offset,
        },
        saved: Saved::FramePointer(-2),
        rbx: Rbx::Unchanged,
    };
    assert_eq!(
        at(&made, [0, 1, 5, 60]),
        [rsp(8), frame(16), frame(64), rsp(8)]
    );
    assert_eq!(at(&made, [64, 69]), [rsp(8), frame(64)]);
    assert_eq!(
        at(&made, [128, 129, 131, 132, 133, 188]),
        [
            rsp(8),
            frame(16),
            frame(16),
            Rule::Switch,
            Rule::Switch,
            rsp(8)
        ]
    );
    assert_eq!(at(&made, [191, 192, 254]), [rsp(8), Rule::End, Rule::End]);
    assert_eq!(at(&made, [255, 256, 319]), [Rule::Signal; 3]);
    assert_eq!(
        at(&made, [320, 325, 343, 344, 380, 383]),
        [
            rsp(8),
            frame(64),
            frame(64),
            Rule::End,
            Rule::End,
            Rule::End
        ]
    );
    let unknown = Rule::Unsupported(Unsupported::ReturnAddress);
    assert_eq!(
        at(&made, [448, 460, 461, 508]),
        [rsp(8), frame(64), unknown, unknown]
    );
    // Nothing is known of a switch that is not there.
    assert_eq!(
        at(&made, [511, 512, 575, 576]),
        [unknown, unknown, unknown, rsp(8)]
    );
    let behind = 384 + 8 + clone.len() as u64;
    assert_eq!(
        at(&made, [384, behind - 4, behind - 3, behind - 1, behind]),
        [rsp(8), frame(64), Rule::End, Rule::End, Rule::None]
    );

    made.go = false;
    assert_eq!(at(&made, [192, 256, 320]), [rsp(8); 3]);
}

/// musl's signal trampoline and the call of a thread's function, in a program that is linked with musl, dynamically or not; elsewhere it has rules of its own.
#[test]
fn musl() {
    let mut made = Made::new(functions(Cfi::eh_frame(), &[(64, 16)]));
    made.symbols = vec![("__restore_rt", CODE + 100, 9), ("__clone", CODE + 200, 0)];
    // syscall; test %eax, %eax; jne; xor %ebp, %ebp; pop %rdi; call *%r9
    let clone = [
        0x0f, 0x05, 0x85, 0xc0, 0x75, 0x0f, 0x31, 0xed, 0x5f, 0x41, 0xff, 0xd1,
    ];
    made.code[200..][..clone.len()].copy_from_slice(&clone);
    made.entry = CODE + 32;
    made.interpreter = Some("/lib64/ld-linux-x86-64.so.2");
    assert_eq!(at(&made, [100, 32]), [followed(8), Rule::End]);
    for interpreter in [None, Some("/lib/ld-musl-x86_64.so.1")] {
        made.interpreter = interpreter;
        assert_eq!(
            at(&made, [99, 108, 32]),
            [Rule::Signal, Rule::Signal, Rule::End]
        );
        assert_eq!(
            at(&made, [200, 206, 208, 211, 212]),
            [followed(8), followed(8), Rule::None, Rule::End, Rule::None]
        );
    }
}

/// CFA = rsp + offset, as it follows from code.
fn followed(offset: i32) -> Rule {
    Rule::Frame {
        cfa: Cfa::Register {
            register: 7,
            offset,
        },
        saved: Saved::Nothing,
        rbx: Rbx::Lost,
    }
}

/// Code beyond the first 4 GiB of a file has its table in its own piece, and code across the border in both.
#[test]
fn pieces_of_four_gibibytes() {
    const PIECE: u64 = 1 << 32;
    let mut made = Made::new(functions(
        Cfi::eh_frame(),
        &[(0, 64), (0x800, 0x1000), (0x3000, 64)],
    ));
    made.code_offset = PIECE - 0x1000;
    let file = tempfile::tempfile().unwrap();
    for (offset, bytes) in made.parts() {
        file.write_all_at(&bytes, offset).unwrap();
    }
    let pieces = [0, 1, 2].map(|piece| build(&file, piece, &Limits::default()).unwrap());
    let rows = |piece: usize| pieces[piece].rows().collect::<Vec<_>>();
    let before = PIECE - 0x1000;
    let expected = [
        (before, rsp(8)),
        (before + 64, Rule::None),
        (before + 0x800, rsp(16)),
        (PIECE, Rule::None),
    ];
    assert_eq!(rows(0), expected);
    // The part of a function that its begin is not in has no rules: its FDE is known by its begin.
    let expected = [(0x2000, rsp(24)), (0x2040, Rule::None)];
    assert_eq!(rows(1), expected);
    assert!(pieces[2].is_empty());
}
