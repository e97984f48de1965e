//! The kernel's functions, from /proc/kallsyms.
//!
//! An index of our own: blazesym's takes twice the memory (a heap block for each name), does not say which module a function is of, and
//! lets the last function before a gap reach to the next one.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use crate::frame::Mapping;
use crate::kallsyms::{CORE, List, Symbol};
use crate::module::next_number;

/// kallsyms gives starts, not sizes. Where no other function of the same module follows, a function is taken to reach to the end of the
/// page it begins on: beyond may lie code that is not listed (BPF programs, trampolines), and it must not get this name.
const PAGE: u64 = 4096;

/// Why there are no kernel names.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no list, or it may not be read.
    #[error("cannot read /proc/kallsyms, so kernel functions have no names: {0}")]
    Unreadable(#[from] io::Error),
    /// All addresses read as 0.
    #[error(
        "the kernel hides its addresses: set the sysctl kernel.kptr_restrict to 1 or 0, or run with CAP_SYSLOG"
    )]
    AddressesHidden,
    /// There is no symbol to be relative to.
    #[error(
        "/proc/kallsyms has no symbol _stext, so kernel addresses cannot be shown without giving away its base"
    )]
    NoBase,
}

/// A place in the kernel.
pub(crate) struct Place<'symbols> {
    pub(crate) mapping: Option<&'symbols Arc<Mapping>>,
    /// Relative to the mapping's base, or to `_stext` without one.
    pub(crate) address: u64,
    pub(crate) name: Option<&'symbols str>,
}

/// The kernel's functions by address, as they were when the list was read: modules and BPF programs come and go.
pub(crate) struct KernelSymbols {
    number: u64,
    base: u64,
    /// Ordered by `start`, no two alike.
    symbols: Box<[Symbol]>,
    /// Each name followed by a zero byte.
    names: Box<str>,
    modules: Vec<KernelModule>,
}

struct KernelModule {
    base: u64,
    mapping: Arc<Mapping>,
}

impl KernelSymbols {
    pub(crate) fn load() -> Result<Self, KernelError> {
        Self::parse(BufReader::with_capacity(
            1 << 16,
            File::open("/proc/kallsyms")?,
        ))
    }

    fn parse(list: impl BufRead) -> Result<Self, KernelError> {
        let List {
            mut symbols,
            names,
            base,
            modules,
            hidden,
        } = List::read(list)?;
        let base = base.ok_or(if hidden {
            KernelError::AddressesHidden
        } else {
            KernelError::NoBase
        })?;
        symbols.retain(|symbol| symbol.module != CORE || symbol.start >= base);
        // Of several names for one address the kernel uses the first listed (kallsyms_lookup); the sort is stable.
        symbols.sort_by_key(|symbol| symbol.start);
        symbols.dedup_by_key(|symbol| symbol.start);
        let symbols = with_gaps(&symbols);
        let modules = modules
            .iter()
            .zip(0..)
            .map(|(name, index)| KernelModule::new(name, index, base, &symbols))
            .collect();
        Ok(Self {
            number: next_number(),
            base,
            symbols,
            names: names.into(),
            modules,
        })
    }

    /// A number that no other reading of the list and no [`crate::Module`] has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn find(&self, address: u64) -> Place<'_> {
        let after = self
            .symbols
            .partition_point(|symbol| symbol.start <= address);
        let symbol = after
            .checked_sub(1)
            .and_then(|index| self.symbols.get(index));
        let found = symbol.and_then(|symbol| {
            let module = self.modules.get(usize::from(symbol.module))?;
            let name = self.names.get(symbol.name as usize..)?.split('\0').next()?;
            (!name.is_empty()).then_some((module, name))
        });
        match found {
            Some((module, name)) => Place {
                mapping: Some(&module.mapping),
                address: address.saturating_sub(module.base),
                name: Some(name),
            },
            None => Place {
                mapping: None,
                address: address.saturating_sub(self.base),
                name: None,
            },
        }
    }
}

impl KernelModule {
    fn new(name: &str, index: u16, kernel_base: u64, symbols: &[Symbol]) -> Self {
        let starts = || {
            symbols
                .iter()
                .filter(|symbol| symbol.module == index)
                .map(|symbol| symbol.start)
        };
        let base = if index == CORE {
            kernel_base
        } else {
            starts().min().unwrap_or(0) & !(PAGE - 1)
        };
        let limit = starts().max().map_or(0, |last| last.saturating_sub(base));
        Self {
            base,
            mapping: Arc::new(Mapping {
                name: name.into(),
                build_id: None,
                start: 0,
                limit,
                file_offset: 0,
            }),
        }
    }
}

