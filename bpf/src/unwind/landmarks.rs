//! Functions known by what they are, because nothing in the file says how to leave them: where programs begin, and where the
//! Go runtime changes stacks.

use super::bytes::Bytes;
use super::elf::{Elf, Symbols};
use super::error::BuildError;
use super::registers::Machine;
use super::rule::{Cfa, Packed, Rbx, Rule, Saved};
use super::source::Source;
use super::window::{Budget, Windows};
use std::collections::BTreeMap;
use std::ops::Range;

/// That of glibc's dynamic linker has 61 bytes, others less, and the function behind is aligned.
const ENTRY_BYTES: u64 = 64;
/// `runtime.clone` has 162.
const CLONE_BYTES: usize = 256;
const SYMBOL_BYTES: usize = 24;
const MOST_SYMBOLS: u64 = 4 << 20;
/// One more than the longest that is looked for, with its suffix.
const NAME_BYTES: u64 = 48;
const STT_FUNC: u8 = 2;
/// What Go appends to the names of functions that are written in assembly, if there are others of that name which call them.
const ASSEMBLY: &str = ".abi0";

/// How a function known by name is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody called it.
    End,
    /// The kernel makes a signal handler return to its first byte. A return address is looked up one byte before it.
    SignalReturn,
    /// It has a frame, and then calls something on another stack.
    SwitchInFrame,
    /// It calls something on another stack and has no frame at all.
    Switch,
    /// It saves six registers and makes two calls: where cgo begins a thread.
    SixPushes,
    /// It makes a thread, which nobody called, and that calls its function there.
    Clone,
}

/// x86-64. Of `mcall` and `morestack` nobody comes back: they clear the frame pointer, with which a stack ends. Those that ask
/// for the time call the vDSO on the thread's own stack.
const GO: [(&str, Kind); 13] = [
    ("runtime.rt0_go", Kind::End),
    ("runtime.goexit", Kind::End),
    ("runtime.sigreturn__sigaction", Kind::SignalReturn),
    ("runtime.systemstack", Kind::SwitchInFrame),
    ("runtime.asmcgocall", Kind::SwitchInFrame),
    ("runtime.cgocallback", Kind::SwitchInFrame),
    ("runtime.mcall", Kind::SwitchInFrame),
    ("runtime.morestack", Kind::Switch),
    ("runtime.clone", Kind::Clone),
    ("time.now", Kind::SwitchInFrame),
    ("runtime.nanotime1", Kind::SwitchInFrame),
    ("runtime.walltime", Kind::SwitchInFrame),
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
    /// Addresses of functions in whose frames stacks change.
    switches: Vec<u64>,
}

impl Landmarks {
    pub(super) fn find(
        source: &(impl Source + ?Sized),
        elf: &Elf,
        budget: Budget,
    ) -> Result<Self, BuildError> {
        let mut landmarks = Self::default();
        if elf.registers.machine != Machine::X86_64 {
            return Ok(landmarks);
        }
        if is_entry(source, elf)? {
            let range = elf.entry..elf.entry.saturating_add(ENTRY_BYTES);
            landmarks.fallbacks.push((range, Rule::End));
        }
        let names: &[_] = match elf.go {
            true => &GO,
            false if is_musl(elf) => &MUSL,
            false => return Ok(landmarks),
        };
        if let Some(symbols) = &elf.symbols {
            for (kind, function) in named(source, symbols, names, budget)? {
                landmarks.add(source, elf, kind, function)?;
            }
        }
        landmarks.switches.sort_unstable();
        Ok(landmarks)
    }

