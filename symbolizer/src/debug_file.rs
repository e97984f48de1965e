//! The debug file of a program that was stripped: symbols and DWARF that were put aside when it was packaged.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::elf_header::Extent;
use crate::module::{Module, ModuleError};
use crate::positioned::{Piece, read_extent};
use crate::roots::Roots;

/// Below a root, where distributions install debug files.
const DEBUG_DIRECTORY: &str = "usr/lib/debug";
/// The longest link: PATH_MAX and a checksum or a build id.
pub(crate) const LONGEST_LINK: u64 = 4096 + 64;
/// To compare checksums, all of a file is read. A larger one is found by build id or not at all.
const LARGEST_SUMMED: u64 = 512 << 20;

/// Symbols and DWARF beside the file they are of.
#[derive(Debug)]
pub(crate) struct DebugFile {
    pub(crate) module: Module,
    /// What is added to an ELF address of the program to find it here. Not 0 where `prelink` has moved a library after its
    /// debug file was split off.
    pub(crate) bias: u64,
    /// Where it was found: paths in it are relative to that.
    path: PathBuf,
}

/// Where the debug information of a module is: in its own file, or in its debug file.
pub(crate) struct DebugSource<'a> {
    pub(crate) module: &'a Module,
    pub(crate) file: &'a Module,
    /// Where the file was found, below one of the module's roots.
    pub(crate) path: &'a Path,
    bias: u64,
}

impl<'a> DebugSource<'a> {
    /// None if there is none.
    pub(crate) fn of(module: &'a Module) -> Option<Self> {
        let here = Self {
            module,
            file: module,
            path: module.roots().path(),
            bias: 0,
        };
        let source = match module.debug_file() {
            Ok(Some(debug)) => Self {
                file: &debug.module,
                path: &debug.path,
                bias: debug.bias,
                ..here
            },
            _ => here,
        };
        source.file.debug().is_present().then_some(source)
    }

    /// The ELF address there of one in the module.
    pub(crate) fn address_of(&self, address: u64) -> u64 {
        address.wrapping_add(self.bias)
    }
}

/// Why a file that was found is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error("{0} has neither symbols nor debug information")]
    Empty(String),
    #[error("{0} has another build id")]
    BuildId(String),
    #[error("{0} is not what it was when the program was linked to it: its checksum differs")]
    Checksum(String),
    #[error("{0} is the debug file of a program with other segments")]
    Segments(String),
    #[error("{0} has no build id")]
    NoBuildId(String),
}

/// What a debug file that was fetched is called.
const GIVEN: &str = "the debug file that was fetched";

