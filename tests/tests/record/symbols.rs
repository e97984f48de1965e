//! What a profile says of its mappings, and that a reader who has the files gives addresses the names that this host does.

use crate::{GO_CACHE, path};
use fixtures::{Program, library};
use pprof_proto::pprof::{Location, Mapping, Profile};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::go_tool;
use tests::machine::{Machine, skipped};
use tests::thermograph::{Finished, Run};

/// Files of C, which `go tool pprof` reads well; of C++ it shows the last parts of names only.
fn files() -> [PathBuf; 4] {
    [
        Program::SharesC.path(),
        Program::SharesStatic.path(),
        library("liblinked.so"),
        library("libloaded.so"),
    ]
}

fn record(symbols: &str) -> (Finished, Profile) {
    let [a, b, c] = [
        Program::SharesC,
        Program::SharesStatic,
        Program::UsesLibrary,
    ]
    .map(path);
    let load = format!("{a} 2 & {b} 2 & {c} 2 & wait");
    let finished = Run::new([
        "record",
        "--symbols",
        symbols,
        "-F",
        "499",
        "-o",
        "x.pb.gz",
        "--",
        "sh",
        "-c",
        &load,
    ])
    .finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let bytes = fs::read(finished.file()).unwrap();
    let profile = pprof_proto::encode::decode(&bytes, 64 << 20).unwrap();
    (finished, profile)
}

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).unwrap()]
}

/// The mapping of each file that has one, with its locations.
fn of_files<'p>(profile: &'p Profile, files: &[PathBuf]) -> Vec<(&'p Mapping, Vec<&'p Location>)> {
    let is_of = |mapping: &Mapping, file: &Path| file.ends_with(text(profile, mapping.filename));
    let mappings = profile.mapping.iter();
    let mappings = mappings.filter(|mapping| files.iter().any(|file| is_of(mapping, file)));
    mappings
        .map(|mapping| (mapping, locations(profile, mapping)))
        .collect()
}

fn locations<'p>(profile: &'p Profile, mapping: &Mapping) -> Vec<&'p Location> {
    let locations = profile.location.iter();
    locations
        .filter(|location| location.mapping_id == mapping.id)
        .collect()
}

/// What each mapping says that it has is what its locations have.
fn assert_flags_are_true(profile: &Profile) {
    for mapping in &profile.mapping {
        let locations = locations(profile, mapping);
        let lines = || locations.iter().flat_map(|location| &location.line);
        let has_file = lines().any(|line| {
            let mut functions = profile.function.iter();
            let function = functions.find(|function| function.id == line.function_id);
            function.unwrap().filename != 0
        });
        assert_eq!(
            [
                mapping.has_functions,
                mapping.has_filenames,
                mapping.has_line_numbers,
                mapping.has_inline_frames
            ],
            [
                lines().next().is_some(),
                has_file,
                lines().any(|line| line.line > 0),
                locations.iter().any(|location| location.line.len() > 1),
            ],
            "{}",
            text(profile, mapping.filename)
        );
    }
}

/// The build id as readelf prints it.
fn build_id(file: &Path) -> String {
    let output = Command::new("readelf")
        .arg("-n")
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, id) = text.split_once("Build ID: ").unwrap();
    id.split_whitespace().next().unwrap().to_owned()
}

/// A location in what `go tool pprof -raw` prints: its address, the number of its mapping, its functions from the innermost on.
#[derive(Debug, Default)]
struct Printed {
    address: u64,
    mapping: usize,
    functions: Vec<String>,
}

fn printed(raw: &str) -> Vec<Printed> {
    let (_, rest) = raw.split_once("\nLocations\n").unwrap();
    let (locations, _) = rest.split_once("\nMappings\n").unwrap();
    let mut printed: Vec<Printed> = Vec::new();
    for line in locations.lines() {
        let mut words = line.split_whitespace();
        if let Some((_, after)) = line.split_once(" M=") {
            let address = words.nth(1).unwrap().trim_start_matches("0x");
            let mut after = after.split_whitespace();
            printed.push(Printed {
                address: u64::from_str_radix(address, 16).unwrap(),
                mapping: after.next().unwrap().parse().unwrap(),
                functions: after.next().map(str::to_owned).into_iter().collect(),
            });
        } else if let (Some(location), Some(function)) = (printed.last_mut(), words.next()) {
            location.functions.push(function.to_owned());
        }
    }
    printed
}

