//! From a file to its table.

use super::dictionary::Dictionary;
use super::elf::Elf;
use super::encode::{Encoded, Encoder};
use super::entries::{Entries, Function};
use super::error::{BuildError, Limits};
use super::landmarks::Landmarks;
use super::metered::Metered;
use super::rule::Rule;
use super::source::Source;
use super::table::Table;
use super::uncovered;
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
    let file = Metered::new(source, limits)?;
    let mut builder = Builder::new(&file, piece, limits)?;
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
    landmarks: Landmarks,
    /// The first counts most.
    layers: Vec<Layer<'s, S>>,
    /// From the first function's begin to the last one's end.
    code: Range<u64>,
}

/// Functions by their place in the file, all from one place.
struct Layer<'s, S: ?Sized> {
    origin: Origin<'s, S>,
    /// Ascending: offset of the function in the piece of the file << 32 | offset of its FDE, index of its rule, or its size.
    functions: Vec<u64>,
    /// Index of the one to be encoded next.
    next: usize,
}

/// Where rules come from.
enum Origin<'s, S: ?Sized> {
    Frames(Entries<'s, S>),
    /// One rule a function, with its size.
    Landmarks(Vec<(u64, Rule)>),
    /// Code of functions whose sizes are known.
    Code(&'s Metered<'s, S>),
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
        let (offset, left) = self.elf.place(function.address)?;
        let begin = offset & u64::from(u32::MAX);
        let end = begin + function.size.min(left);
        (offset >> PIECE_BITS == self.piece.into() && function.size > 0)
            .then(|| begin..end.min(1 << PIECE_BITS))
    }
}

impl<'s, S: Source + ?Sized> Builder<'s, S> {
    fn new(file: &'s Metered<'s, S>, piece: u32, limits: &Limits) -> Result<Self, BuildError> {
        let elf = Elf::read(file)?;
        let landmarks = Landmarks::find(file, &elf)?;
        let sections = elf.frames.clone();
        let mut builder = Self {
            piece: CodePiece { elf, piece },
            landmarks: Landmarks::default(),
            layers: Vec::new(),
            code: 0..0,
        };
        builder.add_landmarks(&landmarks.rules);
        for section in sections {
            let registers = builder.piece.elf.registers;
            let entries = Entries::new(file, &section, registers);
            builder.add_frames(entries, limits)?;
        }
        builder.add_landmarks(&landmarks.fallbacks);
        builder.landmarks = landmarks;
        builder.add_uncovered(file)?;
        Ok(builder)
    }

    fn add_landmarks(&mut self, rules: &[(Range<u64>, Rule)]) {
        let mut functions = Vec::new();
        let mut sized = Vec::new();
        for (addresses, rule) in rules {
            let (address, size) = (addresses.start, addresses.end - addresses.start);
            if let Some(range) = self.piece.range(Function { address, size }) {
                functions.push(range.start << u32::BITS | sized.len() as u64);
                sized.push((range.end - range.start, *rule));
                self.widen(&range);
            }
        }
        self.add_layer(Origin::Landmarks(sized), functions);
    }

    fn add_frames(
        &mut self,
        mut entries: Entries<'s, S>,
        limits: &Limits,
    ) -> Result<(), BuildError> {
        let before: usize = self.layers.iter().map(|layer| layer.functions.len()).sum();
        let most = limits.functions.saturating_sub(before);
        let mut functions = Vec::new();
        entries.functions(|function, offset| {
            if let (Some(range), Ok(offset)) = (self.piece.range(function), u32::try_from(offset)) {
                if functions.len() == most {
                    return Err(BuildError::TooManyFunctions(limits.functions));
                }
                functions.push(range.start << u32::BITS | u64::from(offset));
                self.widen(&range);
            }
            Ok(())
        })?;
        self.add_layer(Origin::Frames(entries), functions);
        Ok(())
    }

    /// Functions that no layer has yet.
    fn add_uncovered(&mut self, file: &'s Metered<'s, S>) -> Result<(), BuildError> {
        let is_covered = |address| {
            let range = self.piece.range(Function { address, size: 1 });
            range.is_none_or(|range| self.layers.iter().any(|layer| layer.has(range.start)))
        };
        let uncovered = uncovered::find(file, &self.piece.elf, is_covered)?;
        let mut functions = Vec::with_capacity(uncovered.len());
        for function in uncovered {
            if let Some(range) = self.piece.range(function) {
                functions.push(range.start << u32::BITS | (range.end - range.start));
                self.widen(&range);
            }
        }
        self.add_layer(Origin::Code(file), functions);
        Ok(())
    }

    fn widen(&mut self, range: &Range<u64>) {
        if self.code.is_empty() {
            self.code = range.clone();
        } else {
            self.code.start = self.code.start.min(range.start);
            self.code.end = self.code.end.max(range.end);
        }
    }

    fn add_layer(&mut self, origin: Origin<'s, S>, mut functions: Vec<u64>) {
        if !functions.is_sorted() {
            functions.sort_unstable();
        }
        self.layers.push(Layer {
            origin,
            functions,
            next: 0,
        });
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
            let Some(id) = layer.take() else {
                break;
            };
            let most = limit.min(self.code.end);
            match &mut layer.origin {
                Origin::Landmarks(sized) => {
                    if let Some((size, rule)) = sized.get(id as usize)
                        && begin >= rows.covered
                    {
                        rows.add(begin..most.min(begin + size), |row| row(0, *rule))?;
                    }
                }
                Origin::Code(file) => {
                    let offset = u64::from(self.piece.piece) << PIECE_BITS | begin;
                    let rules = uncovered::rules(*file, offset, id)?;
                    let end = most.min(begin + id);
                    let inside = |(distance, _): &&(u32, Rule)| begin + u64::from(*distance) < end;
                    rows.add(begin..end, |row| {
                        rules
                            .iter()
                            .take_while(inside)
                            .try_for_each(|(distance, rule)| row((*distance).into(), *rule))
                    })?;
                }
                Origin::Frames(entries) => {
                    let (piece, landmarks) = (&self.piece, &self.landmarks);
                    let done = entries.program(id, |function, program| {
                        let range = piece.range(function).unwrap_or_default();
                        let end = most.min(begin + (range.end - range.start));
                        rows.add(begin..end, |row| match landmarks.switch(function.address) {
                            None => program.rows(end - begin, row),
                            Some(switch) => switch.rows(end - begin, program, row),
                        })
                    })?;
                    done.unwrap_or(Ok(()))?;
                }
            }
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

    /// Whether one of its functions begins there.
    fn has(&self, offset: u64) -> bool {
        let found = self
            .functions
            .binary_search_by_key(&offset, |function| function >> u32::BITS);
        found.is_ok()
    }

    /// What is known of the next function beside where it begins.
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
    /// Takes the rows of a function, by their distance from its begin, from where there are none yet.
    #[inline]
    fn add(
        &mut self,
        range: Range<u64>,
        rows: impl FnOnce(&mut dyn FnMut(u64, Rule) -> Result<(), BuildError>) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let from = range.start.max(self.covered);
        if from >= range.end {
            return Ok(());
        }
        if from - self.covered > LONGEST_PADDING {
            self.encoder.row(self.covered, Rule::None.into())?;
        }
        self.covered = range.end;
        rows(&mut |distance, rule| {
            self.encoder
                .row((range.start + distance).max(from), rule.into())
        })
    }

    fn finish(mut self) -> Result<Encoded, BuildError> {
        self.encoder.row(self.covered, Rule::None.into())?;
        self.encoder.finish()
    }
}
