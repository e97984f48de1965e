//! Functions known by what they are, because nothing in the file says how to leave them: where programs begin, and where the
//! Go runtime changes stacks.

use super::bytes::Bytes;
use super::code::Code;
use super::elf::{Elf, Symbols};
use super::error::BuildError;
use super::metered::Metered;
use super::plt;
use super::registers::Machine;
use super::rule::{Cfa, Packed, Rbx, Rule, Saved, Unsupported};
use super::source::Source;
use super::switch::Switch;
use super::symbols::functions;
use super::window::Windows;
use std::collections::BTreeMap;
use std::ops::Range;

/// That of glibc's dynamic linker has 61 bytes, others less, and the function behind is aligned.
const ENTRY_BYTES: u64 = 64;
/// One more than the longest that is looked for, with its suffix.
const NAME_BYTES: u64 = 48;
/// What Go appends to the names of functions that are written in assembly, if there are others of that name which call them.
const ASSEMBLY: &str = ".abi0";

/// How a function known by name is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody called it.
    End,
    /// The kernel makes a signal handler return to its first byte. A return address is looked up one byte before it.
    SignalReturn,
    /// It calls something on another stack.
    Switch,
    /// It leaves its stack for another one, where nobody comes back.
    Leave,
    /// It saves six registers and makes two calls: where cgo begins a thread.
    SixPushes,
    /// It makes a thread, which nobody called, and that calls its function there.
    Clone,
}

/// x86-64. Those that ask for the time call the vDSO on the thread's own stack.
const GO: [(&str, Kind); 13] = [
    ("runtime.rt0_go", Kind::End),
    ("runtime.goexit", Kind::End),
    ("runtime.sigreturn__sigaction", Kind::SignalReturn),
    ("runtime.systemstack", Kind::Switch),
    ("runtime.asmcgocall", Kind::Switch),
    ("runtime.cgocallback", Kind::Switch),
    ("runtime.mcall", Kind::Leave),
    ("runtime.morestack", Kind::Leave),
    ("runtime.clone", Kind::Clone),
    ("time.now", Kind::Switch),
    ("runtime.nanotime1", Kind::Switch),
    ("runtime.walltime", Kind::Switch),
    ("crosscall1", Kind::SixPushes),
];
/// x86-64. Static programs have them without call frame information.
const MUSL: [(&str, Kind); 3] = [
    ("__restore_rt", Kind::SignalReturn),
    ("__clone", Kind::Clone),
    // Calls main; `_start` jumps to it, through others that leave no frame.
    ("libc_start_main_stage2", Kind::End),
];

/// What is known of a file's functions by their names, and of its entry.
#[derive(Debug, Default)]
pub(super) struct Landmarks {
    /// Addresses with a rule that counts more than call frame information.
    pub(super) rules: Vec<(Range<u64>, Rule)>,
    /// Addresses with a rule that counts less.
    pub(super) fallbacks: Vec<(Range<u64>, Rule)>,
    /// Functions that change stacks, by their addresses.
    switches: Vec<Switch>,
}

impl Landmarks {
    pub(super) fn find(
        file: &Metered<'_, impl Source + ?Sized>,
        elf: &Elf,
    ) -> Result<Self, BuildError> {
        let mut landmarks = Self::default();
        if elf.registers.machine != Machine::X86_64 {
            return Ok(landmarks);
        }
        if is_entry(file, elf)? {
            let range = elf.entry..elf.entry.saturating_add(ENTRY_BYTES);
            landmarks.fallbacks.push((range, Rule::End));
        }
        if let Some(stubs) = &elf.plt {
            landmarks.fallbacks.extend(plt::rules(file, stubs)?);
        }
        let names: &[_] = match elf.go {
            true => &GO,
            false if is_musl(elf) => &MUSL,
            false => return Ok(landmarks),
        };
        if let Some(symbols) = &elf.symbols {
            for (kind, function) in named(file, symbols, names)? {
                landmarks.add(file, elf, kind, function)?;
            }
        }
        landmarks.switches.sort_by_key(|switch| switch.address);
        Ok(landmarks)
    }

