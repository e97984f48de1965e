//! Tables of symbols that are cut: what is missing is an error of its file, counted once, and never another name.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::ops::Range;
use std::process::Command;

use object::LittleEndian;
use object::elf::{FileHeader64, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader};
use support::{Function, Workshop, file_offset, functions, run};
use symbolizer::{FileError, FileFailure, Module, Options, Symbolizer};

/// A program with a table of symbols and no debug information.
struct Subject {
    workshop: Workshop,
    image: Vec<u8>,
    functions: Vec<Function>,
    offsets: Vec<u64>,
}

impl Subject {
    fn new() -> Self {
        let workshop = Workshop::new();
        let image = std::fs::read(workshop.c_program("program", &["-O2"])).unwrap();
        let functions = functions(&image);
        let offset = |function: &Function| file_offset(&image, function.address);
        let offsets = functions.iter().map(offset).collect();
        assert!(functions.len() >= 5);
        Self {
            workshop,
            functions,
            offsets,
            image,
        }
    }

    /// Asks for each function by its first address in a file of these bytes: how many have their name, where the others have none,
    /// and what is said of the file. Nothing if it is not taken for a program at all.
    fn ask(&self, bytes: &[u8]) -> Option<(usize, Vec<FileFailure>)> {
        let path = self.workshop.path("cut");
        std::fs::write(&path, bytes).unwrap();
        let module = Module::open(File::open(&path).unwrap(), "cut").ok()?;
        let mut symbolizer = Symbolizer::new(Options::default());
        let mut named = 0;
        // Twice, because nothing is to be reported twice.
        for answers in
            [&self.offsets, &self.offsets].map(|offsets| symbolizer.user(&module, offsets))
        {
            named = 0;
            for (function, answer) in self.functions.iter().zip(&answers) {
                let name = &*answer.frames[0].system_name;
                if answer.named {
                    assert_eq!(name, function.name);
                    named += 1;
                } else {
                    let place = module.elf_address(file_offset(&self.image, function.address));
                    assert_eq!(name, format!("cut+{:#x}", place.unwrap()));
                }
            }
        }
        Some((named, symbolizer.take_failures()))
    }

    /// How many symbols are local to their files, and of the table of symbols and that of its names, where their headers are, and
    /// how many bytes they have.
    fn tables(&self) -> (u64, [(usize, u64); 2]) {
        let header = FileHeader64::<LittleEndian>::parse(&*self.image).unwrap();
        let sections = header.sections(LittleEndian, &*self.image).unwrap();
        let sections: Vec<_> = sections.iter().collect();
        let symbols = sections
            .iter()
            .position(|section| section.sh_type(LittleEndian) == SHT_SYMTAB)
            .unwrap();
        let names = sections[symbols].sh_link(LittleEndian) as usize;
        let locals = sections[symbols].sh_info(LittleEndian).into();
        let tables = [symbols, names].map(|index| {
            let at = header.e_shoff(LittleEndian) as usize + index * size_of_val(sections[index]);
            (at, sections[index].sh_size(LittleEndian))
        });
        (locals, tables)
    }

    /// Asks in the program with another size written into the header of one of its sections.
    fn ask_with_size(&self, header: usize, size: u64) -> (usize, Vec<FileFailure>) {
        const SH_SIZE: Range<usize> = 0x20..0x28;
        let mut bytes = self.image.clone();
        bytes[header + SH_SIZE.start..header + SH_SIZE.end].copy_from_slice(&size.to_le_bytes());
        self.ask(&bytes).unwrap()
    }
}

/// What is said where the table itself is damaged.
fn damaged() -> Vec<FileFailure> {
    let what = "a part of them is damaged".to_owned();
    vec![FileFailure {
        module: "cut".into(),
        error: FileError::Symbols(what),
    }]
}

/// A file that ends anywhere: no function has another's name, and one without its name is reported.
#[test]
fn a_file_that_ends_too_early() {
    let subject = Subject::new();
    assert_eq!(
        subject.ask(&subject.image),
        Some((subject.functions.len(), Vec::new()))
    );
    let mut reported = 0;
    for length in (0..subject.image.len()).step_by(61) {
        let Some((named, failures)) = subject.ask(&subject.image[..length]) else {
            continue;
        };
        assert!(named < subject.functions.len(), "{length}");
        assert_eq!(failures.len(), 1, "{length}: {failures:?}");
        reported += 1;
    }
    assert!(reported > 100, "{reported}");
}

/// A table of symbols that is said to be shorter is reported; unless it ends between two of those that other files may use, where nothing
/// shows that there were more.
#[test]
fn a_table_of_symbols_that_ends_too_early() {
    const SYMBOL: u64 = 24;
    let subject = Subject::new();
    let (locals, [(header, size), _]) = subject.tables();
    for size in (1..size).filter(|size| size % SYMBOL != 0 || size / SYMBOL < locals) {
        let (named, failures) = subject.ask_with_size(header, size);
        assert_eq!(failures, damaged(), "{size}");
        assert!(named < subject.functions.len());
    }
}

/// A table of names that is said to be shorter: a name that it ends within is none, and is reported.
#[test]
fn a_table_of_names_that_ends_too_early() {
    let subject = Subject::new();
    let (_, [_, (header, size)]) = subject.tables();
    let mut reported = 0;
    for size in 1..size {
        let (named, failures) = subject.ask_with_size(header, size);
        if named < subject.functions.len() {
            assert_eq!(failures, damaged(), "{size}");
            reported += 1;
        }
    }
    assert!(reported > 50, "{reported}");
}

/// Names of any bytes are shown as valid UTF-8, by symbols and by debug information that is compressed. blazesym, which reads what is not, gives
/// up such a name with its line: that is reported, and the name is the symbol's.
#[test]
fn names_of_any_bytes() {
    for (arguments, is_compressed, reported) in [
        (&["-O2"][..], false, 0),
        (&["-O2", "-g"], false, 1),
        (&["-O2", "-g"], true, 0),
    ] {
        let workshop = Workshop::new();
        let program = workshop.c_program("program", arguments);
        let mut image = std::fs::read(&program).unwrap();
        let function = functions(&image);
        let function = function.iter().find(|function| function.name == "exported");
        let offset = file_offset(&image, function.unwrap().address);
        let mut places = 0;
        for at in 0..image.len() - 9 {
            if &image[at..at + 9] == b"exported\0" {
                image[at + 2] = 0xff;
                places += 1;
            }
        }
        assert!(places > 0);
        std::fs::write(&program, &image).unwrap();
        if is_compressed {
            run(Command::new("objcopy")
                .arg("--compress-debug-sections=zlib")
                .arg(&program));
            assert!(std::fs::metadata(&program).unwrap().len() < image.len() as u64);
        }
        let module = Module::open(File::open(&program).unwrap(), "program").unwrap();
        let mut symbolizer = Symbolizer::new(Options::default());
        let answers = symbolizer.user(&module, &[offset]);
        let outermost = answers[0].frames.last().unwrap();
        assert_eq!(&*outermost.name, "ex\u{fffd}orted");
        assert_eq!(outermost.line > 0, is_compressed);
        assert_eq!(symbolizer.take_failures().len(), reported);
    }
}