    fn add(
        &mut self,
        source: &(impl Source + ?Sized),
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
        match kind {
            Kind::End => rules.push((function, Rule::End)),
            Kind::Switch => rules.push((function, Rule::Switch)),
            Kind::SignalReturn => {
                rules.push((function.start.saturating_sub(1)..function.end, Rule::Signal));
            }
            Kind::SwitchInFrame => self.switches.push(function.start),
            Kind::SixPushes => {
                if let Some(begun) = behind_six_pushes(source, elf, &function)? {
                    rules.push((begun..function.end, SIX_PUSHED));
                }
            }
            Kind::Clone => {
                let call = call_in_thread(source, elf, function.start)?;
                rules.extend(call.map(|call| (call, Rule::End)));
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
        self.switches.iter().copied().for_each(take);
    }

    /// Whether the function at an address changes stacks in its frame.
    pub(super) fn switches(&self, address: u64) -> bool {
        self.switches.binary_search(&address).is_ok()
    }
}

/// The rule in a function that changes stacks in its frame, given what its call frame information says: before it has one,
/// and behind it, that is true.
pub(super) fn switch_in_frame(rule: Rule) -> Rule {
    match rule {
        Rule::Frame {
            cfa: Cfa::Register { offset: 9.., .. },
            ..
        } => Rule::Switch,
        rule => rule,
    }
}

/// Whether the address that the file header gives is where a program begins. Old linkers gave libraries one too: that of
/// whatever lies first.
fn is_entry(source: &(impl Source + ?Sized), elf: &Elf) -> Result<bool, BuildError> {
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
    source.read_at(&mut code, offset)?;
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
    source: &(impl Source + ?Sized),
    symbols: &Symbols,
    names: &[(&str, Kind)],
    budget: Budget,
) -> Result<Vec<(Kind, Range<u64>)>, BuildError> {
    let mut table = Windows::new(source, symbols.entries.clone(), budget);
    let mut strings = Windows::new(source, symbols.names.clone(), budget);
    let mut found = BTreeMap::new();
    for number in 0..(table.size() / SYMBOL_BYTES as u64).min(MOST_SYMBOLS) {
        let bytes = table.get(number * SYMBOL_BYTES as u64, SYMBOL_BYTES)?;
        let Some((name, range)) = function(Bytes(bytes)) else {
            continue;
        };
        let size = strings.size().saturating_sub(name).min(NAME_BYTES);
        let Some(name) = Bytes(strings.get(name, size as usize)?).string() else {
            continue;
        };
        let name = str::from_utf8(name).unwrap_or_default();
        let (plain, assembly) = match name.strip_suffix(ASSEMBLY) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        if let Some((known, kind)) = names.iter().find(|(known, _)| *known == plain)
            && (assembly || !found.contains_key(known))
        {
            found.insert(known, (*kind, range));
        }
    }
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

/// The address behind the pushes that a function begins with, if those are these six.
fn behind_six_pushes(
    source: &(impl Source + ?Sized),
    elf: &Elf,
    function: &Range<u64>,
) -> Result<Option<u64>, BuildError> {
    const PUSHES: [u8; 10] = [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57];
    let Some((offset, _)) = elf.place(function.start) else {
        return Ok(None);
    };
    let mut code = [0; PUSHES.len()];
    source.read_at(&mut code, offset)?;
    Ok((code == PUSHES).then_some(function.start + PUSHES.len() as u64))
}

/// Offset of its name, and its addresses, of a symbol that is a function; some of assembly have no size.
fn function(mut symbol: Bytes<'_>) -> Option<(u64, Range<u64>)> {
    let name = symbol.u32()?;
    let kind = symbol.u8()? & 0xf;
    let (_visibility, _section) = (symbol.u8()?, symbol.u16()?);
    let address = symbol.u64()?;
    let end = address.checked_add(symbol.u64()?)?;
    (kind == STT_FUNC).then_some((name.into(), address..end))
}

/// Where a function that makes a thread calls through a register behind its system call: in the thread.
fn call_in_thread(
    source: &(impl Source + ?Sized),
    elf: &Elf,
    function: u64,
) -> Result<Option<Range<u64>>, BuildError> {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    const CALL_BYTES: u64 = 3;
    let Some((offset, left)) = elf.place(function) else {
        return Ok(None);
    };
    let mut code = [0; CLONE_BYTES];
    let read = source
        .read_at(&mut code, offset)?
        .min(usize::try_from(left).unwrap_or(0));
    let code = code.get(..read).unwrap_or_default();
    let position = |code: &[u8], matches: fn(&[u8]) -> bool| {
        code.windows(CALL_BYTES as usize).position(matches)
    };
    let call = position(code, |bytes| bytes.starts_with(&SYSCALL)).and_then(|syscall| {
        // Through r8 to r15.
        let call = position(code.get(syscall..)?, |bytes| {
            matches!(bytes, [0x41, 0xff, 0xd0..=0xd7])
        })?;
        Some(function + (syscall + call) as u64)
    });
    Ok(call.map(|call| call..call + CALL_BYTES))
}
