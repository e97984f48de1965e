//! ELF files made to measure.

use bpf::unwind::{Cfa, Limits, Rbx, Rule, Saved, Table, build};
use object::elf::{
    ELFCOMPRESS_ZLIB, EM_X86_64, PF_R, PF_X, PT_GNU_EH_FRAME, PT_INTERP, PT_LOAD, SHF_COMPRESSED,
};
use std::io::Write;

/// Where call frame information lies in the file, and its address.
const FRAMES_OFFSET: u64 = 0x1000;
pub(crate) const FRAMES_ADDRESS: u64 = 0x20_1000;

/// Call frame information as it is written; the address is that of its section.
#[derive(Clone)]
pub(crate) struct Cfi {
    pub(crate) bytes: Vec<u8>,
    debug: bool,
}

/// `DW_CFA_def_cfa rsp, 8; DW_CFA_offset rip, cfa-8`: what every CIE of x86-64 begins with.
pub(crate) const X86_64_BEGIN: &[u8] = &[0x0c, 7, 8, 0x90, 1];

impl Cfi {
    pub(crate) fn eh_frame() -> Self {
        Self {
            bytes: Vec::new(),
            debug: false,
        }
    }

    pub(crate) fn debug_frame() -> Self {
        Self {
            bytes: Vec::new(),
            debug: true,
        }
    }

    /// A CIE as compilers write it (in .eh_frame with augmentation "zR", addresses relative to their place, 4 bytes wide);
    /// answers its offset.
    pub(crate) fn cie(&mut self, instructions: &[u8]) -> u64 {
        let fields: &[u8] = match self.debug {
            false => &[1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b],
            true => &[3, 0, 1, 0x78, 16],
        };
        let id = if self.debug { u32::MAX } else { 0 };
        self.entry(id, &[fields, instructions].concat())
    }

    /// An FDE of the CIE at `cie`; answers its offset.
    pub(crate) fn fde(&mut self, cie: u64, address: u64, size: u64, instructions: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        if self.debug {
            let fields = [address.to_le_bytes(), size.to_le_bytes()].concat();
            return self.entry(cie as u32, &[&fields, instructions].concat());
        }
        let distance = address.wrapping_sub(FRAMES_ADDRESS + at + 8) as u32;
        let fields = [distance.to_le_bytes(), (size as u32).to_le_bytes()].concat();
        let back = (at + 4).wrapping_sub(cie) as u32;
        self.entry(back, &[&fields[..], &[0], instructions].concat())
    }

    /// An entry with any id and content; answers its offset.
    pub(crate) fn entry(&mut self, id: u32, content: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        let padded = content.len().next_multiple_of(4);
        self.bytes.extend((4 + padded as u32).to_le_bytes());
        self.bytes.extend(id.to_le_bytes());
        self.bytes.extend(content);
        self.bytes
            .resize(self.bytes.len() + padded - content.len(), 0);
        at
    }

    pub(crate) fn terminator(&mut self) {
        self.bytes.extend([0; 4]);
    }
}

/// CFA = rsp + offset, and nothing saved.
pub(crate) fn rsp(offset: i32) -> Rule {
    let cfa = Cfa::Register {
        register: 7,
        offset,
    };
    Rule::Frame {
        cfa,
        saved: Saved::Nothing,
        rbx: Rbx::Unchanged,
    }
}

/// The table of a file.
pub(crate) fn table(made: &Made) -> Table {
    build(&made.bytes()[..], 0, &Limits::default()).unwrap()
}

/// An ELF file with one executable segment.
#[derive(Clone)]
pub(crate) struct Made {
    /// 2: ET_EXEC, 3: ET_DYN.
    pub(crate) kind: u8,
    pub(crate) machine: u16,
    pub(crate) code_offset: u64,
    pub(crate) code_address: u64,
    pub(crate) code: Vec<u8>,
    pub(crate) eh_frame: Vec<u8>,
    pub(crate) debug_frame: Vec<u8>,
    pub(crate) compress: bool,
    pub(crate) sections: bool,
    pub(crate) entry: u64,
    pub(crate) interpreter: Option<&'static str>,
    /// Name, address, size of functions.
    pub(crate) symbols: Vec<(&'static str, u64, u64)>,
    pub(crate) go: bool,
    /// Size of `.plt`, with which the code begins.
    pub(crate) plt: u64,
}

impl Made {
    pub(crate) fn new(eh_frame: Cfi) -> Self {
        Self {
            kind: 2,
            machine: EM_X86_64.0,
            code_offset: 0x10_0000,
            code_address: 0x40_0000,
            code: vec![0x90; 0x2_0000],
            eh_frame: eh_frame.bytes,
            debug_frame: Vec::new(),
            compress: false,
            sections: true,
            entry: 0,
            interpreter: None,
            symbols: Vec::new(),
            go: false,
            plt: 0,
        }
    }

    /// Offset in the file of an address of code.
    pub(crate) fn offset(&self, address: u64) -> u64 {
        address - self.code_address + self.code_offset
    }

