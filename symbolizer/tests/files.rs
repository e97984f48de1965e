//! Files as a profiler meets them: deleted, closed, replaced, damaged, without symbols, in memory only.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSection};
use support::{Workshop, file_offset, functions, open, run};
use symbolizer::{FileError, FileFailure, Module, ModuleError, Options, Symbolizer};

/// The offset of the first byte of a function.
fn offset_of(image: &[u8], name: &str) -> u64 {
    let function = functions(image)
        .into_iter()
        .find(|function| function.name == name)
        .unwrap();
    file_offset(image, function.address)
}

fn name_at(symbolizer: &mut Symbolizer, module: &Module, offset: u64) -> String {
    symbolizer.user(module, &[offset])[0]
        .frames
        .last()
        .unwrap()
        .name
        .to_string()
}

/// Build id, segments and addresses are those that readelf prints.
#[test]
fn facts_agree_with_readelf() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-g", "-Wl,--build-id=0x0123456789abcdef01"]);
    let module = open(&program);
    assert_eq!(
        module.build_id().map(|id| &**id),
        Some("0123456789abcdef01")
    );
    assert!(
        open(&workshop.c_program("nameless", &["-Wl,--build-id=none"]))
            .build_id()
            .is_none()
    );

    let text = String::from_utf8(run(Command::new("readelf").args(["-lW"]).arg(&program))).unwrap();
    let code = text
        .lines()
        .find(|line| line.contains("LOAD") && line.contains("R E"))
        .unwrap();
    let number = |column: usize| {
        u64::from_str_radix(
            code.split_whitespace()
                .nth(column)
                .unwrap()
                .trim_start_matches("0x"),
            16,
        )
        .unwrap()
    };
    let (offset, address, file_size, memory_size) = (number(1), number(2), number(4), number(5));
    let segments: Vec<_> = module.segments().collect();
    assert_eq!(segments.len(), 1);
    assert_eq!(
        (
            segments[0].start,
            segments[0].limit,
            segments[0].file_offset
        ),
        (address, address + memory_size, offset)
    );
    assert_eq!(module.elf_address(offset), Some(address));
    assert_eq!(
        module.elf_address(offset + file_size - 1),
        Some(address + file_size - 1)
    );
    assert_eq!(module.elf_address(offset + file_size), None);
    assert_eq!(module.elf_address(offset - 1), None);
    assert_eq!(module.elf_address(u64::MAX), None);
}

/// A file that was deleted, with another put in its place, is named as it was.
#[test]
fn a_deleted_file_is_still_named() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let image = std::fs::read(&program).unwrap();
    let module = open(&program);
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "something else").unwrap();
    let answers = Symbolizer::new(Options::default()).user(&module, &[offset_of(&image, "leaf")]);
    assert_eq!(&*answers[0].frames.last().unwrap().name, "leaf");
    assert!(
        answers[0].frames.last().unwrap().file.is_some(),
        "lines are lost with the path"
    );
}

/// A descriptor number that is used again never answers with the former file's names: neither from the cache of answers nor
/// from what blazesym remembers.
#[test]
fn a_reused_descriptor_does_not_mix_files() {
    let workshop = Workshop::new();
    let pad = "__attribute__((noinline)) int NAME(int x) { return x * 3 + 1; } int main(int c, char **v) { return NAME(c); }";
    let programs = ["first", "second"]
        .map(|name| workshop.compile("cc", &pad.replace("NAME", name), name, &["-g"]));
    let image = std::fs::read(&programs[0]).unwrap();
    let offset = offset_of(&image, "first");
    let mut symbolizer = Symbolizer::new(Options::default());
    // Other tests open and close files beside this one, so the same number is tried for until it comes.
    let mut reused = 0;
    for _ in 0..10_000 {
        let first = open(&programs[0]);
        let number = first.file().as_raw_fd();
        assert_eq!(name_at(&mut symbolizer, &first, offset), "first");
        drop(first);
        let second = open(&programs[1]);
        reused += u32::from(second.file().as_raw_fd() == number);
        assert_eq!(name_at(&mut symbolizer, &second, offset), "second");
        if reused == 3 {
            return;
        }
    }
    panic!("no descriptor number was ever reused");
}

/// Of many files with debug information only some fit; what was let go is read again, and rightly.
#[test]
fn files_beyond_the_budget_are_read_again() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let image = std::fs::read(&program).unwrap();
    let modules: Vec<Module> = (0..20).map(|_| open(&program)).collect();
    let options = Options {
        // Room for one, or a few, as sections are less than the file.
        debug_bytes: image.len() as u64,
        cache_bytes: 0,
    };
    let mut symbolizer = Symbolizer::new(options);
    let before = mappings_of(&program);
    for module in modules.iter().chain(&modules) {
        let answers = symbolizer.user(module, &[offset_of(&image, "leaf")]);
        let frame = answers[0].frames.last().unwrap();
        assert_eq!((&*frame.name, frame.line > 0), ("leaf", true));
        assert!(mappings_of(&program) - before < 10);
    }
}

