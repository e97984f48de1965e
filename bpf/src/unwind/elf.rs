//! What the headers of an ELF file say.

use super::bytes::Bytes;
use super::error::{BuildError, Limits};
use super::headers::{
    Header, SegmentHeader, parse, read_file_header, read_program_headers, section,
};
use super::metered::Metered;
use super::registers::{Machine, Registers};
use super::source::Source;
use object::LittleEndian;
use object::elf::{self, CompressionHeader64, SectionHeader64};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader, SectionHeader};
use std::ops::Range;

/// Chromium has 40.
const MOST_SECTIONS: u64 = 16 * 1024;
const LARGEST_NOTES: u64 = 64 << 10;
/// GNU ld writes 16 (md5, uuid), 20 (sha1) or as many bytes as it is told.
const LONGEST_BUILD_ID: usize = 64;
const LONGEST_INTERPRETER: u64 = 256;
/// Bytes of a section's name that are read: one more than the longest that is looked for.
const NAME_BYTES: usize = 17;

/// What the headers say.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) registers: &'static Registers,
    /// All that are loaded.
    pub(super) segments: Vec<Segment>,
    /// The executable ones of them, in the order of their addresses.
    pub(super) code: Vec<Segment>,
    /// Call frame information, the more trusted first.
    pub(super) frames: Vec<Frames>,
    /// Where the program begins, if it is one.
    pub(super) entry: u64,
    /// A library, a dynamic linker, or a program that may lie anywhere.
    pub(super) position_independent: bool,
    /// Names of functions, unless the file is stripped.
    pub(super) symbols: Option<Symbols>,
    /// The procedure linkage table.
    pub(super) plt: Option<Stubs>,
    /// Whether the Go linker made it.
    pub(super) go: bool,
    /// The dynamic linker that it asks for, as far as it is read.
    pub(super) interpreter: Option<Vec<u8>>,
    pub(super) build_id: Option<Vec<u8>>,
    /// The file header and the program headers as they are.
    pub(super) headers: Vec<u8>,
}

/// A table of symbols and the table of their names, as ranges of the file.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    pub(super) entries: Range<u64>,
    pub(super) names: Range<u64>,
}

/// A section of small pieces of code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stubs {
    /// In the file.
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// A section of call frame information.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    pub(super) kind: FramesKind,
    /// In the file.
    pub(super) range: Range<u64>,
    pub(super) address: u64,
    /// If it is compressed.
    pub(super) inflated_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramesKind {
    /// .eh_frame, found by its section.
    EhFrame,
    /// .eh_frame, found by PT_GNU_EH_FRAME: ends with its terminator.
    EhFrameToTerminator,
    DebugFrame,
}

/// The executable parts of an ELF file: what ties offsets in it, by which tables are kept, to its addresses.
#[derive(Debug)]
pub struct Code {
    /// What it runs on.
    pub machine: Machine,
    /// In the order of their addresses.
    pub segments: Vec<Segment>,
}

/// A PT_LOAD, as far as it is in the file.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// In the file.
    pub offset: u64,
    /// ELF address of its first byte.
    pub address: u64,
    /// In bytes.
    pub size: u64,
}

impl Code {
    /// Reads it from the headers.
    ///
    /// # Errors
    /// Those of [`build`](super::build) that come from reading and from headers.
    pub fn read(source: &(impl Source + ?Sized)) -> Result<Self, BuildError> {
        let elf = Elf::read(&Metered::new(source, &Limits::default())?)?;
        Ok(Self {
            machine: elf.registers.machine,
            segments: elf.code,
        })
    }
}