/// Outermost functions by build id and address.
fn names_of(profile: &Profile, raw: &str) -> BTreeMap<(String, u64), String> {
    let named = printed(raw).into_iter().filter_map(|location| {
        let mapping = &profile.mapping[location.mapping - 1];
        let build_id = text(profile, mapping.build_id).to_owned();
        Some((
            (build_id, location.address),
            location.functions.last()?.clone(),
        ))
    });
    named.collect()
}

/// With `--symbols none` places in files are addresses in mappings by which the file and the place in it are found, and that do not claim
/// to have names; `go tool pprof` makes the names of them that a profile with names has.
#[test]
fn readers_find_the_same_names() {
    if skipped("readers_find_the_same_names") {
        return;
    }
    let _machine = Machine::shared();
    let (with_names, local) = record("local");
    let (without, none) = record("none");
    assert_flags_are_true(&local);
    assert_flags_are_true(&none);

    let files = files();
    for (mapping, locations) in of_files(&local, &files) {
        assert!(mapping.has_functions && mapping.has_filenames && mapping.has_line_numbers);
        assert!(locations.iter().all(|location| !location.line.is_empty()));
    }
    let mut seen = BTreeSet::new();
    for (mapping, locations) in of_files(&none, &files) {
        // The whole path, so that it can be opened.
        let file = PathBuf::from(text(&none, mapping.filename));
        assert!(files.contains(&file), "{}", file.display());
        assert_eq!(text(&none, mapping.build_id), build_id(&file));
        assert!(!mapping.has_functions);
        for location in locations {
            assert_eq!(location.line, []);
            let within = mapping.memory_start..mapping.memory_limit;
            assert!(within.contains(&location.address), "{location:?}");
        }
        seen.insert(file);
    }
    assert_eq!(seen.len(), files.len(), "{seen:?}");

    let test = "readers_find_the_same_names";
    let raws = [&with_names, &without];
    let raws = raws.map(|finished| go_tool::raw(test, &finished.file(), GO_CACHE));
    let [Some(with_names), Some(without)] = raws else {
        return;
    };
    let [ours, theirs] = [names_of(&local, &with_names), names_of(&none, &without)];
    let ids: BTreeSet<String> = files.iter().map(|file| build_id(file)).collect();
    let both = theirs.iter().filter(|((id, _), _)| ids.contains(id));
    let both: Vec<_> = both
        .filter_map(|(place, theirs)| Some((place, theirs, ours.get(place)?)))
        .collect();
    for (place, theirs, ours) in &both {
        assert_eq!(theirs, ours, "{place:x?}");
    }
    let names: BTreeSet<&str> = both.iter().map(|(_, name, _)| name.as_str()).collect();
    for function in ["hot_a", "hot_b", "serve", "linked_hot", "loaded_hot"] {
        assert!(names.contains(function), "no {function} among {names:?}");
    }
}

/// The kernel's names and those of what nobody else has come from here all the same.
#[test]
fn only_this_host_knows_its_kernel() {
    if skipped("only_this_host_knows_its_kernel") {
        return;
    }
    let _machine = Machine::shared();
    let load = [path(Program::Syscalls), path(Program::Vdso)].map(|program| format!("{program} 1"));
    let arguments = [
        "record",
        "--symbols",
        "none",
        "--format",
        "folded",
        "-o",
        "x",
        "--",
    ];
    let load = load.join("; ");
    let finished = Run::new(arguments.iter().chain(&["sh", "-c", &load])).finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let folded = fs::read_to_string(finished.file()).unwrap();
    assert!(folded.contains("do_syscall_64_[k]"), "{folded}");
    assert!(folded.contains("clock_gettime"), "{folded}");
    // For people a place without a name is called by its file and address.
    assert!(folded.contains(";syscalls+0x"), "{folded}");
    assert!(!folded.contains("read_zeros"), "{folded}");
}
