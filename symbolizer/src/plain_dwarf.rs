//! Debug information that is all in one file, as it is, through blazesym.

use std::borrow::Cow;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer};

use crate::debug_file::DebugSource;
use crate::debug_info::{Answers, DebugError, DebugRoom, Found, Function, is_better};
use crate::debug_sections::SectionError;
use crate::elf_symbols::Symbol;
use crate::module::Module;

/// One file as blazesym sees it.
///
/// blazesym wants a path and remembers what it read under it. The only path that leads to a file which may be deleted, replaced or
/// in another mount namespace is `/proc/self/fd/N`, and N is given to another file once ours is closed. So each file gets
/// a `Symbolizer` of its own: it is asked about one path only, it reads that path once (no reloading), and it is found by
/// the module's number, which is never used again. Nothing it remembers can answer for another file, and dropping it frees all
/// that the file cost.
pub(crate) struct PlainDwarf {
    symbolizer: Symbolizer,
    path: PathBuf,
}

impl PlainDwarf {
    /// Whether all there is is in this file, and as it is, and this process may open the file by a path: as nobody, it may not where its owner
    /// lets only some read it. blazesym would open any path that a `.gnu_debuglink` or
    /// `.gnu_debugaltlink` names, from this mount namespace, be it a pipe or a device; it does not know `.dwo` files; and
    /// compressed sections it would decompress whatever their size.
    pub(crate) fn can_read(file: &Module) -> bool {
        let debug = file.debug();
        let leads_elsewhere = debug.link.is_some() || debug.alt_link.is_some();
        // In split DWARF addresses are in a section of their own. clang also does that without splitting.
        let may_be_split = debug.has(".debug_addr") || debug.has(".debug_sup");
        !leads_elsewhere
            && !may_be_split
            && !debug.are_compressed()
            && File::open(path_of(file)).is_ok()
    }

    /// Takes what blazesym comes to map of the file and to build an index of. Where DWARF says nothing it looks into the tables of symbols.
    pub(crate) fn new(file: &Module, room: &mut DebugRoom<'_>) -> Result<Self, DebugError> {
        room.take(file.bytes_of_names())
            .map_err(SectionError::from)?;
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_demangling(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
            .build();
        Ok(Self {
            symbolizer,
            path: path_of(file),
        })
    }

    /// What is at ELF addresses of the module whose debug information this is.
    pub(crate) fn find(
        &self,
        source: &DebugSource<'_>,
        addresses: &[u64],
        symbols: &[Option<Rc<Symbol>>],
    ) -> Result<Answers<'_>, DebugError> {
        let here: Vec<u64> = addresses.iter().map(|at| source.address_of(*at)).collect();
        let found = self
            .symbolizer
            .symbolize(&Source::Elf(Elf::new(&self.path)), Input::VirtOffset(&here))
            .map_err(|error| DebugError::Blazesym(format!("{error:#}")))?;
        // That there was an error is all it says then.
        let is_damaged = found
            .iter()
            .any(|found| matches!(found, Symbolized::Unknown(Reason::IgnoredError)));
        let both = found.into_iter().zip(symbols);
        let frames = both.map(|(found, symbol)| frames(found, symbol.as_deref(), source));
        Ok(Answers {
            found: frames.collect(),
            damage: is_damaged.then_some(DebugError::Partly),
        })
    }
}

fn path_of(file: &Module) -> PathBuf {
    format!("/proc/self/fd/{}", file.descriptor()).into()
}

fn frames<'a>(
    found: Symbolized<'a>,
    symbol: Option<&Symbol>,
    source: &DebugSource<'_>,
) -> Option<Found<'a>> {
    let Symbolized::Sym(found) = found else {
        return None;
    };
    // Where debug information says nothing, blazesym asks tables of symbols, by which one without a size goes on for ever.
    if found.code_info.is_none() && found.inlined.is_empty() && symbol.is_none() {
        return None;
    }
    let Sym {
        name,
        addr,
        code_info,
        inlined,
        ..
    } = found;
    let better = symbol.filter(|symbol| {
        (name.is_empty() || source.address_of(symbol.address) == addr) && is_better(symbol, &name)
    });
    let outer = function(
        better.map_or(name, |symbol| symbol.name.clone().into()),
        code_info.as_deref(),
    );
    let inner = inlined.into_vec().into_iter().rev();
    let inner = inner.map(|inlined| function(inlined.name, inlined.code_info.as_ref()));
    Some(Found(inner.chain([outer]).collect()))
}

fn function<'a>(name: Cow<'a, str>, place: Option<&CodeInfo<'_>>) -> Function<'a> {
    Function {
        name,
        file: place.map(|place| place.to_path().to_string_lossy().into_owned().into()),
        line: place.and_then(|place| place.line).unwrap_or(0),
    }
}
