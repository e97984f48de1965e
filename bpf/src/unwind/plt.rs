//! The procedure linkage table of linkers that write no call frame information for it, as LLVM's does not.
//!
//! ```text
//! .plt      ff 35 ........  push *(GOT + 8)      for all: entered with a number pushed by one of those below
//! .plt+6    ff 25 ........  jmp *(GOT + 16)
//! .plt+16   ff 25 ........  jmp *(GOT + n)       for each function, 16 bytes: goes there, or just behind this
//!           68 ........     push number
//!           e9 ........     jmp .plt
//! ```

use super::elf::Stubs;
use super::error::BuildError;
use super::metered::Metered;
use super::rule::{Cfa, Rbx, Rule, Saved};
use super::source::Source;
use std::ops::Range;

const STUB: u64 = 16;
/// Of the first stub, behind its push.
const FIRST_PUSHED: u64 = 6;
/// Of the others, behind theirs.
const PUSHED: u8 = 11;
const PUSH: [u8; 2] = [0xff, 0x35];
const JUMP: [u8; 2] = [0xff, 0x25];
const PUSH_NUMBER: u8 = 0x68;
const JUMP_BACK: u8 = 0xe9;

/// Where each of its rules holds; none if it has another form.
pub(super) fn rules(
    file: &Metered<'_, impl Source + ?Sized>,
    plt: &Stubs,
) -> Result<Vec<(Range<u64>, Rule)>, BuildError> {
    let mut code = [0; 2 * STUB as usize];
    if plt.size < code.len() as u64 || file.read_at(&mut code, plt.offset)? < code.len() {
        return Ok(Vec::new());
    }
    let is_known = code.starts_with(&PUSH)
        && code[6..].starts_with(&JUMP)
        && code[16..].starts_with(&JUMP)
        && (code[22], code[27]) == (PUSH_NUMBER, JUMP_BACK);
    // The rule for stubs goes by the address within one.
    let Some(end) = plt.address.checked_add(plt.size) else {
        return Ok(Vec::new());
    };
    if !is_known || !plt.address.is_multiple_of(STUB) {
        return Ok(Vec::new());
    }
    let pushed = |offset| {
        leave(Cfa::Register {
            register: 7,
            offset,
        })
    };
    let [first, second] = [FIRST_PUSHED, STUB].map(|distance| plt.address + distance);
    Ok(vec![
        (plt.address..first, pushed(16)),
        (first..second, pushed(24)),
        (second..end, leave(Cfa::Plt { pushed: PUSHED })),
    ])
}

fn leave(cfa: Cfa) -> Rule {
    Rule::Frame {
        cfa,
        saved: Saved::Nothing,
        rbx: Rbx::Unchanged,
    }
}
