//! Functions without call frame information, whose rules are worked out from their code.

use super::elf::Elf;
use super::entries::Function;
use super::error::BuildError;
use super::instructions;
use super::metered::Metered;
use super::registers::Machine;
use super::rule::Rule;
use super::source::Source;
use super::symbols;

/// V8 has 2,182 of them in node.
const MOST_FUNCTIONS: usize = 64 << 10;
/// Of functions whose symbols say no size, as `SpinPause` in HotSpot: up to the next one, but not more.
const SIZELESS: u64 = 256;

/// Functions that the table of symbols names and of which `is_covered` says that nothing else begins where they do, in the
/// order of their addresses.
pub(super) fn find(
    file: &Metered<'_, impl Source + ?Sized>,
    elf: &Elf,
    mut is_covered: impl FnMut(u64) -> bool,
) -> Result<Vec<Function>, BuildError> {
    let mut found = Vec::new();
    let Some(symbols) = &elf.symbols else {
        return Ok(found);
    };
    if elf.registers.machine != Machine::X86_64 {
        return Ok(found);
    }
    symbols::functions(file, symbols, |_, addresses| {
        let address = addresses.start;
        let size = match addresses.end - address {
            0 => SIZELESS,
            size => size,
        };
        if size <= instructions::LONGEST as u64
            && found.len() < MOST_FUNCTIONS
            && !is_covered(address)
        {
            found.push(Function { address, size });
        }
        Ok(())
    })?;
    // Of several names for a place the longest is the function.
    found.sort_unstable_by_key(|function| (function.address, u64::MAX - function.size));
    found.dedup_by_key(|function| function.address);
    Ok(found)
}

/// The code of the function at an offset in the file; less than all of it only where the file ends.
pub(super) fn read_code(
    file: &Metered<'_, impl Source + ?Sized>,
    offset: u64,
    size: u64,
    code: &mut Vec<u8>,
) -> Result<(), BuildError> {
    code.resize(size.min(instructions::LONGEST as u64) as usize, 0);
    let read = file.read_at(code, offset)?;
    code.truncate(read);
    Ok(())
}

/// The rules of the function at an offset in the file, by the distance from its begin.
pub(super) fn rules(
    file: &Metered<'_, impl Source + ?Sized>,
    offset: u64,
    size: u64,
) -> Result<Vec<(u32, Rule)>, BuildError> {
    let mut code = Vec::new();
    read_code(file, offset, size, &mut code)?;
    file.spend(instructions::BYTE * code.len() as u64)?;
    Ok(instructions::rules(&code))
}
