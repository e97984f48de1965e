//! Small files with symbols and debug information, to begin the search for names with.

use crate::names::Input;
use crate::{compiled, go_table};
use object::elf;

/// Where the code is, in the file and as its headers count addresses.
pub(crate) const CODE: u64 = 0x1000;
pub(crate) const ADDRESS: u64 = 0x40_1000;
const CODE_SIZE: u64 = 0x100;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// A section as its header has it; its offset follows from its place.
#[derive(Clone, Default)]
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    link: u32,
    info: u32,
    bytes: Vec<u8>,
}

/// Of each kind of names, a file: symbols of both tables, debug information of version 4, all of them, and all compressed in name only;
/// Go's table; and what compilers make.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let symbols = symbol_table(".symtab", 2);
    let dynamic = symbol_table(".dynsym", 11);
    let debug = debug_sections();
    let compressed = debug.iter().map(|section| Section {
        flags: 0x800,
        ..section.clone()
    });
    let compressed: Vec<Section> = compressed.collect();
    let files = [
        file(&[]),
        file(&symbols),
        file(&dynamic),
        file(&debug),
        file(&[&symbols[..], &debug].concat()),
        file(&[&symbols[..], &compressed].concat()),
        go_table::file(),
    ];
    let alone = |program: &Vec<u8>| {
        Input {
            program,
            other: &[],
        }
        .bytes()
    };
    let made = files.iter().map(alone);
    made.chain(compiled::seeds()).collect()
}

/// A file without sections: the headers, then what is loaded from the begin of the code on.
pub(crate) fn sectionless(loaded: &[u8]) -> Vec<u8> {
    let mut bytes = file_header(0, 0);
    bytes.extend(program_header(loaded.len() as u64));
    bytes.resize(CODE as usize, 0);
    bytes.extend(loaded);
    bytes
}

/// The code, then `sections`, whose links count from the first of them.
fn file(sections: &[Section]) -> Vec<u8> {
    let mut all = vec![
        Section::default(),
        Section {
            name: ".text",
            kind: 1,
            flags: 6,
            address: ADDRESS,
            bytes: vec![0x90; CODE_SIZE as usize],
            ..Section::default()
        },
    ];
    all.extend(sections.iter().cloned().map(|section| Section {
        link: if section.link > 0 {
            section.link + 1
        } else {
            0
        },
        ..section
    }));
    all.push(Section {
        name: ".shstrtab",
        kind: 3,
        ..Section::default()
    });
    let mut names = Vec::new();
    let name_offsets: Vec<u32> = all
        .iter()
        .map(|section| {
            let offset = names.len() as u32;
            names.extend(section.name.bytes().chain([0]));
            offset
        })
        .collect();
    all.last_mut().unwrap().bytes = names;

    let mut bytes = vec![0; CODE as usize];
    let mut headers = Vec::new();
    for (section, name) in all.iter().zip(name_offsets) {
        let offset = bytes.len() as u64;
        bytes.extend(&section.bytes);
        // blazesym reads no table that is not aligned.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        for value in [
            section.flags,
            section.address,
            offset,
            section.bytes.len() as u64,
        ] {
            headers.extend(value.to_le_bytes());
        }
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(1_u64.to_le_bytes());
        let entry: u64 = if matches!(section.kind, 2 | 11) {
            24
        } else {
            0
        };
        headers.extend(entry.to_le_bytes());
    }
    let table = bytes.len() as u64;
    bytes.extend(headers);
    bytes[..HEADER].copy_from_slice(&file_header(table, all.len() as u16));
    bytes[HEADER..HEADER + PROGRAM_HEADER].copy_from_slice(&program_header(CODE_SIZE));
    bytes
}