    fn add(
        &mut self,
        file: &Metered<'_, impl Source + ?Sized>,
        elf: &Elf,
        kind: Kind,
        function: Range<u64>,
    ) -> Result<(), BuildError> {
        let rules = match elf.go {
            true => &mut self.rules,
            false => &mut self.fallbacks,
        };
        if function.is_empty() && kind != Kind::Clone {
            return Ok(());
        }
        let code = || Code::read(file, elf, function.start);
        match kind {
            Kind::End => rules.push((function, Rule::End)),
            Kind::SignalReturn => {
                rules.push((function.start.saturating_sub(1)..function.end, Rule::Signal));
            }
            Kind::Switch => self.switches.extend(Switch::find(function.start, &code()?)),
            Kind::Leave => rules.push(match code()?.behind_stack_switch() {
                Some(distance) => (within(&function, distance), Rule::End),
                None => (function, Rule::Unsupported(Unsupported::ReturnAddress)),
            }),
            Kind::SixPushes => {
                if let Some(distance) = code()?.behind_six_pushes() {
                    rules.push((within(&function, distance), SIX_PUSHED));
                }
            }
            Kind::Clone => {
                let call = code()?.call_in_thread();
                let start = function.start;
                rules.extend(call.map(|call| (start + call.start..start + call.end, Rule::End)));
            }
        }
        Ok(())
    }

    /// Gives `take` numbers that are the same for no other landmarks.
    pub(super) fn hash(&self, mut take: impl FnMut(u64)) {
        for rules in [&self.rules, &self.fallbacks] {
            take(rules.len() as u64);
            for (addresses, rule) in rules {
                take(addresses.start);
                take(addresses.end);
                take(Packed::from(*rule).0);
            }
        }
        for switch in &self.switches {
            take(switch.address);
            take(switch.from);
            take(switch.has_frame.into());
        }
    }

    /// The function at an address, if it changes stacks.
    #[inline]
    pub(super) fn switch(&self, address: u64) -> Option<Switch> {
        let found = self
            .switches
            .binary_search_by_key(&address, |switch| switch.address);
        self.switches.get(found.ok()?).copied()
    }
}

/// Whether the address that the file header gives is where a program begins. Old linkers gave libraries one too: that of
/// whatever lies first.
fn is_entry(file: &Metered<'_, impl Source + ?Sized>, elf: &Elf) -> Result<bool, BuildError> {
    // What an entry does first without which no program could go on: it takes the stack pointer, which arguments lie at, or
    // clears rbp, as the ABI asks. Behind endbr64, if there is one.
    const FIRST: [&[u8]; 3] = [&[0x31, 0xed], &[0x48, 0x31, 0xed], &[0x48, 0x89, 0xe7]];
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    if elf.interpreter.is_some() || !elf.position_independent {
        return Ok(elf.entry != 0);
    }
    let Some((offset, _)) = elf.place(elf.entry) else {
        return Ok(false);
    };
    let mut code = [0; 8];
    file.read_at(&mut code, offset)?;
    let code = code.strip_prefix(ENDBR64).unwrap_or(&code);
    Ok(FIRST.iter().any(|first| code.starts_with(first)))
}

/// Whether it may be linked with musl: no other libc goes without call frame information.
fn is_musl(elf: &Elf) -> bool {
    const NAME: &[u8] = b"ld-musl";
    match &elf.interpreter {
        None => elf.entry != 0,
        Some(path) => path.windows(NAME.len()).any(|part| part == NAME),
    }
}

/// Functions with these names.
fn named(
    file: &Metered<'_, impl Source + ?Sized>,
    symbols: &Symbols,
    names: &[(&str, Kind)],
) -> Result<Vec<(Kind, Range<u64>)>, BuildError> {
    let mut strings = Windows::new(file, symbols.names.clone());
    let mut found = BTreeMap::new();
    functions(file, symbols, |name, addresses| {
        let size = strings.size().saturating_sub(name).min(NAME_BYTES);
        let Some(name) = Bytes(strings.get(name, size as usize)?).string() else {
            return Ok(());
        };
        let name = str::from_utf8(name).unwrap_or_default();
        let (plain, assembly) = match name.strip_suffix(ASSEMBLY) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        if let Some((known, kind)) = names.iter().find(|(known, _)| *known == plain)
            && (assembly || !found.contains_key(known))
        {
            found.insert(known, (*kind, addresses));
        }
        Ok(())
    })?;
    Ok(found.into_values().collect())
}

/// rbx, rbp and r12 to r15 lie between the stack pointer and the return address.
const SIX_PUSHED: Rule = Rule::Frame {
    cfa: Cfa::Register {
        register: 7,
        offset: 56,
    },
    saved: Saved::FramePointer(-3),
    rbx: Rbx::Saved(2),
};

/// What is left of a function from a distance on.
fn within(function: &Range<u64>, distance: u64) -> Range<u64> {
    let start = function.start.saturating_add(distance);
    start.min(function.end)..function.end
}
