//! MiniDebugInfo: the symbols that Fedora leaves in what it has stripped, as an ELF file of its own that is compressed by xz.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::num::NonZeroUsize;

use rustix::fs::{MemfdFlags, memfd_create};
use xz4rust::{XzDecoder, XzReader};

use crate::elf_symbols::{ElfSymbols, Found};
use crate::module::Module;
use crate::positioned::read_extent;
use crate::room::{Kept, Room};

/// The 10 MB of node's symbols would take 1.5.
const LARGEST_PACKED: u64 = 8 << 20;
/// Read and written at a time.
const CHUNK: NonZeroUsize = NonZeroUsize::new(64 << 10).unwrap();
/// From what is there before the file is known to what `xz -9` wants. Of the latter no more is ever touched than is decompressed.
const SMALLEST_DICTIONARY: usize = 64 << 10;
const LARGEST_DICTIONARY: usize = 64 << 20;

/// The symbols are kept decompressed, in files without a name, so that they are looked up like those of any other file; or nothing where they cannot be read.
pub(crate) struct MiniDebugInfo(Kept<Option<Module>>);

impl MiniDebugInfo {
    /// None yet. `budget` bounds the bytes of what is decompressed.
    pub(crate) fn new(budget: u64) -> Self {
        Self(Kept::new(budget))
    }

    /// Bytes of all that is decompressed.
    pub(crate) fn budget(&self) -> u64 {
        self.0.budget()
    }

    /// The symbols at ELF addresses of a module; nothing if it has none or they cannot be read.
    pub(crate) fn find(
        &mut self,
        module: &Module,
        addresses: &[u64],
        symbols: &mut ElfSymbols,
    ) -> Option<Found> {
        module.debug().mini?;
        let (ready, mut room) = self.0.take(module.number());
        let mini = ready.unwrap_or_else(|| unpack(module, &mut room).ok());
        if mini.is_none() {
            room.free();
        }
        let found = mini.as_ref().map_or(
            Found {
                symbols: vec![None; addresses.len()],
                is_damaged: true,
            },
            |mini| symbols.find(mini, addresses),
        );
        room.keep(module.number(), mini);
        Some(found)
    }

    /// Lets go of what has not been asked about for a while.
    pub(crate) fn forget_unasked(&mut self) {
        self.0.forget_unasked();
    }
}

fn unpack(module: &Module, room: &mut Room<'_, Option<Module>>) -> io::Result<Module> {
    let packed = module.debug().mini.ok_or(io::ErrorKind::NotFound)?;
    let decoder = XzDecoder::in_heap_with_alloc_dict_size(SMALLEST_DICTIONARY, LARGEST_DICTIONARY);
    let packed = Cursor::new(read_extent(module.file(), packed, LARGEST_PACKED)?);
    let mut unpacked = XzReader::new_with_buffer_size_and_decoder(packed, CHUNK, decoder);
    let mut file = File::from(memfd_create("MiniDebugInfo", MemfdFlags::CLOEXEC)?);
    let mut buffer = vec![0; CHUNK.get()];
    loop {
        let size = unpacked.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..size).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        room.take(size as u64)
            .map_err(|_| io::ErrorKind::FileTooLarge)?;
        file.write_all(bytes)?;
    }
    Module::open(file, "").map_err(io::Error::other)
}
