//! Functions that a file's table of symbols names.

use super::bytes::Bytes;
use super::elf::Symbols;
use super::error::BuildError;
use super::metered::Metered;
use super::source::Source;
use super::window::Windows;
use std::ops::Range;

const SYMBOL_BYTES: usize = 24;
const MOST_SYMBOLS: u64 = 4 << 20;
/// Work to look at a symbol and its name.
const SYMBOL: u64 = 32;
const STT_FUNC: u8 = 2;

/// Gives `each` every function: where its name lies among the names, and its addresses. Some of assembly have no size.
pub(super) fn functions(
    file: &Metered<'_, impl Source + ?Sized>,
    symbols: &Symbols,
    mut each: impl FnMut(u64, Range<u64>) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let mut table = Windows::new(file, symbols.entries.clone());
    for number in 0..(table.size() / SYMBOL_BYTES as u64).min(MOST_SYMBOLS) {
        let bytes = table.get(number * SYMBOL_BYTES as u64, SYMBOL_BYTES)?;
        let function = function(Bytes(bytes));
        file.spend(SYMBOL)?;
        if let Some((name, addresses)) = function {
            each(name, addresses)?;
        }
    }
    Ok(())
}

/// Offset of its name, and its addresses, of a symbol that is a function.
fn function(mut symbol: Bytes<'_>) -> Option<(u64, Range<u64>)> {
    let name = symbol.u32()?;
    let kind = symbol.u8()? & 0xf;
    let (_visibility, _section) = (symbol.u8()?, symbol.u16()?);
    let address = symbol.u64()?;
    let end = address.checked_add(symbol.u64()?)?;
    (kind == STT_FUNC).then_some((name.into(), address..end))
}
