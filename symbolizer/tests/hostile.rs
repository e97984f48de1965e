//! Files that lie: whatever their bytes, an answer comes for every offset, without a panic that reaches the caller.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Write;

use support::{Workshop, file_offset, functions};
use symbolizer::{Module, Options, Symbolizer};

/// xorshift64*: the same damage on every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

/// Symbolizes `offsets` in a file of these bytes, if it is taken for one at all.
fn survive(workshop: &Workshop, bytes: &[u8], offsets: &[u64]) -> bool {
    let path = workshop.path("hostile");
    File::create(&path).unwrap().write_all(bytes).unwrap();
    let Ok(module) = Module::open(File::open(&path).unwrap(), "hostile") else {
        return false;
    };
    let answers = Symbolizer::new(Options::default()).user(&module, offsets);
    assert_eq!(answers.len(), offsets.len());
    for answer in answers {
        assert!(
            !answer.frames.is_empty() && answer.frames.iter().all(|frame| !frame.name.is_empty())
        );
    }
    true
}

/// Its debug information is for one of the two readers of it, or for the other.
fn small_program(workshop: &Workshop, debug: &str) -> (Vec<u8>, Vec<u64>) {
    let program = workshop.c_program("program", &["-O2", "-g", debug]);
    let image = std::fs::read(program).unwrap();
    let offsets = functions(&image)
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    (image, offsets)
}

/// A file cut at every length of its headers and at many others.
#[test]
fn truncated_files() {
    let workshop = Workshop::new();
    for debug in ["-gz=none", "-gz=zlib"] {
        let (image, offsets) = small_program(&workshop, debug);
        let lengths = (0..1024).step_by(16).chain((1024..image.len()).step_by(97));
        let taken = lengths
            .filter(|&length| survive(&workshop, &image[..length], &offsets))
            .count();
        assert!(
            taken > 100,
            "only {taken} damaged files got as far as being symbolized"
        );
    }
}

/// One to eight bytes changed anywhere, half of the time in the headers and section table, where lengths and offsets are.
#[test]
fn changed_bytes() {
    let workshop = Workshop::new();
    for debug in ["-gz=none", "-gz=zlib"] {
        let (image, offsets) = small_program(&workshop, debug);
        let section_table = image.len() - 64 * 40;
        let mut random = Random(0x7468_6572_6d6f);
        let mut taken = 0;
        for _ in 0..600 {
            let mut bytes = image.clone();
            for _ in 0..=random.next(8) {
                let place = match random.next(4) {
                    0 => 16 + random.next(1024),
                    1 => section_table + random.next(64 * 40),
                    _ => random.next(bytes.len()),
                };
                bytes[place] = [0, 0xff, 0x7f, 0x80, 1 << random.next(8)][random.next(5)];
            }
            taken += usize::from(survive(&workshop, &bytes, &offsets));
        }
        assert!(
            taken > 300,
            "only {taken} damaged files got as far as being symbolized"
        );
    }
}

/// Every field of every section header set to all ones: sums of offset and length overflow, tables claim to be endless.
#[test]
fn endless_sections() {
    let workshop = Workshop::new();
    for debug in ["-gz=none", "-gz=zlib"] {
        let (image, offsets) = small_program(&workshop, debug);
        let table = u64::from_le_bytes(image[0x28..0x30].try_into().unwrap()) as usize;
        let count = u16::from_le_bytes(image[0x3c..0x3e].try_into().unwrap()) as usize;
        for field in 0..count * 8 {
            let mut bytes = image.clone();
            bytes[table + field * 8..table + field * 8 + 8].fill(0xff);
            survive(&workshop, &bytes, &offsets);
        }
    }
}
