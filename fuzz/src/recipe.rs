//! Files made around call frame information: random bytes seldom get beyond a file's header.

use crate::made::{Cfi, Made};
use bpf::unwind::Source;
use object::elf::{EM_AARCH64, EM_X86_64};
use std::io;

const CODE: u64 = 0x40_0000;
/// Two pages of a table and something.
const CODE_BYTES: usize = 0x5000;
/// Names that the builder looks for.
const NAMES: [&str; 8] = [
    "runtime.rt0_go",
    "runtime.sigreturn__sigaction",
    "runtime.systemstack",
    "runtime.morestack.abi0",
    "runtime.clone",
    "__restore_rt",
    "__clone",
    "libc_start_main_stage2",
];
const MOST_EDITS: u8 = 8;

/// What a file is made of. As an input: options | number of edits | 11 bytes each | u16 size of .eh_frame | .eh_frame |
/// .debug_frame to the end. Whatever is missing is zero.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) options: u16,
    pub(crate) edits: Vec<Edit>,
    pub(crate) eh_frame: Vec<u8>,
    pub(crate) debug_frame: Vec<u8>,
}

/// Bits of [`Recipe::options`].
pub(crate) mod option {
    pub(crate) const POSITION_INDEPENDENT: u16 = 1;
    pub(crate) const COMPRESSED: u16 = 1 << 1;
    pub(crate) const WITHOUT_SECTIONS: u16 = 1 << 2;
    pub(crate) const INTERPRETER: u16 = 1 << 3;
    pub(crate) const GO: u16 = 1 << 4;
    pub(crate) const AARCH64: u16 = 1 << 5;
    pub(crate) const ENTRY: u16 = 1 << 6;
    pub(crate) const SYMBOLS: u16 = 1 << 7;
    /// The code begins before 4 GiB and ends behind.
    pub(crate) const ACROSS_PIECES: u16 = 1 << 8;
    pub(crate) const SECOND_PIECE: u16 = 1 << 9;
}

/// Something else at a place in the file.
#[derive(Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) place: u16,
    /// 1 to 8.
    pub(crate) width: u8,
    pub(crate) value: u64,
}

impl Recipe {
    pub(crate) fn parse(input: &[u8]) -> Self {
        let mut rest = input.iter().copied();
        let mut number = |width: u32| {
            (0..width).fold(0, |number, place| {
                number | u64::from(rest.next().unwrap_or(0)) << (8 * place)
            })
        };
        let options = number(2) as u16;
        let edits = (0..number(1) as u8 % (MOST_EDITS + 1))
            .map(|_| Edit {
                place: number(2) as u16,
                width: number(1) as u8 % 8 + 1,
                value: number(8),
            })
            .collect();
        let size = number(2) as usize;
        let rest: Vec<u8> = rest.collect();
        let (eh_frame, debug_frame) = rest.split_at(size.min(rest.len()));
        Self {
            options,
            edits,
            eh_frame: eh_frame.to_vec(),
            debug_frame: debug_frame.to_vec(),
        }
    }

    /// The input for it.
    pub(crate) fn input(&self) -> Vec<u8> {
        let mut input = self.options.to_le_bytes().to_vec();
        input.push(self.edits.len() as u8);
        for edit in &self.edits {
            input.extend(edit.place.to_le_bytes());
            input.push(edit.width - 1);
            input.extend(edit.value.to_le_bytes());
        }
        input.extend((self.eh_frame.len() as u16).to_le_bytes());
        input.extend(&self.eh_frame);
        input.extend(&self.debug_frame);
        input
    }

    fn has(&self, option: u16) -> bool {
        self.options & option != 0
    }

    pub(crate) fn made(&self) -> Made {
        let mut code = b"\xf3\x0f\x1e\xfa\x31\xed\x0f\x05\xc3".to_vec();
        code.resize(CODE_BYTES, 0x90);
        let mut made = Made {
            kind: if self.has(option::POSITION_INDEPENDENT) {
                3
            } else {
                2
            },
            machine: if self.has(option::AARCH64) {
                EM_AARCH64.0
            } else {
                EM_X86_64.0
            },
            code_offset: if self.has(option::SECOND_PIECE) {
                1 << 32
            } else if self.has(option::ACROSS_PIECES) {
                (1 << 32) - 0x3000
            } else {
                0x1_0000
            },
            code_address: CODE,
            code,
            eh_frame: self.eh_frame.clone(),
            debug_frame: self.debug_frame.clone(),
            compress: self.has(option::COMPRESSED),
            sections: !self.has(option::WITHOUT_SECTIONS),
            go: self.has(option::GO),
            interpreter: self
                .has(option::INTERPRETER)
                .then_some("/lib/ld-musl-x86_64.so.1"),
            ..Made::new(Cfi::eh_frame())
        };
        // All that is not code lies before it.
        let room = 0x8000;
        made.eh_frame.truncate(room);
        made.debug_frame.truncate(room / 2);
        if self.has(option::ENTRY) {
            made.entry = CODE;
        }
        if self.has(option::SYMBOLS) {
            let symbols = NAMES.into_iter().zip((CODE..).step_by(64));
            made.symbols = symbols.map(|(name, address)| (name, address, 64)).collect();
        }
        made
    }

    pub(crate) fn file(&self) -> File {
        let mut file = File {
            parts: self.made().parts(),
        };
        for edit in &self.edits {
            file.change(edit);
        }
        file
    }
}

/// A file of which only what is not zero is in memory.
pub(crate) struct File {
    parts: Vec<(u64, Vec<u8>)>,
}

impl File {
    pub(crate) fn whole(bytes: &[u8]) -> Self {
        Self {
            parts: vec![(0, bytes.to_vec())],
        }
    }

    /// With their offsets, ascending.
    pub(crate) fn parts(&self) -> &[(u64, Vec<u8>)] {
        &self.parts
    }

    fn change(&mut self, edit: &Edit) {
        let value = edit.value.to_le_bytes();
        for (place, byte) in (u64::from(edit.place)..).zip(&value[..usize::from(edit.width)]) {
            for (offset, bytes) in &mut self.parts {
                let within = place.checked_sub(*offset).map(|within| within as usize);
                if let Some(at) = within.and_then(|within| bytes.get_mut(within)) {
                    *at = *byte;
                }
            }
        }
    }
}

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.size()?.saturating_sub(offset).min(buffer.len() as u64);
        let buffer = &mut buffer[..read as usize];
        buffer.fill(0);
        for (begin, bytes) in &self.parts {
            let from = offset.max(*begin);
            let to = (offset + read).min(begin + bytes.len() as u64);
            if from < to {
                let part = &bytes[(from - begin) as usize..(to - begin) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(read as usize)
    }

    fn size(&self) -> io::Result<u64> {
        let ends = self.parts.iter().map(|(at, bytes)| at + bytes.len() as u64);
        Ok(ends.max().unwrap_or(0))
    }
}
