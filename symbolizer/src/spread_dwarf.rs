//! Debug information that is spread over several files or compressed, through addr2line.
//!
//! blazesym reads what is in one file as it is, and opens that by a path. This reads the rest: compressed sections, files that `dwz` made debug
//! files share, split DWARF (`.dwo` and `.dwp`), and files that are open but that this process could not open itself. Sections are read into memory, so a file that shrinks is an error and no more.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use addr2line::gimli::{
    self, AbbreviationsCacheStrategy, DwarfPackage, DwoId, EndianReader, LittleEndian, Reader,
    Section, SectionId,
};
use addr2line::{Context, Frame, LookupContinuation, LookupResult, SplitDwarfLoad};

use crate::debug_file::DebugSource;
use crate::debug_info::{Answers, DebugError, DebugRoom, Found, Function, is_better};
use crate::debug_sections::SectionError;
use crate::elf_symbols::Symbol;
use crate::module::Module;
use crate::roots::Roots;
use crate::shared_debug_file;

type Bytes = EndianReader<LittleEndian, Rc<[u8]>>;
type Sections = gimli::Dwarf<Bytes>;

/// Debug information in memory.
pub(crate) struct SpreadDwarf {
    context: Context<Bytes>,
    package: Option<DwarfPackage<Bytes>>,
}

impl SpreadDwarf {
    pub(crate) fn new(
        source: &DebugSource<'_>,
        room: &mut DebugRoom<'_>,
    ) -> Result<Self, DebugError> {
        let (file, roots) = (source.file, source.module.roots());
        let mut sections = Sections::load(|id| section(file, id, id.name(), room))?;
        let shared = shared_debug_file::find(source).ok_or(DebugError::SharedFile)?;
        if let Some(shared) = shared {
            sections.load_sup(|id| section(&shared, id, id.name(), room))?;
        }
        // Units that share their abbreviations, as a linker's and dwz's do, have them parsed once.
        sections.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let is_split = file.debug().has(".debug_addr");
        let package = is_split.then(|| package(roots, room)).flatten();
        Ok(Self {
            context: Context::from_dwarf(sections)?,
            package: package.transpose()?,
        })
    }

    /// What is at ELF addresses of the module whose debug information this is.
    pub(crate) fn find(
        &self,
        source: &DebugSource<'_>,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
        room: &mut DebugRoom<'_>,
    ) -> Answers<'_> {
        let mut lookup = Lookup {
            dwarf: self,
            source,
            room,
            damage: None,
        };
        let both = addresses.iter().zip(symbols);
        let found = both.map(|(address, symbol)| lookup.functions(*address, symbol.as_deref()));
        Answers {
            found: found.collect(),
            damage: lookup.damage,
        }
    }
}

/// A batch of questions.
struct Lookup<'a, 'b, 'room> {
    dwarf: &'a SpreadDwarf,
    source: &'b DebugSource<'b>,
    room: &'b mut DebugRoom<'room>,
    damage: Option<DebugError>,
}

impl<'a> Lookup<'a, '_, '_> {
    /// What is at an address, and in the table of symbols there. If something makes no sense, there is nothing.
    fn functions(&mut self, address: u64, symbol: Option<&Symbol>) -> Option<Found<'a>> {
        let found = self.frames(address).and_then(|frames| {
            let mut functions = Vec::with_capacity(frames.len());
            for frame in &frames {
                functions.push(function(frame)?);
            }
            if let (Some(symbol), Some(frame), Some(outermost)) =
                (symbol, frames.last(), functions.last_mut())
                && is_better(symbol, &outermost.name)
                && (outermost.name.is_empty() || self.begins(frame, symbol.address)?)
            {
                outermost.name = symbol.name.clone().into();
            }
            Ok(functions)
        });
        let functions = found.map_err(|error| self.damage = Some(error)).ok()?;
        let outermost = functions.last()?;
        (!outermost.name.is_empty()).then_some(Found(functions))
    }

    /// Whether the function of a frame is that which is at an address.
    fn begins(&mut self, frame: &Frame<'a, Bytes>, address: u64) -> Result<bool, DebugError> {
        let there = self.frames(address)?;
        let there = there.last().and_then(|frame| frame.dw_die_offset);
        Ok(there.is_some() && there == frame.dw_die_offset)
    }

    /// The frames at an address, innermost first. One without a function is a line of assembly.
    fn frames(&mut self, address: u64) -> Result<Vec<Frame<'a, Bytes>>, DebugError> {
        let mut lookup = self
            .dwarf
            .context
            .find_frames(self.source.address_of(address));
        let mut found = loop {
            match lookup {
                LookupResult::Output(found) => break found?,
                LookupResult::Load { load, continuation } => {
                    let split = self.split(&load).unwrap_or_else(|error| {
                        self.damage = Some(error);
                        None
                    });
                    lookup = continuation.resume(split);
                }
            }
        };
        let mut frames = Vec::new();
        while let Some(frame) = found.next()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// The rest of a unit's debug information, from the package or from the file that the unit names. Without it there are lines, and the names are
    /// those of symbols.
    fn split(&mut self, load: &SplitDwarfLoad<Bytes>) -> Result<Option<Arc<Sections>>, DebugError> {
        if let Some(package) = &self.dwarf.package
            && let Some(unit) = package.find_cu(load.dwo_id, &load.parent)?
        {
            return Ok(Some(shared(unit)));
        }
        let path = |part: Option<&Bytes>| -> Result<PathBuf, gimli::Error> {
            let bytes = part.map(|part| part.to_slice()).transpose()?;
            Ok(OsStr::from_bytes(&bytes.unwrap_or_default()).into())
        };
        let path = path(load.comp_dir.as_ref())?.join(path(load.path.as_ref())?);
        for root in self.source.module.roots().iter() {
            let Ok(file) = root.open(&path) else {
                continue;
            };
            let Ok(file) = Module::open(file, "") else {
                continue;
            };
            let mut sections = Sections::load(|id| match id.dwo_name() {
                Some(name) => section(&file, id, name, self.room),
                None => Ok(empty()),
            })?;
            sections.make_dwo(&load.parent);
            if let Some(unit) = unit(sections, load.dwo_id)? {
                return Ok(Some(shared(unit)));
            }
        }
        Ok(None)
    }
}