/// The symbols, with a gap behind the last of every run of one module's. Every module therefore ends in a gap.
fn with_gaps(symbols: &[Symbol]) -> Box<[Symbol]> {
    let mut result = Vec::with_capacity(symbols.len() + 64);
    for (index, &symbol) in symbols.iter().enumerate() {
        result.push(symbol);
        let next = symbols.get(index + 1);
        if next.is_none_or(|next| next.module != symbol.module) {
            let page_end = (symbol.start & !(PAGE - 1)).saturating_add(PAGE);
            let start = next.map_or(page_end, |next| page_end.min(next.start));
            if next.is_none_or(|next| next.start != start) {
                result.push(Symbol {
                    start,
                    name: 0,
                    module: symbol.module,
                });
            }
        }
    }
    result.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff80fff000 T before_the_base
ffffffff81000000 T first_alias
ffffffff81000000 T _stext
ffffffff810000f0 t __pfx_worker
ffffffff81000100 t worker
ffffffff81000200 D data_is_not_code
ffffffff81000300 T last
ffffffff81000400 T _etext
ffffffff82000000 T _sinittext
ffffffffc0001010 t probe\t[driver]
ffffffffc0001080 T remove\t[driver]
ffffffffc0003000 t bpf_prog_1234_count\t[bpf]
a line that is none
ffffffffc0003040 t";

    fn find(symbols: &KernelSymbols, address: u64) -> (Option<&str>, u64, Option<&str>) {
        let place = symbols.find(address);
        (
            place.mapping.map(|mapping| &*mapping.name),
            place.address,
            place.name,
        )
    }

    /// A list written by hand, with an answer for each of its peculiarities.
    #[test]
    fn places_of_a_known_list() {
        let symbols = KernelSymbols::parse(LIST.as_bytes()).unwrap();
        const CORE: Option<&str> = Some("[kernel.kallsyms]");
        for (address, expected, why) in [
            (0, (None, 0, None), "before everything"),
            (0xffff_ffff_80ff_f010, (None, 0, None), "before the base"),
            (
                0xffff_ffff_8100_0000,
                (CORE, 0, Some("first_alias")),
                "of two names the first listed",
            ),
            (
                0xffff_ffff_8100_00ef,
                (CORE, 0xef, Some("first_alias")),
                "the last byte before the next function",
            ),
            (
                0xffff_ffff_8100_00f0,
                (CORE, 0xf0, Some("__pfx_worker")),
                "the padding before a function",
            ),
            (
                0xffff_ffff_8100_0100,
                (CORE, 0x100, Some("worker")),
                "the first byte of a function",
            ),
            (
                0xffff_ffff_8100_0250,
                (CORE, 0x250, Some("worker")),
                "data symbols end nothing",
            ),
            (
                0xffff_ffff_8100_0401,
                (None, 0x401, None),
                "behind the end of code",
            ),
            (
                0xffff_ffff_c000_1010,
                (Some("[driver]"), 0x10, Some("probe")),
                "a module, relative to its own page",
            ),
            (
                0xffff_ffff_c000_1fff,
                (Some("[driver]"), 0xfff, Some("remove")),
                "the last page of a module",
            ),
            (
                0xffff_ffff_c000_2000,
                (None, 0x3f00_2000, None),
                "behind that page",
            ),
            (
                0xffff_ffff_c000_3001,
                (Some("[bpf]"), 1, Some("bpf_prog_1234_count")),
                "a BPF program",
            ),
            (
                u64::MAX,
                (None, 0x7eff_ffff, None),
                "the last byte there is",
            ),
        ] {
            assert_eq!(find(&symbols, address), expected, "{why}: {address:#x}");
        }
    }

    /// Each way of having no symbols says which it is.
    #[test]
    fn a_useless_list_says_why() {
        let hidden = "0000000000000000 T _stext\n0000000000000000 T _text\n";
        assert!(matches!(
            KernelSymbols::parse(hidden.as_bytes()),
            Err(KernelError::AddressesHidden)
        ));
        let baseless = "ffffffff81000000 T start\n";
        assert!(matches!(
            KernelSymbols::parse(baseless.as_bytes()),
            Err(KernelError::NoBase)
        ));
        assert!(matches!(
            KernelSymbols::parse(&b"\xff\xfe\n\n"[..]),
            Err(KernelError::NoBase)
        ));
    }
}