impl Elf {
    pub(super) fn read(file: &Metered<'_, impl Source + ?Sized>) -> Result<Self, BuildError> {
        let mut headers = Vec::new();
        let header = read_file_header(file, &mut headers)?;
        let registers = Registers::of(header.e_machine(LittleEndian)).ok_or(BuildError::Machine)?;
        let program_headers = read_program_headers(file, &header, &mut headers)?;
        let segment = |kind| {
            let mut all = program_headers.iter();
            all.find(move |segment| segment.p_type(LittleEndian) == kind)
        };
        let executable = program_headers
            .iter()
            .filter(|segment| segment.p_flags(LittleEndian).contains(elf::PF_X));
        let mut elf = Self {
            registers,
            segments: program_headers.iter().filter_map(loaded).collect(),
            code: executable.filter_map(loaded).collect(),
            frames: Vec::new(),
            entry: header.e_entry(LittleEndian),
            position_independent: header.e_type(LittleEndian) == elf::ET_DYN,
            symbols: None,
            plt: None,
            go: false,
            interpreter: segment(elf::PT_INTERP).and_then(|segment| interpreter(file, segment)),
            build_id: program_headers
                .iter()
                .find_map(|segment| build_id(file, segment)),
            headers,
        };
        elf.code.sort_by_key(|segment| segment.address);
        elf.read_sections(file, &header)?;
        if elf
            .frames
            .iter()
            .all(|frames| frames.kind != FramesKind::EhFrame)
        {
            let found = segment(elf::PT_GNU_EH_FRAME)
                .and_then(|segment| frames_by_segment(file, &elf.segments, segment));
            elf.frames.splice(0..0, found);
        }
        // What may be missing is not missing for being too much.
        file.spend(0)?;
        Ok(elf)
    }

    /// A file runs without sections, so their absence or damage is no error.
    fn read_sections(
        &mut self,
        file: &Metered<'_, impl Source + ?Sized>,
        header: &Header,
    ) -> Result<(), BuildError> {
        let count = u64::from(header.e_shnum(LittleEndian));
        let names = header
            .e_shstrndx(LittleEndian)
            .index()
            .and_then(|index| section(file, header, u64::from(index)));
        let (Some(names), 1..=MOST_SECTIONS) = (names, count) else {
            return Ok(());
        };
        for number in 0..count {
            let Some(found) = section(file, header, number) else {
                break;
            };
            let mut name = [0; NAME_BYTES];
            let at = names
                .sh_offset(LittleEndian)
                .saturating_add(found.sh_name(LittleEndian).into());
            file.read_at(&mut name, at)?;
            match Bytes(&name).string() {
                Some(b".eh_frame") => self.add_frames(file, &found, FramesKind::EhFrame),
                Some(b".debug_frame") => self.add_frames(file, &found, FramesKind::DebugFrame),
                Some(b".note.go.buildid") => self.go = true,
                Some(b".plt") => {
                    self.plt = content(&found).map(|range| Stubs {
                        offset: range.start,
                        address: found.sh_addr(LittleEndian),
                        size: range.end - range.start,
                    });
                }
                Some(b".symtab") => {
                    let names = section(file, header, found.sh_link(LittleEndian).into());
                    self.symbols = names.and_then(|names| {
                        Some(Symbols {
                            entries: content(&found)?,
                            names: content(&names)?,
                        })
                    });
                }
                _ => {}
            }
        }
        self.frames
            .sort_by_key(|frames| frames.kind == FramesKind::DebugFrame);
        Ok(())
    }

    /// Linkers make one section of a kind. Of a thousand each would take memory, and time for every function.
    fn add_frames(
        &mut self,
        file: &Metered<'_, impl Source + ?Sized>,
        section: &SectionHeader64<LittleEndian>,
        kind: FramesKind,
    ) {
        if self.frames.iter().all(|frames| frames.kind != kind) {
            self.frames.extend(frames(file, section, kind));
        }
    }

    /// Where code at an address lies in the file, and how much follows.
    #[inline]
    pub(super) fn place(&self, address: u64) -> Option<(u64, u64)> {
        let behind = self
            .code
            .partition_point(|segment| segment.address <= address);
        self.code.get(behind.checked_sub(1)?)?.place(address)
    }
}

impl Segment {
    /// Offset in the file of an address, and how many bytes of the segment are left there.
    #[inline]
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        let within = address.checked_sub(self.address)?;
        let left = self.size.checked_sub(within).filter(|left| *left > 0)?;
        Some((self.offset + within, left))
    }
}

