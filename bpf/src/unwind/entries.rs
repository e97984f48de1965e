//! The entries of .eh_frame and .debug_frame (DWARF 5, section 6.4.1; Linux Standard Base 5, section 10.6): CIEs, which hold
//! what functions have in common, and FDEs, one for each function.

use super::bytes::Bytes;
use super::cfi::Program;
use super::elf::{Frames, FramesKind};
use super::error::BuildError;
use super::metered::Metered;
use super::registers::Registers;
use super::section::Section;
use super::source::Source;
use super::state::{Common, State};

/// No function has more instructions. The largest of a Debian installation are a fifth of that. Two sections keep two of
/// them each in memory, at most.
const LARGEST_ENTRY: u64 = 128 << 10;
/// Enough for an FDE up to its instructions: lengths, CIE pointer, two addresses.
const HEAD: u64 = 40;
/// CIEs kept at hand. A file has a handful, and a thousand where every object file brings its own.
const CIES: usize = 64;

/// Work to find an entry's fields, to take a CIE out of the file again, and to run a byte of instructions, with what follows
/// from it: rows.
const ENTRY: u64 = 32;
const RELOAD: u64 = 256;
const INSTRUCTION: u64 = 16;

const EXTENDED_LENGTH: u32 = 0xffff_ffff;
/// The Go linker's, and nobody else's: no register is 4 bytes wide on these machines.
const GO_DATA_ALIGNMENT: i64 = -4;
/// Absolute, as .debug_frame has them.
const ABSOLUTE: u8 = 0;

/// Reads entries of one section.
pub(super) struct Entries<'s, S: ?Sized> {
    file: &'s Metered<'s, S>,
    section: Section<'s, S>,
    kind: FramesKind,
    /// Of the section.
    address: u64,
    registers: &'static Registers,
    /// The last CIEs used, each at a place that follows from its offset; with nothing where there is none.
    cies: Vec<(u64, Option<Cie>)>,
    /// Memory for programs that run.
    remembered: Vec<State>,
}

/// What a CIE says.
#[derive(Clone, Copy, Debug)]
struct Cie {
    common: Common,
    /// Whether FDEs have a length of augmentation.
    augmented: bool,
    initial: Option<State>,
}

/// Extent of an FDE's function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) address: u64,
    pub(super) size: u64,
}

/// An entry's first fields.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Offset in the section of the next entry.
    next: u64,
    /// Bytes of the fields up to and with the id.
    size: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Terminator,
    Cie,
    /// With its CIE's offset.
    Fde(u64),
}

impl<'s, S: Source + ?Sized> Entries<'s, S> {
    pub(super) fn new(
        file: &'s Metered<'s, S>,
        frames: &Frames,
        registers: &'static Registers,
    ) -> Self {
        Self {
            file,
            section: Section::new(file, frames),
            kind: frames.kind,
            address: frames.address,
            registers,
            cies: vec![(u64::MAX, None); CIES],
            remembered: Vec::new(),
        }
    }

    /// Gives `each` every function with the offset of its FDE, in the section's order. What makes no sense ends it.
    pub(super) fn functions(
        &mut self,
        mut each: impl FnMut(Function, u64) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let mut offset = 0;
        while let Some(head) = self.head(offset)? {
            match head.what {
                What::Terminator if self.kind == FramesKind::EhFrameToTerminator => break,
                What::Terminator | What::Cie => {}
                What::Fde(cie) => {
                    if let Some(function) = self.function(offset, head, cie)? {
                        each(function, offset)?;
                    }
                }
            }
            offset = head.next;
        }
        Ok(())
    }

