//! `thermograph unwind`: its rows beside readelf's, its statistics, what it says to wrong files.

use fixtures::Agreement;
use std::path::Path;
use tests::elf_files::{library, programs};
use tests::machine::say;
use tests::thermograph::{Finished, Run, binary};

fn compare(file: &Path) -> Agreement {
    let listing = unwind(&[file.to_str().unwrap()]).stdout;
    Agreement::of(&listing, file).unwrap()
}

/// Asserts that readelf and `thermograph` agree at every row of readelf's, but for those for which `thermograph` says why, and
/// that no rule goes on behind its function.
fn agree(file: &Path) {
    let found = compare(file);
    say(&format!(
        "{}: {} rows as readelf has them, explained: {:?}",
        file.display(),
        found.equal,
        found.explained
    ));
    assert_eq!(
        (found.different, found.overrun),
        (0, 0),
        "{}: {:#?}",
        file.display(),
        found.examples
    );
    assert!(found.equal > 10, "{}: nothing to compare", file.display());
}

/// Every row of readelf's, of a fixed set of files: C, C++, assembly with its own CFA registers and expressions, Rust, and
/// code for aarch64.
#[test]
fn agrees_with_readelf() {
    let libraries = [
        "libc.so.6",
        "libm.so.6",
        "libstdc++.so.6",
        "libcrypto.so.3",
        "libgcrypt.so.20",
    ];
    for file in libraries.into_iter().filter_map(library) {
        agree(&file);
    }
    for name in ["libc.so.6", "libstdc++.so.6"] {
        let file = Path::new("/usr/aarch64-linux-gnu/lib").join(name);
        if file.exists() {
            agree(&file);
        }
    }
    agree(Path::new("/bin/sh"));
    // Its rules end where its segments do.
    let node = Path::new("/usr/bin/node");
    if node.exists() {
        agree(node);
    }
    agree(&binary());
    agree(&std::env::current_exe().unwrap());
}

fn unwind(args: &[&str]) -> Finished {
    Run::new([&["unwind"], args].concat()).start().finish()
}

/// `--stats` counts the rows that are printed without it.
#[test]
fn statistics() {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let rows = unwind(&[own]).stdout.lines().count();
    let stats = unwind(&["--stats", own]).stdout;
    let words: Vec<&str> = stats.split_whitespace().collect();
    let [
        count,
        "rows,",
        rules,
        "distinct",
        "rules,",
        bytes,
        "bytes",
        each,
        "a",
        "row),",
        ..,
    ] = words[..]
    else {
        panic!("{stats}");
    };
    // Rows that differ in where rbx is look the same, and are printed once.
    let count: usize = count.parse().unwrap();
    assert!((rows..rows + rows / 4).contains(&count), "{stats}");
    let [rules, bytes]: [u32; 2] = [rules, bytes].map(|number| number.parse().unwrap());
    assert!((10..2048).contains(&rules), "{stats}");
    let quotient = format!("({:.2}", f64::from(bytes) / count as f64);
    assert_eq!(each, quotient);
}

/// What is wrong with a file, its name, and what to do about it.
#[test]
fn wrong_files() {
    for (args, expected) in [
        (
            ["/nonexistent"],
            "cannot open /nonexistent: No such file or directory",
        ),
        (["/"], "/ is no file: give a program or a shared library"),
        (
            ["/proc/version"],
            "/proc/version is not an ELF file: give a program or a shared library",
        ),
    ] {
        let run = unwind(&args);
        assert_eq!(run.status.code(), Some(1));
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert_eq!(run.stdout, "");
    }
}

/// As above, whatever is installed.
#[test]
#[ignore = "takes minutes; run it by hand"]
fn agrees_with_readelf_everywhere() {
    let files = programs(&["/usr".into()]);
    let mut all = Agreement::default();
    for file in &files {
        let found = compare(file);
        for example in &found.examples {
            say(&format!("{}: {example}", file.display()));
        }
        all.add(found);
    }
    say(&format!(
        "{} files: {} rows equal, explained {:?}, {} different; behind {} functions a rule goes on",
        files.len(),
        all.equal,
        all.explained,
        all.different,
        all.overrun
    ));
    assert_eq!((all.different, all.overrun), (0, 0));
}