/// Those sections that names and lines are in.
fn section(
    file: &Module,
    id: SectionId,
    name: &str,
    room: &mut DebugRoom<'_>,
) -> Result<Bytes, SectionError> {
    match id {
        SectionId::DebugAbbrev
        | SectionId::DebugAddr
        | SectionId::DebugAranges
        | SectionId::DebugInfo
        | SectionId::DebugLine
        | SectionId::DebugLineStr
        | SectionId::DebugRanges
        | SectionId::DebugRngLists
        | SectionId::DebugStr
        | SectionId::DebugStrOffsets => any_section(file, name, room),
        _ => Ok(empty()),
    }
}

fn any_section(file: &Module, name: &str, room: &mut DebugRoom<'_>) -> Result<Bytes, SectionError> {
    let bytes = file.debug().read(file.file(), name, room)?;
    Ok(Bytes::new(bytes, LittleEndian))
}

fn empty() -> Bytes {
    Bytes::new(Rc::new([]), LittleEndian)
}

/// What `dwp` has put together beside the program.
fn package(
    roots: &Roots,
    room: &mut DebugRoom<'_>,
) -> Option<Result<DwarfPackage<Bytes>, DebugError>> {
    let mut path = roots.path().as_os_str().to_owned();
    path.push(".dwp");
    let open = |root: crate::roots::Root<'_>| root.open(path.as_ref()).ok();
    let file = Module::open(roots.iter().find_map(open)?, "").ok()?;
    // Its index has each unit's part of every section, also of those without names and lines.
    let load = |id: SectionId| -> Result<Bytes, DebugError> {
        let name = id.dwo_name().unwrap_or(id.name());
        Ok(any_section(&file, name, room)?)
    };
    Some(DwarfPackage::load(load, empty()))
}

/// The one unit of a file of split DWARF that is wanted, before which there may be others, of types.
fn unit(mut sections: Sections, wanted: DwoId) -> Result<Option<Sections>, gimli::Error> {
    let mut units = sections.units();
    while let Some(header) = units.next()? {
        if let Some(offset) = header.debug_info_offset()
            && sections.unit(header)?.dwo_id == Some(wanted)
        {
            let mut rest = sections.debug_info.reader().clone();
            rest.skip(offset.0)?;
            sections.debug_info = rest.into();
            return Ok(Some(sections));
        }
    }
    Ok(None)
}

/// addr2line wants it so, though nothing here leaves its thread.
#[allow(clippy::arc_with_non_send_sync)]
fn shared(sections: Sections) -> Arc<Sections> {
    Arc::new(sections)
}

fn function<'a>(frame: &Frame<'a, Bytes>) -> Result<Function<'a>, DebugError> {
    let name = frame.function.as_ref();
    let name = name.map(|name| name.raw_name()).transpose()?;
    let place = frame.location.as_ref();
    Ok(Function {
        name: name.unwrap_or_default().into_owned().into(),
        file: place.and_then(|place| place.file).map(Into::into),
        line: place.and_then(|place| place.line).unwrap_or(0),
    })
}