fn file_header(sections: u64, count: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(2_u16.to_le_bytes());
    header.extend(62_u16.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    for value in [ADDRESS, HEADER as u64, sections] {
        header.extend(value.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for value in [
        HEADER as u16,
        PROGRAM_HEADER as u16,
        1,
        64,
        count,
        count.saturating_sub(1),
    ] {
        header.extend(value.to_le_bytes());
    }
    header
}

fn program_header(size: u64) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(1_u32.to_le_bytes());
    header.extend(5_u32.to_le_bytes());
    for value in [CODE, ADDRESS, ADDRESS, size, size, 0x1000] {
        header.extend(value.to_le_bytes());
    }
    header
}

/// Functions with and without a size, one within another, mangled by C++ and Rust.
fn symbol_table(name: &'static str, kind: u32) -> Vec<Section> {
    let functions = [
        ("outer", 0, 0x40, elf::STT_FUNC.0),
        ("_ZN5space3fooEibc", 0x10, 0x10, elf::STT_FUNC.0),
        (
            "_RNvCskwGfYPst2Cb_3foo16example_function",
            0x40,
            0x20,
            elf::STT_FUNC.0,
        ),
        (
            "_ZSt4moveIRSt6vectorIiSaIiEEEONSt16remove_referenceIT_E4typeEOS5_",
            0x60,
            8,
            elf::STT_GNU_IFUNC.0,
        ),
        ("label", 0x70, 0, elf::STT_NOTYPE.0),
    ];
    let (mut names, mut bytes) = (vec![0], vec![0; 24]);
    for (name, offset, size, kind) in functions {
        bytes.extend((names.len() as u32).to_le_bytes());
        bytes.extend([0x10 | kind, 0]);
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend((ADDRESS + offset).to_le_bytes());
        bytes.extend(u64::to_le_bytes(size));
        names.extend(name.bytes().chain([0]));
    }
    vec![
        Section {
            name,
            kind,
            link: 2,
            info: 1,
            bytes,
            ..Section::default()
        },
        Section {
            name: ".strtab",
            kind: 3,
            bytes: names,
            ..Section::default()
        },
    ]
}

/// A function with another inlined into it, and lines.
fn debug_sections() -> Vec<Section> {
    // Compilation unit, function, what is inlined and where: each attribute with its form.
    const ABBREVIATIONS: &[u8] = &[
        1, 0x11, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0x10, 0x17, 0, 0, //
        2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, //
        3, 0x1d, 0, 0x31, 0x13, 0x11, 0x01, 0x12, 0x06, 0x58, 0x0b, 0x59, 0x0b, 0, 0, //
        4, 0x2e, 0, 0x03, 0x08, 0x20, 0x0b, 0, 0, 0,
    ];
    let mut info = vec![4, 0, 0, 0, 0, 0, 8, 1];
    info.extend(b"a.c\0");
    info.extend(ADDRESS.to_le_bytes());
    info.extend(CODE_SIZE.to_le_bytes());
    info.extend(0_u32.to_le_bytes());
    let inlined = info.len() as u32 + 4;
    info.push(4);
    info.extend(b"inlined\0\x03");
    info.push(2);
    info.extend(b"outer\0");
    info.extend(ADDRESS.to_le_bytes());
    info.extend(0x40_u32.to_le_bytes());
    info.push(3);
    info.extend(inlined.to_le_bytes());
    info.extend((ADDRESS + 8).to_le_bytes());
    info.extend(0x10_u32.to_le_bytes());
    info.extend([1, 7, 0, 0]);
    let section = |name, bytes| Section {
        name,
        kind: 1,
        bytes,
        ..Section::default()
    };
    vec![
        section(".debug_abbrev", ABBREVIATIONS.to_vec()),
        section(".debug_info", with_length(info)),
        section(".debug_line", lines()),
    ]
}

fn lines() -> Vec<u8> {
    let mut rest = vec![1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    rest.extend(b"/src\0\0a.c\0\x01\0\0\0");
    let mut line = 4_u16.to_le_bytes().to_vec();
    line.extend((rest.len() as u32).to_le_bytes());
    line.extend(rest);
    // From the begin of the code on, a line every eight bytes.
    line.extend([0, 9, 2]);
    line.extend(ADDRESS.to_le_bytes());
    for _ in 0..8 {
        line.extend([3, 1, 2, 8, 1]);
    }
    line.extend([2, 0x80, 1, 0, 1, 1]);
    with_length(line)
}

fn with_length(bytes: Vec<u8>) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat()
}