impl DebugFile {
    /// Looks for the debug file of a module: in each root first by build id, then by `.gnu_debuglink`, then that which was fetched. If
    /// none fits, says why the last of those that were there does not.
    pub(crate) fn find(module: &Module, roots: &Roots) -> Result<Option<Self>, Refusal> {
        let link = DebugLink::read(module);
        let mut refusal = None;
        for root in roots.iter() {
            let by_id = module.build_id().and_then(|id| path_of_build_id(id));
            let by_id = by_id.map(|path| (path, None));
            let by_link = link.iter().flat_map(|link| {
                let paths = link.paths(roots.path()).into_iter();
                paths.map(|path| (path, Some(link.checksum)))
            });
            for (path, checksum) in by_id.into_iter().chain(by_link) {
                let Ok(file) = root.open(&path) else {
                    continue;
                };
                match Self::accept(module, file, &path, checksum) {
                    Ok((debug, bias)) => {
                        return Ok(Some(Self {
                            module: debug,
                            bias,
                            path: root.follow(&path),
                        }));
                    }
                    Err(why) => refusal = Some(why),
                }
            }
        }
        if let Some(given) = module.given_debug_file() {
            match Self::accept_given(module, given) {
                Ok(found) => return Ok(Some(found)),
                Err(why) => refusal = Some(why),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    /// Where it comes from, nothing but the build id says what it is of.
    fn accept_given(module: &Module, file: &File) -> Result<Self, Refusal> {
        let file = file.try_clone().map_err(|source| ModuleError::Io {
            name: GIVEN.into(),
            source,
        })?;
        let (debug, bias) = Self::accept(module, file, Path::new(GIVEN), None)?;
        if debug.build_id().is_none() {
            return Err(Refusal::NoBuildId(GIVEN.to_owned()));
        }
        Ok(Self {
            module: debug,
            bias,
            path: PathBuf::new(),
        })
    }

    fn accept(
        module: &Module,
        file: File,
        path: &Path,
        checksum: Option<u32>,
    ) -> Result<(Module, u64), Refusal> {
        let name = format!("/{}", path.display());
        let debug = Module::open(file, &*name)?;
        let mut tables = debug.symbols().iter();
        if !debug.debug().is_present() && tables.all(|table| table.is_dynamic) {
            return Err(Refusal::Empty(name));
        }
        if let (Some(one), Some(other)) = (module.build_id(), debug.build_id())
            && one != other
        {
            return Err(Refusal::BuildId(name));
        }
        let Some(bias) = bias(module, &debug) else {
            return Err(Refusal::Segments(name));
        };
        if checksum.is_some_and(|wanted| !has_checksum(debug.file(), wanted)) {
            return Err(Refusal::Checksum(name));
        }
        Ok((debug, bias))
    }
}

/// Where a debug file of a build id is.
pub(crate) fn path_of_build_id(id: &str) -> Option<PathBuf> {
    let (first, rest) = id.split_at_checked(2)?;
    let path = format!("{DEBUG_DIRECTORY}/.build-id/{first}/{rest}.debug");
    (!rest.is_empty()).then(|| path.into())
}

/// What `.gnu_debuglink` says: the name of the file, and the CRC32 of all its bytes.
struct DebugLink {
    name: Vec<u8>,
    checksum: u32,
}

impl DebugLink {
    fn read(module: &Module) -> Option<Self> {
        let bytes = read_extent(module.file(), module.debug().link?, LONGEST_LINK).ok()?;
        let (rest, checksum) = bytes.split_last_chunk()?;
        let name: Vec<u8> = rest.iter().copied().take_while(|&byte| byte != 0).collect();
        // It is a name and no path.
        let is_name = !name.is_empty() && !name.contains(&b'/');
        is_name.then(|| Self {
            name,
            checksum: u32::from_le_bytes(*checksum),
        })
    }

    /// Where gdb looks, too: beside the program, in its `.debug`, and in the directory of all debug files.
    fn paths(&self, program: &Path) -> Vec<PathBuf> {
        let Some(directory) = program.parent() else {
            return Vec::new();
        };
        let below = directory.strip_prefix("/").unwrap_or(directory);
        let name = OsStr::from_bytes(&self.name);
        vec![
            below.join(name),
            below.join(".debug").join(name),
            Path::new(DEBUG_DIRECTORY).join(below).join(name),
        ]
    }
}

/// By how much the code of a program lies elsewhere than its debug file says; none if it is not the same code. A debug file has the
/// program headers of its program, but not the bytes, and some tools say so in the sizes and offsets within the file.
fn bias(module: &Module, debug: &Module) -> Option<u64> {
    let mut pairs = module.segments().zip(debug.segments());
    let bias = |(one, other): (
        &std::sync::Arc<crate::Mapping>,
        &std::sync::Arc<crate::Mapping>,
    )| {
        (one.limit - one.start == other.limit - other.start)
            .then(|| other.start.wrapping_sub(one.start))
    };
    let first = bias(pairs.next()?)?;
    let is_whole = module.segments().count() == debug.segments().count();
    (is_whole && pairs.all(|pair| bias(pair) == Some(first))).then_some(first)
}

fn has_checksum(file: &File, wanted: u32) -> bool {
    let checksum = || -> io::Result<u32> {
        let size = file.metadata()?.len();
        if size > LARGEST_SUMMED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Piece::new(file, Extent { offset: 0, size });
        let mut buffer = vec![0; 256 << 10];
        let mut checksum = crc32fast::Hasher::new();
        loop {
            match bytes.read(&mut buffer)? {
                0 => return Ok(checksum.finalize()),
                size => checksum.update(buffer.get(..size).unwrap_or_default()),
            }
        }
    };
    checksum().is_ok_and(|checksum| checksum == wanted)
}
