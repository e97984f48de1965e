//! The headers of an ELF file, read piece by piece with bounds, because the file is not ours and may lie.

use std::fs::File;
use std::io;
use std::ops::Range;

use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::pod::{Pod, slice_from_bytes};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader, SectionHeader};

use crate::debug_sections::DebugSections;
use crate::positioned::read_exact_at;

// Chromium has 14 program headers and 40 sections; a kernel image with a section per function is not what a process runs.
const MOST_PROGRAM_HEADERS: u64 = 1024;
const MOST_SECTIONS: u64 = 16 * 1024;
const LARGEST_SECTION_NAMES: u64 = 1 << 20;
const LARGEST_NOTES: u64 = 64 << 10;
/// GNU ld writes 16 (md5, uuid), 20 (sha1) or as many bytes as it is told.
const LONGEST_BUILD_ID: usize = 64;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;

/// Why a header could not be read; [`crate::ModuleError`] says it with the file's name.
#[derive(Debug)]
pub(crate) enum HeaderError {
    NotElf,
    Bits32,
    BigEndian,
    /// What is missing or contradicts itself.
    Malformed(&'static str),
    Io(io::Error),
}

/// An executable PT_LOAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodeSegment {
    pub(crate) file_offset: u64,
    pub(crate) file_size: u64,
    pub(crate) address: u64,
    pub(crate) memory_size: u64,
}

/// What the headers say.
#[derive(Debug)]
pub(crate) struct ElfHeader {
    pub(crate) segments: Vec<CodeSegment>,
    pub(crate) build_id: Option<Vec<u8>>,
    /// The one that the linker keeps for debuggers before the one for dynamic linking.
    pub(crate) symbols: Vec<SymbolTable>,
    /// ELF addresses of the sections that hold code.
    pub(crate) code: Vec<Range<u64>>,
    pub(crate) debug: DebugSections,
    pub(crate) loads: Vec<Load>,
    pub(crate) go: GoSections,
    /// Whether the file ends before its table of sections does, which is behind all else as linkers write it: names are missing.
    pub(crate) is_cut: bool,
}

/// Where a table of symbols is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolTable {
    pub(crate) symbols: Extent,
    pub(crate) names: Extent,
    /// Whether it is the one for dynamic linking, which holds what other files may call and no more.
    pub(crate) is_dynamic: bool,
    /// Whether symbols are missing at its end: the last is not whole, or it has fewer than are local to their files.
    pub(crate) is_cut: bool,
}

/// A part of a file, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Extent {
    /// What is left of it from a place in it on.
    pub(crate) fn from(self, offset: u64) -> Option<Self> {
        let gone = offset.checked_sub(self.offset)?;
        let size = self.size.checked_sub(gone)?;
        Some(Self { offset, size })
    }
}

/// Any PT_LOAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) extent: Extent,
    pub(crate) address: u64,
}

impl Load {
    /// What is left of it from an ELF address in it on.
    pub(crate) fn from(self, address: u64) -> Option<Extent> {
        let gone = address.checked_sub(self.address)?;
        self.extent.from(self.extent.offset.checked_add(gone)?)
    }
}

/// Where a Go program may have its table of functions, and the structure that leads to everything else.
#[derive(Debug, Default)]
pub(crate) struct GoSections {
    pub(crate) tables: Vec<Extent>,
    pub(crate) modules: Vec<Extent>,
    /// There are no names of sections at all: they may be anywhere.
    pub(crate) are_nameless: bool,
}

impl ElfHeader {
    pub(crate) fn read(file: &File) -> Result<Self, HeaderError> {
        let header = read_file_header(file)?;
        let segments = read_program_headers(file, &header)?;
        let sections = read_sections(file, &header);
        Ok(Self {
            segments: code_segments(&segments)?,
            build_id: find_build_id(file, &segments, &sections),
            symbols: symbol_tables(&sections),
            code: code_sections(&sections),
            debug: DebugSections::of(&sections),
            loads: loads(&segments),
            go: go_sections(&sections),
            is_cut: is_cut(file, &header),
        })
    }
}

fn read_file_header(file: &File) -> Result<Header, HeaderError> {
    let mut ident = [0; 16];
    read_exact_at(file, &mut ident, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => HeaderError::NotElf,
        _ => HeaderError::Io(error),
    })?;
    match ident {
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(HeaderError::Bits32),
        [0x7f, b'E', b'L', b'F', 2, 2, ..] => Err(HeaderError::BigEndian),
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => {
            let bytes = read(file, 0, size_of::<Header>() as u64, "the file header")?;
            Header::parse(&bytes[..])
                .copied()
                .map_err(|_| HeaderError::Malformed("the file header"))
        }
        _ => Err(HeaderError::NotElf),
    }
}