/// Of a file without debug information nothing stays mapped, and nothing needs to be.
#[test]
fn symbols_are_read_without_a_mapping() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2"]);
    let image = std::fs::read(&program).unwrap();
    let module = open(&program);
    let mut symbolizer = Symbolizer::new(Options::default());
    let leaf = offset_of(&image, "leaf");
    assert_eq!(name_at(&mut symbolizer, &module, leaf), "leaf");
    assert_eq!(mappings_of(&program), 0);
}

/// How often this process maps a file.
fn mappings_of(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.matches(path.to_str().unwrap()).count()
}

/// An answer is made once: asked again, in whatever order and how often, it is the same object.
#[test]
fn answers_come_from_the_cache_in_the_order_asked() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let image = std::fs::read(&program).unwrap();
    let module = open(&program);
    let [leaf, f, outside] = [offset_of(&image, "leaf"), offset_of(&image, "f"), 1 << 40];
    let mut symbolizer = Symbolizer::new(Options::default());
    let first = symbolizer.user(&module, &[leaf, outside, f, leaf]);
    let names: Vec<&str> = first
        .iter()
        .map(|answer| &*answer.frames.last().unwrap().name)
        .collect();
    assert_eq!(names, ["leaf", "program+0x10000000000", "f", "leaf"]);
    assert_eq!(
        (first[1].mapping.as_ref(), first[1].address, first[1].named),
        (None, outside, false)
    );
    let second = symbolizer.user(&module, &[f, leaf]);
    assert!(Arc::ptr_eq(&second[0], &first[2]) && Arc::ptr_eq(&second[1], &first[0]));
    assert!(symbolizer.user(&module, &[]).is_empty());
}

/// Debug information beyond the budget is not read, also where it becomes so by its decompression; a link to another file (here to a pipe,
/// on which opening waits for ever) is not followed where there is no need. The names are there without, and what is too much is told once.
#[test]
fn debug_information_that_may_not_be_read_costs_lines_only() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let compressed = workshop.c_program("compressed", &["-O2", "-g", "-gz"]);
    let linked = workshop.path("linked");
    let link = workshop.path("pipe");
    std::fs::write(&link, "to be replaced").unwrap();
    let argument = format!("--add-gnu-debuglink={}", link.display());
    run(Command::new("objcopy")
        .arg(argument)
        .arg(&program)
        .arg(&linked));
    std::fs::remove_file(&link).unwrap();
    run(Command::new("mkfifo").arg(&link));

    for (path, debug_bytes, lines) in [
        (&program, u64::MAX, true),
        (&program, 0, false),
        (&compressed, u64::MAX, true),
        (&compressed, unpacked_bytes(&program) - 1, false),
        (&linked, u64::MAX, true),
    ] {
        let module = open(path);
        let image = std::fs::read(path).unwrap();
        let mut symbolizer = Symbolizer::new(Options {
            debug_bytes,
            ..Options::default()
        });
        for name in ["leaf", "f"] {
            let answers = symbolizer.user(&module, &[offset_of(&image, name)]);
            let frame = answers[0].frames.last().unwrap();
            assert_eq!(
                (&*frame.name, frame.file.is_some(), frame.line > 0),
                (name, lines, lines),
                "{}",
                path.display()
            );
        }
        let failures = symbolizer.take_failures().into_iter();
        let errors: Vec<FileError> = failures.map(|failure| failure.error).collect();
        let told = (!lines).then_some(FileError::TooMuchDebugInfo);
        assert_eq!(errors, Vec::from_iter(told));
    }
}

/// Size of the debug sections that names and lines are in.
fn unpacked_bytes(program: &Path) -> u64 {
    let image = std::fs::read(program).unwrap();
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
    let sizes = "info abbrev line line_str str str_offsets addr aranges ranges rnglists"
        .split(' ')
        .filter_map(|name| elf.section_by_name(&format!(".debug_{name}")));
    sizes.map(|section| section.size()).sum()
}

/// Garbage for debug information costs lines and is reported once; the names come from the symbols.
#[test]
fn damaged_debug_information_costs_lines_only() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let mut image = std::fs::read(&program).unwrap();
    let [leaf, f] = [offset_of(&image, "leaf"), offset_of(&image, "f")];
    for section in [".debug_info", ".debug_abbrev"] {
        let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
        let (start, size) = elf.section_by_name(section).unwrap().file_range().unwrap();
        image[start as usize..(start + size) as usize].fill(0xff);
    }
    std::fs::write(&program, &image).unwrap();
    let module = open(&program);
    let mut symbolizer = Symbolizer::new(Options::default());
    for (offset, name) in [(leaf, "leaf"), (f, "f")] {
        let frame = symbolizer.user(&module, &[offset])[0].frames[0].clone();
        assert_eq!((&*frame.name, frame.line), (name, 0));
    }
    let failures = symbolizer.take_failures();
    assert!(
        matches!(
            &failures[..],
            [FileFailure {
                error: FileError::DebugInfo(_),
                ..
            }]
        ),
        "{failures:?}"
    );
}