    fn function(
        &mut self,
        offset: u64,
        head: Head,
        cie: u64,
    ) -> Result<Option<Function>, BuildError> {
        let slot = self.load_cie(cie)?;
        let Some((_, Some(cie))) = self.cies.get(slot) else {
            return Ok(None);
        };
        let field = self.address.wrapping_add(offset + head.size as u64);
        let size = (head.next - offset).min(HEAD);
        let mut bytes = Bytes(self.section.get(offset, size as usize)?);
        let fields = bytes.take(head.size);
        Ok(fields.and_then(|_| function(&mut bytes, cie, field)))
    }

    /// Runs `run` with the program of the FDE at `offset`, unless that is none.
    #[inline]
    pub(super) fn program<R>(
        &mut self,
        offset: u64,
        run: impl FnOnce(Function, Program<'_>) -> R,
    ) -> Result<Option<R>, BuildError> {
        let Some(Head {
            what: What::Fde(cie),
            next,
            size,
        }) = self.head(offset)?
        else {
            return Ok(None);
        };
        let slot = self.load_cie(cie)?;
        let Some((_, Some(cie))) = self.cies.get(slot) else {
            return Ok(None);
        };
        let field = self.address.wrapping_add(offset + size as u64);
        let whole = next - offset;
        self.file.spend(INSTRUCTION * whole.min(LARGEST_ENTRY))?;
        let entry = self
            .section
            .get(offset, whole.min(LARGEST_ENTRY) as usize)?;
        let mut bytes = Bytes(entry);
        let Some(function) = bytes
            .take(size)
            .and_then(|_| function(&mut bytes, cie, field))
        else {
            return Ok(None);
        };
        // Instructions that cannot be found are none that make sense: as if the CIE's made none.
        let augmentation = match cie.augmented {
            true => bytes
                .uleb128()
                .and_then(|len| bytes.take(usize::try_from(len).ok()?)),
            false => Some(&[][..]),
        };
        let found = augmentation.is_some() && whole <= LARGEST_ENTRY;
        let field = self
            .address
            .wrapping_add(next)
            .wrapping_sub(bytes.0.len() as u64);
        let program = Program {
            common: &cie.common,
            initial: cie.initial.as_ref().filter(|_| found),
            instructions: bytes.0,
            field,
            address: function.address,
            remembered: &mut self.remembered,
        };
        Ok(Some(run(function, program)))
    }

    /// The first fields of the entry at `offset`, unless the section ends there or makes no sense from there on.
    #[inline]
    fn head(&mut self, offset: u64) -> Result<Option<Head>, BuildError> {
        let left = self.section.size().saturating_sub(offset);
        if left < 4 {
            return Ok(None);
        }
        let kind = self.kind;
        self.file.spend(ENTRY)?;
        let bytes = self.section.get(offset, left.min(HEAD) as usize)?;
        Ok(head(kind, offset, bytes).filter(|head| head.next - offset <= left))
    }

    /// Sees to it that the CIE at `offset` is among those at hand, and says where.
    #[inline]
    fn load_cie(&mut self, offset: u64) -> Result<usize, BuildError> {
        // Entries are multiples of 4 or 8 bytes.
        let slot = (offset >> 2) as usize % CIES;
        if self
            .cies
            .get(slot)
            .is_none_or(|(loaded, _)| *loaded != offset)
        {
            let cie = self.read_cie(offset)?;
            if let Some(place) = self.cies.get_mut(slot) {
                *place = (offset, cie);
            }
        }
        Ok(slot)
    }

    fn read_cie(&mut self, offset: u64) -> Result<Option<Cie>, BuildError> {
        let Some(Head {
            what: What::Cie,
            next,
            size,
        }) = self.head(offset)?
        else {
            return Ok(None);
        };
        let address = self.address.wrapping_add(next);
        let (kind, registers) = (self.kind, self.registers);
        if next - offset > LARGEST_ENTRY {
            return Ok(None);
        }
        // A hostile file makes every function ask for another, or for two in turn.
        self.file.spend(RELOAD + INSTRUCTION * (next - offset))?;
        let bytes = self.section.get(offset, (next - offset) as usize)?;
        let fields = bytes.get(size..).unwrap_or_default();
        Ok(cie(fields, address, kind, registers))
    }
}

fn head(kind: FramesKind, offset: u64, bytes: &[u8]) -> Option<Head> {
    let mut rest = Bytes(bytes);
    let short = rest.u32()?;
    if short == 0 {
        return Some(Head {
            next: offset + 4,
            size: 4,
            what: What::Terminator,
        });
    }
    let (length, wide) = match short {
        EXTENDED_LENGTH => (rest.u64()?, true),
        _ => (short.into(), false),
    };
    let id_at = offset + (bytes.len() - rest.0.len()) as u64;
    let next = id_at.checked_add(length)?;
    let what = if kind == FramesKind::DebugFrame {
        let (id, cie) = if wide {
            (rest.u64()?, u64::MAX)
        } else {
            (rest.u32()?.into(), u32::MAX.into())
        };
        if id == cie { What::Cie } else { What::Fde(id) }
    } else {
        // Four bytes in either form; a distance back from itself.
        match rest.u32()? {
            0 => What::Cie,
            distance => What::Fde(id_at.checked_sub(distance.into())?),
        }
    };
    let size = bytes.len() - rest.0.len();
    (next >= offset + size as u64).then_some(Head { next, size, what })
}

fn function(bytes: &mut Bytes<'_>, cie: &Cie, field: u64) -> Option<Function> {
    let encoding = cie.common.address_encoding;
    let address = bytes.pointer(encoding, field)?;
    let size = bytes.offset(encoding)?;
    Some(Function { address, size })
}

/// Reads a CIE's fields behind its id; `end` is the address of its end.
fn cie(fields: &[u8], end: u64, kind: FramesKind, registers: &'static Registers) -> Option<Cie> {
    let mut bytes = Bytes(fields);
    let version = bytes.u8()?;
    let augmentation = bytes.string()?;
    if kind == FramesKind::DebugFrame && version >= 4 {
        // Sizes of an address and of a segment selector.
        match (bytes.u8()?, bytes.u8()?) {
            (8, 0) => {}
            _ => return None,
        }
    }
    let code_alignment = bytes.uleb128()?;
    let data_alignment = bytes.sleb128()?;
    let return_address = match version {
        1 => bytes.u8()?.into(),
        3..=5 => bytes.uleb128()?,
        _ => return None,
    };
    let mut common = Common {
        registers,
        code_alignment,
        data_alignment,
        address_encoding: ABSOLUTE,
        return_address,
        signal_frame: false,
        go: kind == FramesKind::DebugFrame && data_alignment == GO_DATA_ALIGNMENT,
    };
    let augmented = augmentation.first() == Some(&b'z');
    if augmented {
        let len = usize::try_from(bytes.uleb128()?).ok()?;
        read_augmentation(augmentation, Bytes(bytes.take(len)?), &mut common)?;
    } else if !augmentation.is_empty() {
        // "eh" of gcc 2 and others: what follows is unknown.
        return None;
    }
    let program = Program {
        common: &common,
        initial: None,
        instructions: bytes.0,
        field: end.wrapping_sub(bytes.0.len() as u64),
        address: 0,
        remembered: &mut Vec::new(),
    };
    let initial = program.state().ok();
    Some(Cie {
        common,
        augmented,
        initial,
    })
}

fn read_augmentation(letters: &[u8], mut data: Bytes<'_>, common: &mut Common) -> Option<()> {
    for letter in letters.iter().skip(1) {
        match letter {
            b'R' => common.address_encoding = data.u8()?,
            b'L' => {
                data.u8()?;
            }
            b'P' => {
                let encoding = data.u8()?;
                data.offset(encoding)?;
            }
            b'S' => common.signal_frame = true,
            // aarch64: signed with key B; tagged stack.
            b'B' | b'G' => {}
            // Of the others nothing is known but where they end.
            _ => break,
        }
    }
    Some(())
}