fn read_program_headers(file: &File, header: &Header) -> Result<Vec<Segment>, HeaderError> {
    const WHAT: &str = "the table of program headers";
    let count = u64::from(header.e_phnum(LittleEndian));
    if count > MOST_PROGRAM_HEADERS
        || (count > 0 && usize::from(header.e_phentsize(LittleEndian)) != size_of::<Segment>())
    {
        return Err(HeaderError::Malformed(WHAT));
    }
    let bytes = read(
        file,
        header.e_phoff(LittleEndian),
        count * size_of::<Segment>() as u64,
        WHAT,
    )?;
    entries(&bytes, WHAT)
}

fn code_segments(segments: &[Segment]) -> Result<Vec<CodeSegment>, HeaderError> {
    let code = segments.iter().filter(|segment| {
        segment.p_type(LittleEndian) == elf::PT_LOAD
            && segment.p_flags(LittleEndian).contains(elf::PF_X)
    });
    code.map(|segment| {
        let segment = CodeSegment {
            file_offset: segment.p_offset(LittleEndian),
            file_size: segment.p_filesz(LittleEndian),
            address: segment.p_vaddr(LittleEndian),
            memory_size: segment.p_memsz(LittleEndian),
        };
        let sane = segment.file_size <= segment.memory_size
            && segment.file_offset.checked_add(segment.file_size).is_some()
            && segment.address.checked_add(segment.memory_size).is_some();
        if sane {
            Ok(segment)
        } else {
            Err(HeaderError::Malformed("an executable segment's extent"))
        }
    })
    .collect()
}

fn loads(segments: &[Segment]) -> Vec<Load> {
    let is_load = |segment: &&Segment| segment.p_type(LittleEndian) == elf::PT_LOAD;
    let load = |segment: &Segment| Load {
        extent: Extent {
            offset: segment.p_offset(LittleEndian),
            size: segment.p_filesz(LittleEndian),
        },
        address: segment.p_vaddr(LittleEndian),
    };
    segments.iter().filter(is_load).map(load).collect()
}

/// The sections with their names, or none: a file runs without them, so their absence or damage is no error.
fn read_sections(file: &File, header: &Header) -> Vec<(Vec<u8>, Section)> {
    const WHAT: &str = "the table of sections";
    let count = u64::from(header.e_shnum(LittleEndian));
    if count == 0 || count > MOST_SECTIONS {
        return Vec::new();
    }
    let Ok(bytes) = read(
        file,
        header.e_shoff(LittleEndian),
        count * size_of::<Section>() as u64,
        WHAT,
    ) else {
        return Vec::new();
    };
    let Ok(sections) = entries::<Section>(&bytes, WHAT) else {
        return Vec::new();
    };
    let strings = header
        .e_shstrndx(LittleEndian)
        .index()
        .and_then(|index| sections.get(usize::from(index)))
        .filter(|strings| strings.sh_size(LittleEndian) <= LARGEST_SECTION_NAMES)
        .and_then(|strings| {
            read(
                file,
                strings.sh_offset(LittleEndian),
                strings.sh_size(LittleEndian),
                WHAT,
            )
            .ok()
        })
        .unwrap_or_default();
    let name = |section: &Section| {
        let rest = strings
            .get(section.sh_name(LittleEndian) as usize..)
            .unwrap_or_default();
        // Only names of this length are looked for.
        rest.iter()
            .take(32)
            .take_while(|&&byte| byte != 0)
            .copied()
            .collect()
    };
    sections
        .iter()
        .map(|section| (name(section), *section))
        .collect()
}

fn is_cut(file: &File, header: &Header) -> bool {
    let size = u64::from(header.e_shnum(LittleEndian)) * size_of::<Section>() as u64;
    let end = header.e_shoff(LittleEndian).saturating_add(size);
    size > 0 && file.metadata().is_ok_and(|metadata| metadata.len() < end)
}

/// Where a section's bytes are.
pub(crate) fn extent(section: &Section) -> Extent {
    Extent {
        offset: section.sh_offset(LittleEndian),
        size: section.sh_size(LittleEndian),
    }
}

