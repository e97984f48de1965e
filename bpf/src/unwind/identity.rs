//! What a table is known by.

use super::elf::Elf;
use super::entries::{Entries, Function};
use super::error::{BuildError, Limits};
use super::landmarks::Landmarks;
use super::metered::Metered;
use super::source::Source;
use super::uncovered;
use std::fmt;

const CHUNK: usize = 64 << 10;

/// What a file's table is known by: two files with one identity have one table, and no file has the identity of another with
/// a different table, whatever build id it claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What the linker calls the file, for people and for naming; it may lie.
    pub build_id: Option<Vec<u8>>,
    /// Size of the file in bytes.
    pub size: u64,
    /// BLAKE3 of size, build id, file header, program headers, call frame information, of the functions known by name, and of those
    /// whose rules follow from their code.
    pub digest: [u8; 32],
}

impl fmt::Display for Identity {
    /// The digest in hexadecimal: a name for a file in a cache.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads what the identity of a file depends on: all of its call frame information, as it lies in the file.
///
/// # Errors
/// Those of [`build`](super::build) that come from reading and from headers.
pub fn identify(source: &(impl Source + ?Sized), limits: &Limits) -> Result<Identity, BuildError> {
    let file = Metered::new(source, limits)?;
    let elf = Elf::read(&file)?;
    let size = file.size()?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let number = |hasher: &mut blake3::Hasher, number: u64| {
        hasher.update(&number.to_le_bytes());
    };
    number(&mut hasher, size);
    number(&mut hasher, elf.headers.len() as u64);
    hasher.update(&elf.headers);
    let build_id = elf.build_id.as_deref().unwrap_or_default();
    number(&mut hasher, build_id.len() as u64);
    hasher.update(build_id);
    number(&mut hasher, elf.frames.len() as u64);
    for frames in &elf.frames {
        hasher.update(&[frames.kind as u8]);
        number(&mut hasher, frames.address);
        number(
            &mut hasher,
            frames.range.end.saturating_sub(frames.range.start),
        );
        number(
            &mut hasher,
            frames
                .inflated_size
                .map_or(0, |size| size.saturating_add(1)),
        );
        let mut at = frames.range.start;
        while at < frames.range.end {
            let most = usize::try_from(frames.range.end - at).unwrap_or(CHUNK);
            let room = chunk.get_mut(..most.min(CHUNK)).unwrap_or_default();
            if file.read_at(room, at)? < room.len() {
                return Err(BuildError::Truncated);
            }
            hasher.update(room);
            at += room.len() as u64;
        }
    }
    let landmarks = Landmarks::find(&file, &elf)?;
    landmarks.hash(|value| number(&mut hasher, value));
    let mut code = Vec::new();
    for function in uncovered(&file, &elf, limits)? {
        if let Some((offset, left)) = elf.place(function.address) {
            uncovered::read_code(&file, offset, function.size.min(left), &mut code)?;
            number(&mut hasher, function.address);
            number(&mut hasher, code.len() as u64);
            hasher.update(&code);
        }
    }
    Ok(Identity {
        build_id: elf.build_id,
        size,
        digest: *hasher.finalize().as_bytes(),
    })
}

/// Functions without call frame information.
fn uncovered(
    file: &Metered<'_, impl Source + ?Sized>,
    elf: &Elf,
    limits: &Limits,
) -> Result<Vec<Function>, BuildError> {
    if elf.symbols.is_none() {
        return Ok(Vec::new());
    }
    let mut covered = Vec::new();
    for frames in &elf.frames {
        Entries::new(file, frames, elf.registers).functions(|function, _| {
            if covered.len() == limits.functions {
                return Err(BuildError::TooManyFunctions(limits.functions));
            }
            covered.push(function.address);
            Ok(())
        })?;
    }
    covered.sort_unstable();
    uncovered::find(file, elf, |address| covered.binary_search(&address).is_ok())
}
