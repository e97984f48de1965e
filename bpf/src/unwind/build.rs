//! From a file to its table.

use super::cfi::Program;
use super::dictionary::Dictionary;
use super::elf::Elf;
use super::encode::{Encoded, Encoder};
use super::entries::{Entries, Function};
use super::error::{BuildError, Limits};
use super::rule::Rule;
use super::source::Source;
use super::table::Table;
use std::ops::Range;

/// Between two functions is padding, over which the rule of the first may as well hold.
const LONGEST_PADDING: u64 = 15;
const PIECE_BITS: u32 = 32;

/// Builds the table of an ELF file, or of the 4 GiB piece of it with number `piece` (0 of any that is smaller).
///
/// The file is read, not mapped. Beside the table it takes 8 bytes a function and half a megabyte.
///
/// # Errors
/// The file cannot be read, is no ELF file of a known machine, contradicts itself, or exceeds `limits`. Damage in its call
/// frame information alone is no error: its rules are [`Unsupported::BadCfi`](super::Unsupported::BadCfi), or missing where
/// nobody can say whose they are. Without any the table is [empty](Table::is_empty).
pub fn build(
    source: &(impl Source + ?Sized),
    piece: u32,
    limits: &Limits,
) -> Result<Table, BuildError> {
    let mut builder = Builder::new(source, piece, limits)?;
    match builder.encode(Dictionary::growing(), limits)? {
        Encoded::Table(table) => Ok(table),
        Encoded::Again(dictionary) => match builder.encode(dictionary, limits)? {
            Encoded::Table(table) => Ok(table),
            // The rules that fit were chosen.
            Encoded::Again(_) => Err(BuildError::Malformed("dictionary of rules")),
        },
    }
}

struct Builder<'s, S: ?Sized> {
    piece: CodePiece,
    layers: Vec<Layer<'s, S>>,
    /// From the first function's begin to the last one's end.
    code: Range<u64>,
}

/// Functions of one section by their place in the file.
struct Layer<'s, S: ?Sized> {
    entries: Entries<'s, S>,
    /// Ascending: offset of the function in the piece of the file << 32 | offset of its FDE.
    functions: Vec<u64>,
    /// Index of the one to be encoded next.
    next: usize,
}

/// The executable parts of a 4 GiB piece of a file.
struct CodePiece {
    elf: Elf,
    piece: u32,
}

impl CodePiece {
    /// Where a function lies in this piece of the file, as far as it does.
    #[inline]
    fn range(&self, function: Function) -> Option<Range<u64>> {
        let (offset, left) = self.elf.code(function.address)?;
        let begin = offset & u64::from(u32::MAX);
        let end = begin + function.size.min(left);
        (offset >> PIECE_BITS == self.piece.into() && function.size > 0)
            .then(|| begin..end.min(1 << PIECE_BITS))
    }
}

impl<'s, S: Source + ?Sized> Builder<'s, S> {
    fn new(source: &'s S, piece: u32, limits: &Limits) -> Result<Self, BuildError> {
        let elf = Elf::read(source)?;
        let (sections, registers) = (elf.frames.clone(), elf.registers);
        let piece = CodePiece { elf, piece };
        let mut layers = Vec::new();
        let (mut begin, mut end) = (u64::MAX, 0);
        let mut left = limits.functions;
        for section in sections.into_iter().filter(|section| !section.compressed) {
            let mut functions = Vec::new();
            let mut entries = Entries::new(source, section, registers, limits.read_bytes);
            entries.functions(|function, offset| {
                let (Some(range), Ok(offset)) = (piece.range(function), u32::try_from(offset))
                else {
                    return Ok(());
                };
                left = left
                    .checked_sub(1)
                    .ok_or(BuildError::TooManyFunctions(limits.functions))?;
                (begin, end) = (begin.min(range.start), end.max(range.end));
                functions.push(range.start << 32 | u64::from(offset));
                Ok(())
            })?;
            if !functions.is_sorted() {
                functions.sort_unstable();
            }
            layers.push(Layer {
                entries,
                functions,
                next: 0,
            });
        }
        Ok(Self {
            piece,
            layers,
            code: begin.min(end)..end,
        })
    }

    fn encode(&mut self, dictionary: Dictionary, limits: &Limits) -> Result<Encoded, BuildError> {
        let mut rows = Rows {
            encoder: Encoder::new(self.code.clone(), dictionary, limits.image_bytes)?,
            covered: self.code.start,
        };
        for layer in &mut self.layers {
            layer.next = 0;
        }
        while let Some((number, begin, limit)) = self.next() {
            let Some(layer) = self.layers.get_mut(number) else {
                break;
            };
            let Some(fde) = layer.take() else {
                break;
            };
            let (piece, most) = (&self.piece, limit.min(self.code.end));
            let done = layer.entries.program(fde, |function, program| {
                let size = piece
                    .range(function)
                    .map_or(0, |range| range.end - range.start);
                rows.function(begin..most.min(begin + size), &program)
            })?;
            done.unwrap_or(Ok(()))?;
        }
        rows.finish()
    }

    /// The layer with the next function, where that begins, and where one begins that counts more: the next of its own
    /// layer, as every unwinder looks for the last function that begins before an address, or one of the layers before.
    fn next(&self) -> Option<(usize, u64, u64)> {
        let heads = || self.layers.iter().map(|layer| layer.begin(layer.next));
        let (number, begin) = heads()
            .enumerate()
            .filter_map(|(number, begin)| Some((number, begin?)))
            .min_by_key(|&(number, begin)| (begin, number))?;
        let own = self
            .layers
            .get(number)
            .and_then(|layer| layer.begin(layer.next + 1));
        let limit = heads().take(number).flatten().chain(own).min();
        Some((number, begin, limit.unwrap_or(u64::MAX)))
    }
}

impl<S: ?Sized> Layer<'_, S> {
    /// Where the function with that number begins.
    fn begin(&self, number: usize) -> Option<u64> {
        self.functions
            .get(number)
            .map(|function| function >> u32::BITS)
    }

    /// Offset of the next function's FDE.
    fn take(&mut self) -> Option<u64> {
        let function = self.functions.get(self.next)?;
        self.next += 1;
        Some(function & u64::from(u32::MAX))
    }
}

/// Rows of functions one behind the other.
struct Rows {
    encoder: Encoder,
    /// Up to where there are rows.
    covered: u64,
}

impl Rows {
    /// Takes the rows of a function from where there are none yet.
    fn function(&mut self, range: Range<u64>, program: &Program<'_>) -> Result<(), BuildError> {
        let from = range.start.max(self.covered);
        if from >= range.end {
            return Ok(());
        }
        if from - self.covered > LONGEST_PADDING {
            self.encoder.row(self.covered, Rule::None.into())?;
        }
        self.covered = range.end;
        program.rows(range.end - range.start, |distance, rule| {
            self.encoder.row((range.start + distance).max(from), rule)
        })
    }

    fn finish(mut self) -> Result<Encoded, BuildError> {
        self.encoder.row(self.covered, Rule::None.into())?;
        self.encoder.finish()
    }
}
