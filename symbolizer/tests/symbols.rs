//! Which of a file's symbols is at an address, judged by the table as `object` and nm read it.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use object::{Object, ObjectSection};
use support::{Workshop, file_offset, functions, open, run};
use symbolizer::{Options, Symbolizer};

/// Names without debug information; nothing where there is none. They are the same without an index, with one, which is made when a file is asked about
/// a second time, and by the symbols that were given then.
fn names(path: &Path, addresses: &[u64]) -> Vec<Option<String>> {
    let image = std::fs::read(path).unwrap();
    let offsets: Vec<u64> = addresses
        .iter()
        .map(|&address| file_offset(&image, address))
        .collect();
    let options = Options {
        cache_bytes: 0,
        ..Options::default()
    };
    let workshop = Workshop::new();
    let bare = workshop.path("bare");
    run(Command::new("strip")
        .arg("-g")
        .arg("-o")
        .arg(&bare)
        .arg(path));
    let (mut symbolizer, module) = (Symbolizer::new(options), open(&bare));
    let answers = symbolizer.user(&module, &offsets);
    for _ in 0..2 {
        assert_eq!(symbolizer.user(&module, &offsets), answers);
    }
    let name = |answer: &symbolizer::Symbolized| answer.frames[0].system_name.to_string();
    answers
        .iter()
        .map(|answer| answer.named.then(|| name(answer)))
        .collect()
}

/// Every function of a program of thousands, at its first, middle and last byte, and the bytes before and after it: the name
/// is one of those that the table gives to this byte, and there is none where the table has none.
#[test]
fn every_function_of_a_large_program() {
    let program = std::env::current_exe().unwrap();
    let image = std::fs::read(&program).unwrap();
    let functions = functions(&image);
    assert!(functions.len() > 2_000, "{}", functions.len());
    let places = functions.iter().flat_map(|function| {
        let (first, last) = (function.address, function.address + function.size - 1);
        [first - 1, first, first + function.size / 2, last, last + 1]
    });
    let module = open(&program);
    let segments: Vec<_> = module.segments().collect();
    let is_code = |address: &u64| {
        let mut segments = segments.iter();
        segments.any(|segment| (segment.start..segment.limit).contains(address))
    };
    let addresses: BTreeSet<u64> = places.filter(is_code).collect();
    let addresses: Vec<u64> = addresses.into_iter().collect();
    let mut nameless = 0;
    for (address, name) in addresses.iter().zip(names(&program, &addresses)) {
        let covering: Vec<&str> = functions
            .iter()
            .filter(|function| {
                (function.address..function.address + function.size).contains(address)
            })
            .map(|function| &*function.name)
            .collect();
        match name {
            Some(name) if !covering.is_empty() => {
                assert!(
                    covering.contains(&&*name),
                    "{address:#x}: {name}, not {covering:?}"
                )
            }
            // Only a symbol without a size may be there, such as `_init`.
            Some(name) => assert!(
                functions.iter().all(|function| function.name != name),
                "{address:#x}: {name} ends before"
            ),
            None => {
                assert!(
                    covering.is_empty(),
                    "{address:#x}: nothing, not {covering:?}"
                );
                nameless += 1;
            }
        }
    }
    assert!(nameless > 0);
}

/// The names of a file that is asked about again are read once: one that was given stays where another place of its function is asked
/// about, whatever has become of the file.
#[test]
fn names_are_read_once() {
    let workshop = Workshop::new();
    let source = "int first(int x) { return x * 3; }\nint other(int x) { return x * 5; }\nint main(void) { return 0; }\n";
    let program = workshop.compile("cc", source, "once", &["-O0"]);
    let image = std::fs::read(&program).unwrap();
    let functions = functions(&image);
    let place = |name: &str, byte: u64| {
        let function = functions.iter().find(|function| function.name == name);
        file_offset(&image, function.unwrap().address + byte)
    };
    let file = object::File::parse(&*image).unwrap();
    let strings = file.section_by_name(".strtab").unwrap();
    let (start, size) = strings.file_range().unwrap();
    for (budget, then) in [(16 << 20, "first"), (0, "xxxxx")] {
        let copy = workshop.path("copy");
        std::fs::write(&copy, &image).unwrap();
        let mut symbolizer = Symbolizer::new(Options {
            debug_bytes: budget,
            ..Options::default()
        });
        let module = open(&copy);
        let mut name = |place| {
            symbolizer.user(&module, &[place])[0].frames[0]
                .name
                .to_string()
        };
        assert_eq!(name(place("main", 0)), "main");
        assert_eq!(name(place("first", 0)), "first");
        let mut changed = image.clone();
        let strings = &mut changed[start as usize..][..size as usize];
        for byte in strings.iter_mut().filter(|byte| **byte != 0) {
            *byte = b'x';
        }
        // In place: the file that is open is the one that changes.
        let file = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
        file.write_all_at(strings, start).unwrap();
        assert_eq!(name(place("first", 1)), then);
        assert_eq!(name(place("other", 1)), "xxxxx");
    }
}

/// Assembly: a symbol without a size reaches to the next one, a label within a function takes nothing of it, and behind the
/// end of a function nothing has its name.
#[test]
fn assembly() {
    let workshop = Workshop::new();
    let source = r#"
        asm(".text\n.globl begin\nbegin:\n.zero 32\n"
            ".globl sized\n.type sized,@function\nsized:\n.zero 8\nlabel:\n.zero 8\n.size sized,.-sized\n.zero 16\n"
            ".globl after\nafter:\n.zero 32\n"
            ".globl end\n.type end,@function\nend:\n.zero 8\n.size end,.-end\n");
        int main(void) { return 0; }
    "#;
    let program = workshop.compile("cc", source, "assembly", &[]);
    let list = String::from_utf8(run(Command::new("nm").arg(&program))).unwrap();
    let begin = list.lines().find(|line| line.ends_with(" begin")).unwrap();
    let begin = u64::from_str_radix(begin.split(' ').next().unwrap(), 16).unwrap();
    let expected = [
        (0, Some("begin")),
        (31, Some("begin")),
        (32, Some("sized")),
        (40, Some("sized")),
        (47, Some("sized")),
        (48, None),
        (63, None),
        (64, Some("after")),
        (95, Some("after")),
        (96, Some("end")),
        (103, Some("end")),
    ];
    let addresses = expected.map(|(distance, _)| begin + distance);
    let found = names(&program, &addresses);
    let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, expected.map(|(_, name)| name));
}
