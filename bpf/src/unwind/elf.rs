//! The headers of an ELF file, read piece by piece with bounds, because the file is not ours and may lie.

use super::bytes::Bytes;
use super::error::BuildError;
use super::registers::Registers;
use super::source::{Source, read_array, read_exact};
use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{Pod, from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

// Chromium has 14 program headers and 40 sections.
const MOST_PROGRAM_HEADERS: u64 = 1024;
const MOST_SECTIONS: u64 = 16 * 1024;
/// Bytes of a section's name that are read: one more than the longest that is looked for.
const NAME_BYTES: usize = 16;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;

/// What the headers say.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) registers: &'static Registers,
    pub(super) segments: Vec<Load>,
    /// Call frame information, the more trusted first.
    pub(super) frames: Vec<Frames>,
}

/// A PT_LOAD with what it has in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) executable: bool,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// A section of call frame information.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) kind: FramesKind,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) compressed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramesKind {
    /// .eh_frame, found by its section.
    EhFrame,
    /// .eh_frame, found by PT_GNU_EH_FRAME: ends with its terminator.
    EhFrameToTerminator,
    DebugFrame,
}

impl Elf {
    pub(super) fn read(source: &(impl Source + ?Sized)) -> Result<Self, BuildError> {
        let header = read_file_header(source)?;
        let registers = Registers::of(header.e_machine(LittleEndian)).ok_or(BuildError::Machine)?;
        let headers = read_program_headers(source, &header)?;
        let segments = headers.iter().filter_map(load).collect();
        let mut elf = Self {
            registers,
            segments,
            frames: Vec::new(),
        };
        elf.frames = frames_by_section(source, &header)?;
        if !elf
            .frames
            .iter()
            .any(|frames| frames.kind == FramesKind::EhFrame)
        {
            let found = headers
                .iter()
                .find(|segment| segment.p_type(LittleEndian) == elf::PT_GNU_EH_FRAME)
                .and_then(|segment| frames_by_segment(source, &elf.segments, segment));
            elf.frames.splice(0..0, found);
        }
        Ok(elf)
    }

    /// Where code at an address lies in the file, and how much follows.
    #[inline]
    pub(super) fn code(&self, address: u64) -> Option<(u64, u64)> {
        self.segments
            .iter()
            .filter(|segment| segment.executable)
            .find_map(|segment| segment.place(address))
    }
}

impl Load {
    /// Offset in the file of an address, and how many bytes of the segment are left there.
    #[inline]
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        let within = address.checked_sub(self.address)?;
        let left = self.size.checked_sub(within).filter(|left| *left > 0)?;
        Some((self.offset + within, left))
    }
}

fn read_file_header(source: &(impl Source + ?Sized)) -> Result<Header, BuildError> {
    let mut bytes = [0; size_of::<Header>()];
    let read = source.read_at(&mut bytes, 0)?;
    match bytes {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] if read == bytes.len() => parse(&bytes),
        [0x7f, b'E', b'L', b'F', 1 | 2, 1 | 2, ..] if read == bytes.len() => {
            Err(BuildError::Machine)
        }
        _ => Err(BuildError::NotElf),
    }
}

fn read_program_headers(
    source: &(impl Source + ?Sized),
    header: &Header,
) -> Result<Vec<Segment>, BuildError> {
    const WHAT: &str = "table of program headers";
    let count = u64::from(header.e_phnum(LittleEndian));
    let size = usize::from(header.e_phentsize(LittleEndian));
    if count > MOST_PROGRAM_HEADERS || (count > 0 && size != size_of::<Segment>()) {
        return Err(BuildError::Malformed(WHAT));
    }
    let start = header.e_phoff(LittleEndian);
    let segments = (0..count).map(|number| {
        let offset = start.checked_add(number * size as u64);
        let offset = offset.ok_or(BuildError::Malformed(WHAT))?;
        parse(&read_array::<{ size_of::<Segment>() }>(source, offset)?)
    });
    segments.collect()
}

fn load(segment: &Segment) -> Option<Load> {
    let load = Load {
        executable: segment.p_flags(LittleEndian).contains(elf::PF_X),
        offset: segment.p_offset(LittleEndian),
        address: segment.p_vaddr(LittleEndian),
        size: segment.p_filesz(LittleEndian),
    };
    let sane = load.offset.checked_add(load.size).is_some()
        && load.address.checked_add(load.size).is_some();
    (segment.p_type(LittleEndian) == elf::PT_LOAD && sane).then_some(load)
}

/// A file runs without sections, so their absence or damage is no error.
fn frames_by_section(
    source: &(impl Source + ?Sized),
    header: &Header,
) -> Result<Vec<Frames>, BuildError> {
    let count = u64::from(header.e_shnum(LittleEndian));
    let names = header
        .e_shstrndx(LittleEndian)
        .index()
        .and_then(|index| section(source, header, u64::from(index)));
    let mut found = Vec::new();
    let (Some(names), 1..=MOST_SECTIONS) = (names, count) else {
        return Ok(found);
    };
    for number in 0..count {
        let Some(section) = section(source, header, number) else {
            break;
        };
        let mut name = [0; NAME_BYTES];
        let at = names
            .sh_offset(LittleEndian)
            .saturating_add(section.sh_name(LittleEndian).into());
        source.read_at(&mut name, at)?;
        let kind = match Bytes(&name).string() {
            Some(b".eh_frame") => FramesKind::EhFrame,
            Some(b".debug_frame") => FramesKind::DebugFrame,
            _ => continue,
        };
        // In a file of debug information the others have no content.
        if section.sh_type(LittleEndian) == elf::SHT_NOBITS {
            continue;
        }
        found.push(Frames {
            kind,
            offset: section.sh_offset(LittleEndian),
            address: section.sh_addr(LittleEndian),
            size: section.sh_size(LittleEndian),
            compressed: section.sh_flags(LittleEndian).contains(elf::SHF_COMPRESSED),
        });
    }
    found.sort_by_key(|frames| frames.kind == FramesKind::DebugFrame);
    Ok(found)
}

fn section(
    source: &(impl Source + ?Sized),
    header: &Header,
    number: u64,
) -> Option<SectionHeader64<LittleEndian>> {
    const SIZE: usize = size_of::<SectionHeader64<LittleEndian>>();
    if usize::from(header.e_shentsize(LittleEndian)) != SIZE {
        return None;
    }
    let offset = header
        .e_shoff(LittleEndian)
        .checked_add(number * SIZE as u64)?;
    parse(&read_array::<SIZE>(source, offset).ok()?).ok()
}

/// What PT_GNU_EH_FRAME points at is .eh_frame_hdr, which says where .eh_frame is.
fn frames_by_segment(
    source: &(impl Source + ?Sized),
    segments: &[Load],
    header: &Segment,
) -> Option<Frames> {
    let mut bytes = [0; 12];
    read_exact(source, &mut bytes, header.p_offset(LittleEndian)).ok()?;
    let &[1, encoding, _, _, ref pointer @ ..] = &bytes else {
        return None;
    };
    let field = header.p_vaddr(LittleEndian).wrapping_add(4);
    let address = Bytes(pointer).pointer(encoding, field)?;
    let (offset, size) = segments.iter().find_map(|segment| segment.place(address))?;
    Some(Frames {
        kind: FramesKind::EhFrameToTerminator,
        offset,
        address,
        size,
        compressed: false,
    })
}

fn parse<T: Pod + Copy>(bytes: &[u8]) -> Result<T, BuildError> {
    match from_bytes::<T>(bytes) {
        Ok((value, _)) => Ok(*value),
        Err(()) => Err(BuildError::Malformed("header")),
    }
}