fn symbol_tables(sections: &[(Vec<u8>, Section)]) -> Vec<SymbolTable> {
    let table = |kind| {
        let is_table = |(_, section): &&(_, Section)| section.sh_type(LittleEndian) == kind;
        let (_, symbols) = sections.iter().find(is_table)?;
        let names = usize::try_from(symbols.sh_link(LittleEndian)).ok()?;
        let (_, names) = sections.get(names)?;
        let (size, of_one) = (symbols.sh_size(LittleEndian), size_of::<Symbol>() as u64);
        let locals = u64::from(symbols.sh_info(LittleEndian));
        (names.sh_type(LittleEndian) == elf::SHT_STRTAB).then(|| SymbolTable {
            symbols: extent(symbols),
            names: extent(names),
            is_dynamic: kind == elf::SHT_DYNSYM,
            is_cut: size % of_one != 0 || locals > size / of_one,
        })
    };
    [elf::SHT_SYMTAB, elf::SHT_DYNSYM]
        .into_iter()
        .filter_map(table)
        .collect()
}

fn code_sections(sections: &[(Vec<u8>, Section)]) -> Vec<Range<u64>> {
    let code = sections.iter().filter(|(_, section)| {
        let flags = section.sh_flags(LittleEndian);
        flags.contains(elf::SHF_ALLOC) && flags.contains(elf::SHF_EXECINSTR)
    });
    code.map(|(_, section)| {
        let start = section.sh_addr(LittleEndian);
        start..start.saturating_add(section.sh_size(LittleEndian))
    })
    .collect()
}

fn go_sections(sections: &[(Vec<u8>, Section)]) -> GoSections {
    let of = |names: &[&[u8]]| {
        let mut found = Vec::new();
        for wanted in names {
            let with = sections.iter().filter(|(name, _)| name == wanted);
            found.extend(with.map(|(_, section)| extent(section)));
        }
        found
    };
    if of(&[b".go.buildinfo"]).is_empty() {
        let are_nameless = sections.iter().all(|(name, _)| name.is_empty());
        return GoSections {
            are_nameless,
            ..GoSections::default()
        };
    }
    // Where code moves, a C linker may have put the table with other things that are read only once they have been moved.
    GoSections {
        tables: of(&[b".gopclntab", b".data.rel.ro.gopclntab", b".data.rel.ro"]),
        modules: of(&[b".go.module", b".noptrdata"]),
        are_nameless: false,
    }
}

/// The build id, from the loaded notes or, in a file that has not even those, from its sections.
fn find_build_id(
    file: &File,
    segments: &[Segment],
    sections: &[(Vec<u8>, Section)],
) -> Option<Vec<u8>> {
    let loaded = segments
        .iter()
        .filter(|segment| segment.p_type(LittleEndian) == elf::PT_NOTE)
        .map(|segment| {
            (
                segment.p_offset(LittleEndian),
                segment.p_filesz(LittleEndian),
                segment.p_align(LittleEndian),
            )
        });
    let linked = sections
        .iter()
        .filter(|(_, section)| section.sh_type(LittleEndian) == elf::SHT_NOTE)
        .map(|(_, section)| {
            (
                section.sh_offset(LittleEndian),
                section.sh_size(LittleEndian),
                section.sh_addralign(LittleEndian),
            )
        });
    loaded
        .chain(linked)
        .filter(|&(_, size, _)| size <= LARGEST_NOTES)
        .find_map(|(offset, size, align)| {
            let bytes = read(file, offset, size, "the notes").ok()?;
            let mut notes = NoteIterator::<Header>::new(LittleEndian, align, &bytes).ok()?;
            while let Ok(Some(note)) = notes.next() {
                if note.name() == b"GNU" && note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID {
                    let id = note.desc();
                    return (!id.is_empty() && id.len() <= LONGEST_BUILD_ID).then(|| id.to_vec());
                }
            }
            None
        })
}

/// `size` bytes, which the caller has bounded.
fn read(file: &File, offset: u64, size: u64, what: &'static str) -> Result<Vec<u8>, HeaderError> {
    let size = usize::try_from(size).map_err(|_| HeaderError::Malformed(what))?;
    let mut bytes = vec![0; size];
    read_exact_at(file, &mut bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => HeaderError::Malformed(what),
        _ => HeaderError::Io(error),
    })?;
    Ok(bytes)
}

fn entries<T: Pod + Copy>(bytes: &[u8], what: &'static str) -> Result<Vec<T>, HeaderError> {
    let (entries, _) = slice_from_bytes::<T>(bytes, bytes.len() / size_of::<T>())
        .map_err(|()| HeaderError::Malformed(what))?;
    Ok(entries.to_vec())
}