/// A file cut short while it is open loses its names, is reported once, and costs no other file anything.
#[test]
fn a_truncated_file_costs_itself_only() {
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let image = std::fs::read(&program).unwrap();
    let copy = workshop.path("copy");
    std::fs::write(&copy, &image).unwrap();
    let (cut, whole) = (open(&copy), open(&program));
    let [leaf, f] = [offset_of(&image, "leaf"), offset_of(&image, "f")];
    let mut symbolizer = Symbolizer::new(Options::default());
    assert_eq!(name_at(&mut symbolizer, &cut, leaf), "leaf");
    File::options()
        .write(true)
        .open(&copy)
        .unwrap()
        .set_len(4096)
        .unwrap();

    assert_eq!(
        name_at(&mut symbolizer, &cut, leaf),
        "leaf",
        "a name once given does not change"
    );
    let address = cut.elf_address(f).unwrap();
    for _ in 0..2 {
        let answer = symbolizer.user(&cut, &[f]).remove(0);
        assert_eq!(
            (&*answer.frames[0].name, answer.named),
            (&*format!("copy+{address:#x}"), false)
        );
    }
    symbolizer.user(&cut, &[f + 1]);
    let failures = symbolizer.take_failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (&*failures[0].module, &failures[0].error),
        (copy.to_str().unwrap(), &FileError::Truncated)
    );
    assert!(symbolizer.take_failures().is_empty());
    assert_eq!(name_at(&mut symbolizer, &whole, leaf), "leaf");
}

/// What is no 64-bit little-endian ELF file is refused, and the refusal says what it is.
#[test]
fn other_files_are_refused_by_name() {
    let workshop = Workshop::new();
    let program = std::fs::read(workshop.c_program("program", &[])).unwrap();
    let refused = |bytes: &[u8]| {
        let path = workshop.path("refused");
        std::fs::write(&path, bytes).unwrap();
        Module::open(File::open(&path).unwrap(), "refused").unwrap_err()
    };
    let with = |index: usize, value: u8| {
        let mut bytes = program.clone();
        bytes[index] = value;
        bytes
    };
    assert!(matches!(refused(&with(4, 1)), ModuleError::Bits32 { .. }));
    assert!(
        refused(&with(4, 1))
            .to_string()
            .starts_with("refused is a 32-bit program")
    );
    assert!(matches!(
        refused(&with(5, 2)),
        ModuleError::BigEndian { .. }
    ));
    assert!(matches!(refused(b""), ModuleError::NotElf { .. }));
    assert!(matches!(
        refused(b"#!/bin/sh\nexit 0\n"),
        ModuleError::NotElf { .. }
    ));
    assert!(matches!(
        refused(&program[..40]),
        ModuleError::Malformed { .. }
    ));
    assert!(matches!(
        refused(&program[..100]),
        ModuleError::Malformed { .. }
    ));
    let directory = Module::open(File::open("/tmp").unwrap(), "/tmp").unwrap_err();
    assert!(matches!(directory, ModuleError::NotRegular { .. }));
    let device = Module::open(File::open("/dev/zero").unwrap(), "/dev/zero").unwrap_err();
    assert!(matches!(device, ModuleError::NotRegular { .. }));
}

/// The vDSO's functions, as `object` reads them from the image, and under the file offset that a process sees.
#[test]
fn vdso() {
    let module = Module::vdso().unwrap();
    let mut image = Vec::new();
    std::io::Read::read_to_end(
        &mut File::open(format!("/proc/self/fd/{}", module.file().as_raw_fd())).unwrap(),
        &mut image,
    )
    .unwrap();
    let exported = functions(&image);
    assert!(
        exported
            .iter()
            .any(|function| function.name.contains("clock_gettime")),
        "{exported:?}"
    );
    let mut symbolizer = Symbolizer::new(Options::default());
    for function in &exported {
        let name = name_at(
            &mut symbolizer,
            &module,
            file_offset(&image, function.address),
        );
        let aliases: Vec<&str> = (exported.iter())
            .filter(|alias| alias.address == function.address)
            .map(|alias| &*alias.name)
            .collect();
        assert!(aliases.contains(&&*name), "{name} is none of {aliases:?}");
    }
    let build_id = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image)
        .unwrap()
        .build_id()
        .unwrap()
        .map(|id| {
            id.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
    assert_eq!(module.build_id().map(|id| id.to_string()), build_id);
    assert_eq!(&**module.name(), "[vdso]");
}
