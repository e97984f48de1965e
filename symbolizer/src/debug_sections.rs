//! The sections of debug information in an ELF file: where they are, and their bytes, decompressed and counted.

use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;

use flate2::read::ZlibDecoder;
use object::LittleEndian;
use object::elf::{self, CompressionHeader64, SectionHeader64};
use object::pod::from_bytes;
use object::read::elf::SectionHeader;
use ruzstd::decoding::StreamingDecoder;

use crate::elf_header::{Extent, extent};
use crate::positioned::{Piece, read_exact_at};
use crate::room::{NoRoom, Room};

/// zlib makes no more of a byte than this. A section that claims more lies, and no memory is given for it.
const LARGEST_ZLIB_RATIO: u64 = 1032;
/// `zstd -19` has a window of 8 MiB; linkers compress with less.
const LARGEST_ZSTD_WINDOW: u64 = 8 << 20;

type ElfCompression = CompressionHeader64<LittleEndian>;

/// Where the debug information of a file is.
#[derive(Debug, Default)]
pub(crate) struct DebugSections {
    sections: Vec<DebugSection>,
    /// The name of the file's debug file, and a checksum of that.
    pub(crate) link: Option<Extent>,
    /// The path of a file that several debug files share (`dwz -m`), and its build id.
    pub(crate) alt_link: Option<Extent>,
    /// An ELF file with a table of symbols, compressed by xz: Fedora's MiniDebugInfo.
    pub(crate) mini: Option<Extent>,
}

#[derive(Debug)]
struct DebugSection {
    /// As the standard has it: `.debug_info` also where it is `.zdebug_info`.
    name: Vec<u8>,
    extent: Extent,
    packing: Packing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    /// `SHF_COMPRESSED`.
    Elf,
    /// `.zdebug_*`: what GNU's tools wrote before that flag was defined, and Go until 1.18.
    Gnu,
}

/// Why sections could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SectionError {
    /// They are larger than what may be kept.
    #[error("they are too large")]
    TooLarge,
    #[error("a compressed section is damaged")]
    Compression,
    #[error("a section cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl From<NoRoom> for SectionError {
    fn from(NoRoom: NoRoom) -> Self {
        Self::TooLarge
    }
}

impl DebugSections {
    /// Picks them out of all sections of a file.
    pub(crate) fn of(sections: &[(Vec<u8>, SectionHeader64<LittleEndian>)]) -> Self {
        let mut debug = Self::default();
        for (name, section) in sections {
            // A debug file lists the sections of its program without having their bytes.
            if section.sh_type(LittleEndian) == elf::SHT_NOBITS {
                continue;
            }
            match &name[..] {
                b".gnu_debuglink" => debug.link = Some(extent(section)),
                b".gnu_debugdata" => debug.mini = Some(extent(section)),
                b".gnu_debugaltlink" => debug.alt_link = Some(extent(section)),
                _ => debug.sections.extend(DebugSection::of(name, section)),
            }
        }
        debug
    }

    /// Whether there is DWARF at all.
    pub(crate) fn is_present(&self) -> bool {
        self.has(".debug_info")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Where a section is that is never compressed.
    pub(crate) fn extent(&self, name: &str) -> Option<Extent> {
        let section = self.find(name);
        section.map(|section| section.extent)
    }

    pub(crate) fn are_compressed(&self) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|section| section.packing != Packing::None)
    }

    /// Size of all of them as they are in the file, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let sizes = self.sections.iter().map(|section| section.extent.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// The bytes of a section, none if it is not there. They are taken from `room`; what does not fit is neither read nor decompressed.
    pub(crate) fn read<T>(
        &self,
        file: &File,
        name: &str,
        room: &mut Room<'_, T>,
    ) -> Result<Rc<[u8]>, SectionError> {
        let Some(DebugSection {
            extent, packing, ..
        }) = self.find(name)
        else {
            return Ok(Rc::new([]));
        };
        let mut packed = Piece::new(file, *extent);
        match packing {
            Packing::None => {
                let mut bytes = zeroes(extent.size, room)?;
                let all = Rc::get_mut(&mut bytes).unwrap_or_default();
                read_exact_at(file, all, extent.offset)?;
                Ok(bytes)
            }
            Packing::Elf => {
                let mut header = [0; size_of::<ElfCompression>()];
                packed.read_exact(&mut header)?;
                let (header, _) = from_bytes::<ElfCompression>(&header)
                    .map_err(|()| SectionError::Compression)?;
                let size = header.ch_size.get(LittleEndian);
                match header.ch_type.get(LittleEndian) {
                    elf::ELFCOMPRESS_ZLIB => inflate(packed, size, room),
                    elf::ELFCOMPRESS_ZSTD => {
                        let unpacked =
                            StreamingDecoder::new_with_max_window_size(packed, LARGEST_ZSTD_WINDOW)
                                .map_err(|_| SectionError::Compression)?;
                        unpack(unpacked, size, room)
                    }
                    _ => Err(SectionError::Compression),
                }
            }
            Packing::Gnu => {
                let mut header = [0; 12];
                packed.read_exact(&mut header)?;
                let [b'Z', b'L', b'I', b'B', size @ ..] = header else {
                    return Err(SectionError::Compression);
                };
                inflate(packed, u64::from_be_bytes(size), room)
            }
        }
    }

    /// The last of that name: a file of split DWARF may have a section for each type before the one for all else.
    fn find(&self, name: &str) -> Option<&DebugSection> {
        let mut sections = self.sections.iter().rev();
        sections.find(|section| section.name == name.as_bytes())
    }
}

impl DebugSection {
    fn of(name: &[u8], section: &SectionHeader64<LittleEndian>) -> Option<Self> {
        let (name, packing) = match name.strip_prefix(b".zdebug_") {
            Some(rest) => ([b".debug_", rest].concat(), Packing::Gnu),
            None => {
                let flags = section.sh_flags(LittleEndian);
                let is_packed = flags.contains(elf::SHF_COMPRESSED);
                let packing = if is_packed {
                    Packing::Elf
                } else {
                    Packing::None
                };
                (name.to_vec(), packing)
            }
        };
        name.starts_with(b".debug_").then(|| Self {
            name,
            extent: extent(section),
            packing,
        })
    }
}

fn inflate<T>(
    packed: Piece<'_>,
    size: u64,
    room: &mut Room<'_, T>,
) -> Result<Rc<[u8]>, SectionError> {
    if size / LARGEST_ZLIB_RATIO > packed.left() {
        return Err(SectionError::Compression);
    }
    unpack(ZlibDecoder::new(io::BufReader::new(packed)), size, room)
}

/// All that `unpacked` has, which must be `size` bytes.
fn unpack<T>(
    mut unpacked: impl Read,
    size: u64,
    room: &mut Room<'_, T>,
) -> Result<Rc<[u8]>, SectionError> {
    let mut bytes = zeroes(size, room)?;
    let all = Rc::get_mut(&mut bytes).unwrap_or_default();
    let ends_there = unpacked
        .read_exact(all)
        .and_then(|()| unpacked.read(&mut [0]));
    match ends_there {
        Ok(0) => Ok(bytes),
        _ => Err(SectionError::Compression),
    }
}

/// Memory for a section, taken from `room`. It is made where it stays: a copy would be twice as much for a moment.
fn zeroes<T>(size: u64, room: &mut Room<'_, T>) -> Result<Rc<[u8]>, SectionError> {
    room.take(size)?;
    let size = usize::try_from(size).map_err(|_| SectionError::TooLarge)?;
    Ok(std::iter::repeat_n(0, size).collect())
}
