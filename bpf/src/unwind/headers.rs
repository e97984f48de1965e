//! The headers of an ELF file, read one by one with bounds, because the file is not ours and may lie.

use super::error::BuildError;
use super::metered::Metered;
use super::source::Source;
use object::LittleEndian;
use object::elf::{FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{Pod, from_bytes};
use object::read::elf::FileHeader;

/// Chromium has 14.
const MOST_PROGRAM_HEADERS: u64 = 1024;

pub(super) type Header = FileHeader64<LittleEndian>;
pub(super) type SegmentHeader = ProgramHeader64<LittleEndian>;

/// Reads the first of them, which is also added to `headers`.
pub(super) fn read_file_header(
    file: &Metered<'_, impl Source + ?Sized>,
    headers: &mut Vec<u8>,
) -> Result<Header, BuildError> {
    let mut bytes = [0; size_of::<Header>()];
    let read = file.read_at(&mut bytes, 0)?;
    headers.extend(bytes);
    match bytes {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] if read == bytes.len() => parse(&bytes),
        [0x7f, b'E', b'L', b'F', 1 | 2, 1 | 2, ..] if read == bytes.len() => {
            Err(BuildError::Machine)
        }
        _ => Err(BuildError::NotElf),
    }
}

/// Reads those of segments, which are also added to `headers`.
pub(super) fn read_program_headers(
    file: &Metered<'_, impl Source + ?Sized>,
    header: &Header,
    headers: &mut Vec<u8>,
) -> Result<Vec<SegmentHeader>, BuildError> {
    const WHAT: &str = "table of program headers";
    let count = u64::from(header.e_phnum(LittleEndian));
    let size = usize::from(header.e_phentsize(LittleEndian));
    if count > MOST_PROGRAM_HEADERS || (count > 0 && size != size_of::<SegmentHeader>()) {
        return Err(BuildError::Malformed(WHAT));
    }
    let start = header.e_phoff(LittleEndian);
    let segments = (0..count).map(|number| {
        let offset = start.checked_add(number * size as u64);
        let offset = offset.ok_or(BuildError::Malformed(WHAT))?;
        let bytes = file.read_array::<{ size_of::<SegmentHeader>() }>(offset)?;
        headers.extend(bytes);
        parse(&bytes)
    });
    segments.collect()
}

/// That of a section, if there is one of that number.
pub(super) fn section(
    file: &Metered<'_, impl Source + ?Sized>,
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
    parse(&file.read_array::<SIZE>(offset).ok()?).ok()
}

/// Of bytes that are enough for it.
pub(super) fn parse<T: Pod + Copy>(bytes: &[u8]) -> Result<T, BuildError> {
    match from_bytes::<T>(bytes) {
        Ok((value, _)) => Ok(*value),
        Err(()) => Err(BuildError::Malformed("header")),
    }
}