fn loaded(header: &SegmentHeader) -> Option<Segment> {
    let segment = Segment {
        offset: header.p_offset(LittleEndian),
        address: header.p_vaddr(LittleEndian),
        size: header.p_filesz(LittleEndian),
    };
    let sane = segment.offset.checked_add(segment.size).is_some()
        && segment.address.checked_add(segment.size).is_some();
    (header.p_type(LittleEndian) == elf::PT_LOAD && sane).then_some(segment)
}

/// What a section has in the file.
fn content(section: &SectionHeader64<LittleEndian>) -> Option<Range<u64>> {
    let start = section.sh_offset(LittleEndian);
    let end = start.checked_add(section.sh_size(LittleEndian))?;
    // In a file that has only debug information the other sections have nothing.
    (section.sh_type(LittleEndian) != elf::SHT_NOBITS).then_some(start..end)
}

fn frames(
    file: &Metered<'_, impl Source + ?Sized>,
    section: &SectionHeader64<LittleEndian>,
    kind: FramesKind,
) -> Option<Frames> {
    let mut range = content(section)?;
    let mut inflated_size = None;
    if section.sh_flags(LittleEndian).contains(elf::SHF_COMPRESSED) {
        const SIZE: usize = size_of::<CompressionHeader64<LittleEndian>>();
        let bytes = file.read_array::<SIZE>(range.start).ok()?;
        let header: CompressionHeader64<LittleEndian> = parse(&bytes).ok()?;
        if header.ch_type.get(LittleEndian) != elf::ELFCOMPRESS_ZLIB {
            return None;
        }
        inflated_size = Some(header.ch_size.get(LittleEndian));
        range.start = range.start.checked_add(SIZE as u64)?;
    }
    Some(Frames {
        kind,
        range,
        address: section.sh_addr(LittleEndian),
        inflated_size,
    })
}

/// The path in PT_INTERP.
fn interpreter(
    file: &Metered<'_, impl Source + ?Sized>,
    segment: &SegmentHeader,
) -> Option<Vec<u8>> {
    let size = segment.p_filesz(LittleEndian).min(LONGEST_INTERPRETER);
    let mut path = vec![0; size as usize];
    file.read_exact(&mut path, segment.p_offset(LittleEndian))
        .ok()?;
    Some(path)
}

/// The build id in a PT_NOTE.
fn build_id(file: &Metered<'_, impl Source + ?Sized>, segment: &SegmentHeader) -> Option<Vec<u8>> {
    let size = segment.p_filesz(LittleEndian);
    if segment.p_type(LittleEndian) != elf::PT_NOTE || size > LARGEST_NOTES {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact(&mut bytes, segment.p_offset(LittleEndian))
        .ok()?;
    let align = segment.p_align(LittleEndian);
    let mut notes = NoteIterator::<Header>::new(LittleEndian, align, &bytes).ok()?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"GNU" && note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID {
            let id = note.desc();
            return (1..=LONGEST_BUILD_ID)
                .contains(&id.len())
                .then(|| id.to_vec());
        }
    }
    None
}

/// What PT_GNU_EH_FRAME points at is .eh_frame_hdr, which says where .eh_frame is.
fn frames_by_segment(
    file: &Metered<'_, impl Source + ?Sized>,
    segments: &[Segment],
    header: &SegmentHeader,
) -> Option<Frames> {
    let mut bytes = [0; 12];
    file.read_exact(&mut bytes, header.p_offset(LittleEndian))
        .ok()?;
    let &[1, encoding, _, _, ref pointer @ ..] = &bytes else {
        return None;
    };
    let field = header.p_vaddr(LittleEndian).wrapping_add(4);
    let address = Bytes(pointer).pointer(encoding, field)?;
    let (offset, size) = segments.iter().find_map(|segment| segment.place(address))?;
    Some(Frames {
        kind: FramesKind::EhFrameToTerminator,
        range: offset..offset + size,
        address,
        inflated_size: None,
    })
}
