//! One opened ELF file: what is asked about, and the facts that need no symbol.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::debug_file::{DebugFile, Refusal};
use crate::debug_sections::DebugSections;
use crate::elf_header::{CodeSegment, ElfHeader, GoSections, HeaderError, Load, SymbolTable};
use crate::frame::Mapping;
use crate::go_module::GoModule;
use crate::roots::Roots;

/// Why a file cannot be a [`Module`].
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A directory, device, pipe or socket.
    #[error("{name} is not a regular file, so it has no symbols")]
    NotRegular {
        /// The file's name as given.
        name: Arc<str>,
    },
    /// The first bytes are not those of an ELF file.
    #[error("{name} is not an ELF file, so its code cannot be named")]
    NotElf {
        /// The file's name as given.
        name: Arc<str>,
    },
    /// An ELF file of the 32-bit class.
    #[error("{name} is a 32-bit program, and only 64-bit ones can be symbolized")]
    Bits32 {
        /// The file's name as given.
        name: Arc<str>,
    },
    /// An ELF file for machines of the other byte order.
    #[error("{name} is a big-endian program, and only little-endian ones can be symbolized")]
    BigEndian {
        /// The file's name as given.
        name: Arc<str>,
    },
    /// A truncated or self-contradicting file.
    #[error("{name} is damaged: {what} is missing or makes no sense")]
    Malformed {
        /// The file's name as given.
        name: Arc<str>,
        /// The part of the file.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read {name}: {source}")]
    Io {
        /// The file's name as given.
        name: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One opened ELF file.
///
/// It keeps its file open: a file that was deleted or whose process has exited can still be symbolized. Whether two files are the same is
/// for the caller to decide; two modules share no cached answer.
#[derive(Debug)]
pub struct Module {
    file: File,
    length: u64,
    /// What the kernel calls the file system that it is on.
    device: u64,
    number: u64,
    name: Arc<str>,
    build_id: Option<Arc<str>>,
    segments: Vec<(CodeSegment, Arc<Mapping>)>,
    symbols: Vec<SymbolTable>,
    code: Vec<Range<u64>>,
    debug: DebugSections,
    roots: Roots,
    given: OnceLock<File>,
    debug_file: OnceLock<Result<Option<Box<DebugFile>>, Refusal>>,
    loads: Vec<Load>,
    go_sections: GoSections,
    go: OnceLock<Option<GoModule>>,
    is_cut: bool,
}

impl Module {
    /// Reads the headers of `file` with positioned reads of bounded size. `name` is what is shown: the path, or its last part.
    pub fn open(file: File, name: impl Into<Arc<str>>) -> Result<Self, ModuleError> {
        let name = name.into();
        let metadata = file.metadata().map_err(|source| ModuleError::Io {
            name: name.clone(),
            source,
        })?;
        if !metadata.is_file() {
            return Err(ModuleError::NotRegular { name });
        }
        let header = ElfHeader::read(&file).map_err(|error| describe(error, &name))?;
        let build_id: Option<Arc<str>> = header.build_id.map(|id| {
            id.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into()
        });
        let mapping = |segment: &CodeSegment| {
            Arc::new(Mapping {
                name: name.clone(),
                build_id: build_id.clone(),
                start: segment.address,
                limit: segment.address.saturating_add(segment.memory_size),
                file_offset: segment.file_offset,
            })
        };
        Ok(Self {
            length: metadata.len(),
            device: metadata.dev(),
            number: next_number(),
            segments: header
                .segments
                .iter()
                .map(|segment| (*segment, mapping(segment)))
                .collect(),
            symbols: header.symbols,
            code: header.code,
            debug: header.debug,
            roots: Roots::default(),
            given: OnceLock::new(),
            debug_file: OnceLock::new(),
            loads: header.loads,
            go_sections: header.go,
            go: OnceLock::new(),
            is_cut: header.is_cut,
            file,
            name,
            build_id,
        })
    }

    /// Has other files that belong to this one looked for: its debug file, and what that refers to. `path` is where this file lies
    /// below each of `directories`, which are looked through in their order: the root directory of the file's process, then
    /// that of the host, say. Nothing outside of them is opened. Without this no other file is opened at all.
    ///
    /// They are looked for when the first name is asked for, and only if this file has no debug information itself.
    pub fn with_roots(
        mut self,
        path: impl Into<PathBuf>,
        directories: impl IntoIterator<Item = Arc<OwnedFd>>,
    ) -> Self {
        self.roots = Roots::new(path.into(), directories.into_iter().collect());
        self
    }

    /// Has a debug file in hand that was fetched from elsewhere: it counts if none is found here, and if it says that it is of this
    /// file's build id. A second one is not taken. Nobody who reads this module in this process may have looked for one yet: see
    /// [`Symbolizer::give_debug_file`](crate::Symbolizer::give_debug_file).
    pub(crate) fn give_debug_file(&self, file: File) {
        let _ = self.given.set(file);
    }

    /// The debug file in hand.
    pub(crate) fn given_debug_file(&self) -> Option<&File> {
        self.given.get()
    }

    /// Whether a debug file was fetched for it.
    pub fn has_given_debug_file(&self) -> bool {
        self.given.get().is_some()
    }

    /// The name given at opening.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The GNU build id in lower-case hexadecimal.
    pub fn build_id(&self) -> Option<&Arc<str>> {
        self.build_id.as_ref()
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether two ELF addresses lie in one executable segment and in one section of code, as far as the file says.
    pub(crate) fn are_in_one_section(&self, one: u64, other: u64) -> bool {
        let hold = |range: &Range<u64>| range.contains(&one) && range.contains(&other);
        let in_segment = |(_, segment): &(_, Arc<Mapping>)| hold(&(segment.start..segment.limit));
        (self.segments.is_empty() || self.segments.iter().any(in_segment))
            && (self.code.is_empty() || self.code.iter().any(hold))
    }

    /// The executable segments, in the order of the file's headers.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Mapping>> {
        self.segments.iter().map(|(_, mapping)| mapping)
    }

    /// The executable segment that holds the byte at `file_offset`.
    pub fn segment_of(&self, file_offset: u64) -> Option<&Arc<Mapping>> {
        self.locate(file_offset).map(|(_, mapping)| mapping)
    }

    /// The ELF address of the byte at `file_offset`, if it is in an executable segment.
    pub fn elf_address(&self, file_offset: u64) -> Option<u64> {
        self.locate(file_offset).map(|(address, _)| address)
    }

    fn locate(&self, file_offset: u64) -> Option<(u64, &Arc<Mapping>)> {
        self.segments.iter().find_map(|(segment, mapping)| {
            let distance = file_offset.checked_sub(segment.file_offset)?;
            (distance < segment.file_size)
                .then(|| (segment.address.saturating_add(distance), mapping))
        })
    }

    /// A number that no other module of this process has, ever.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Its tables of symbols, the fuller one first.
    pub(crate) fn symbols(&self) -> &[SymbolTable] {
        &self.symbols
    }

    pub(crate) fn debug(&self) -> &DebugSections {
        &self.debug
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The file that has the debug information of this one, if it is not here: looked for once.
    pub(crate) fn debug_file(&self) -> Result<Option<&DebugFile>, &Refusal> {
        let find = || match self.debug.is_present() {
            true => Ok(None),
            false => DebugFile::find(self, &self.roots).map(|found| found.map(Box::new)),
        };
        self.debug_file
            .get_or_init(find)
            .as_ref()
            .map(Option::as_deref)
    }

    /// Whether it would have lines if there were a debug file.
    pub(crate) fn lacks_debug_info(&self) -> bool {
        !self.debug.is_present() && !matches!(self.debug_file(), Ok(Some(_))) && self.go().is_none()
    }

    /// What the runtime of a Go program knows: looked for once.
    pub(crate) fn go(&self) -> Option<&GoModule> {
        let find = || GoModule::find(&self.file, &self.go_sections, &self.loads);
        self.go.get_or_init(find).as_ref()
    }

    /// What there is to read in the file for all its names, in bytes: its tables of symbols and its debug information.
    pub fn bytes_of_names(&self) -> u64 {
        self.symbols.iter().fold(self.debug.bytes(), |sum, table| {
            sum.saturating_add(table.symbols.size)
                .saturating_add(table.names.size)
        })
    }

    /// The file system it is on, if that has no device of its own, as those have not whose files are elsewhere or are answered for
    /// by a process.
    pub(crate) fn remote(&self) -> Option<u64> {
        (rustix::fs::major(self.device) == 0).then_some(self.device)
    }

    /// The file's length in bytes when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Takes the file for one that was this long when it was opened first.
    pub(crate) fn was_opened_with(mut self, length: u64) -> Self {
        self.length = length;
        self
    }

    /// Whether the file had ended before its table of sections when it was opened.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether the file has become shorter since it was opened.
    pub(crate) fn was_truncated(&self) -> bool {
        self.file
            .metadata()
            .map_or(true, |metadata| metadata.len() < self.length)
    }

    /// The last part of the name, which frames without a symbol are called by.
    pub(crate) fn short_name(&self) -> &str {
        self.name
            .rsplit('/')
            .next()
            .filter(|part| !part.is_empty())
            .unwrap_or(&self.name)
    }
}

/// The next of the numbers that cached answers are kept under.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn describe(error: HeaderError, name: &Arc<str>) -> ModuleError {
    let name = name.clone();
    match error {
        HeaderError::NotElf => ModuleError::NotElf { name },
        HeaderError::Bits32 => ModuleError::Bits32 { name },
        HeaderError::BigEndian => ModuleError::BigEndian { name },
        HeaderError::Malformed(what) => ModuleError::Malformed { name, what },
        HeaderError::Io(source) => ModuleError::Io { name, source },
    }
}