    /// Parts of the file by their offset. Between them are zeros.
    pub(crate) fn parts(&self) -> Vec<(u64, Vec<u8>)> {
        let mut parts = vec![
            (FRAMES_OFFSET, self.eh_frame.clone()),
            (self.code_offset, self.code.clone()),
        ];
        let mut at = FRAMES_OFFSET + self.eh_frame.len() as u64;
        let hdr = self.eh_frame_hdr(at);
        let mut place = |bytes: Vec<u8>| {
            let offset = at;
            at += bytes.len() as u64;
            parts.push((offset, bytes.clone()));
            (offset, bytes.len() as u64)
        };
        let (hdr, _) = place(hdr);
        let debug_frame = place(self.debug_frame_bytes());
        let (symbols, names) = self.symbol_tables();
        let (symbols, names) = (place(symbols), place(names));
        let interpreter = place(self.interpreter.unwrap_or_default().into());

        let flags = if self.compress { SHF_COMPRESSED.0 } else { 0 };
        let mut list = vec![
            ("", 0, 0, 0, (0, 0), 0),
            (
                ".eh_frame",
                1,
                2,
                FRAMES_ADDRESS,
                (FRAMES_OFFSET, self.eh_frame.len() as u64),
                0,
            ),
            (".debug_frame", 1, flags, 0, debug_frame, 0),
            (".strtab", 3, 0, 0, names, 0),
            (".symtab", 2, 0, 0, symbols, 3),
        ];
        if self.go {
            list.push((".note.go.buildid", 7, 2, 0, (0, 0), 0));
        }
        if self.plt > 0 {
            let place = (self.code_offset, self.plt);
            list.push((".plt", 1, 6, self.code_address, place, 0));
        }
        let mut strings = b"\0".to_vec();
        let mut headers = Vec::new();
        for (name, kind, flags, address, (offset, size), link) in &list {
            headers.extend((strings.len() as u32).to_le_bytes());
            headers.extend(u32::to_le_bytes(*kind));
            for number in [*flags, *address, *offset, *size] {
                headers.extend(u64::to_le_bytes(number));
            }
            headers.extend(u32::to_le_bytes(*link));
            headers.extend([0; 20]);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let (strings_at, strings_size) = place(strings);
        headers.extend([0; 24]);
        headers.extend(strings_at.to_le_bytes());
        headers.extend(strings_size.to_le_bytes());
        headers.extend([0; 24]);
        let (sections_at, _) = place(headers);
        assert!(at < self.code_offset, "the parts overlap");

        let segments = [
            (PT_LOAD.0, PF_R.0, 0, FRAMES_ADDRESS - FRAMES_OFFSET, at),
            (
                PT_LOAD.0,
                (PF_R | PF_X).0,
                self.code_offset,
                self.code_address,
                self.code.len() as u64,
            ),
            (
                PT_GNU_EH_FRAME.0,
                PF_R.0,
                hdr,
                hdr + FRAMES_ADDRESS - FRAMES_OFFSET,
                12,
            ),
            (PT_INTERP.0, PF_R.0, interpreter.0, 0, interpreter.1),
        ];
        let used = if self.interpreter.is_some() { 4 } else { 3 };
        let sections = if self.sections {
            list.len() as u16 + 1
        } else {
            0
        };
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend([self.kind, 0]);
        header.extend(self.machine.to_le_bytes());
        header.extend([1, 0, 0, 0]);
        for number in [self.entry, 64, sections_at] {
            header.extend(number.to_le_bytes());
        }
        header.extend([0; 4]);
        for number in [
            64,
            56,
            used as u16,
            64,
            sections,
            sections.saturating_sub(1),
        ] {
            header.extend(number.to_le_bytes());
        }
        for (kind, flags, offset, address, size) in &segments[..used] {
            header.extend(kind.to_le_bytes());
            header.extend(flags.to_le_bytes());
            for number in [*offset, *address, *address, *size, *size, 0x1000] {
                header.extend(number.to_le_bytes());
            }
        }
        parts.push((0, header));
        parts.sort();
        parts
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for (offset, bytes) in self.parts() {
            file.resize(file.len().max(offset as usize + bytes.len()), 0);
            file[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        file
    }

    /// Version 1, pointer to .eh_frame relative to itself, 4 bytes wide; no table.
    fn eh_frame_hdr(&self, at: u64) -> Vec<u8> {
        let distance = FRAMES_OFFSET.wrapping_sub(at + 4) as u32;
        [&[1, 0x1b, 0xff, 0xff], &distance.to_le_bytes()[..], &[0; 4]].concat()
    }

    fn debug_frame_bytes(&self) -> Vec<u8> {
        if !self.compress {
            return self.debug_frame.clone();
        }
        let mut bytes = ELFCOMPRESS_ZLIB.0.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend((self.debug_frame.len() as u64).to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(bytes, flate2::Compression::fast());
        encoder.write_all(&self.debug_frame).unwrap();
        encoder.finish().unwrap()
    }

    fn symbol_tables(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut symbols, mut names) = (vec![0; 24], b"\0".to_vec());
        for (name, address, size) in &self.symbols {
            symbols.extend((names.len() as u32).to_le_bytes());
            symbols.extend([0x12, 0, 1, 0]);
            symbols.extend(address.to_le_bytes());
            symbols.extend(size.to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        (symbols, names)
    }
}
