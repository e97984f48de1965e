//! What arrives at a server that is to find the names itself.

use crate::busy;
use fixtures::Program;
use pprof_proto::pprof::{Location, Mapping, Profile};
use std::process::Command;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::machine::{Machine, skipped};
use tests::pyroscope::{Pyroscope, Stored};

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).unwrap()]
}

fn locations<'p>(profile: &'p Profile, mapping: &Mapping) -> Vec<&'p Location> {
    let locations = profile.location.iter();
    locations
        .filter(|location| location.mapping_id == mapping.id)
        .collect()
}

/// What a mapping says that it has: functions, files, lines, inlined functions.
fn flags(mapping: &Mapping) -> [bool; 4] {
    [
        mapping.has_functions,
        mapping.has_filenames,
        mapping.has_line_numbers,
        mapping.has_inline_frames,
    ]
}

/// With `--symbols none` the places of a program are pushed as addresses in a mapping of its file, with the build id that readelf shows and no
/// functions; each mapping says truly whether it has functions, and no other rule of the server's is broken.
#[test]
fn places_arrive_without_names() {
    if skipped("places_arrive_without_names") {
        return;
    }
    let _machine = Machine::shared();
    let server = Pyroscope::start();
    let url = server.url();
    let agent = Agent::start(&[
        "--symbols",
        "none",
        "--pyroscope-url",
        &url,
        "--push-interval",
        "5s",
    ]);
    busy("1.5").finish().unwrap();
    let is_busy = |stored: &Stored| stored.labels["service_name"] == "busy";
    let stored = wait_for("a profile of busy", || {
        let stored = server.stored();
        stored.iter().any(is_busy).then_some(stored)
    });
    // Pyroscope has names of places found where it is set up for it; else this is what it would say, and nothing else.
    for loss in server.losses() {
        assert!(loss.contains("locations have no line"), "{loss}");
    }
    assert_eq!(agent.metric("thermograph_profiles_unsound_total"), 0.0);

    // The kernel and files without a build id still have the names that this host knows.
    for Stored { profile, .. } in &stored {
        for mapping in &profile.mapping {
            let locations = locations(profile, mapping);
            let mut locations = locations.iter();
            let has_functions = locations.any(|location| !location.line.is_empty());
            let name = text(profile, mapping.filename);
            assert_eq!(mapping.has_functions, has_functions, "{name}");
        }
    }

    let file = Program::Busy.path();
    let readelf = Command::new("readelf").arg("-n").arg(&file).output();
    let notes = String::from_utf8(readelf.unwrap().stdout).unwrap();
    let mut places = 0;
    for Stored { profile, .. } in stored.iter().filter(|stored| is_busy(stored)) {
        for mapping in &profile.mapping {
            // The whole path, so that it can be opened.
            if file != *text(profile, mapping.filename) {
                continue;
            }
            let id = text(profile, mapping.build_id);
            assert!(
                !id.is_empty() && notes.contains(&format!("Build ID: {id}\n")),
                "{id}"
            );
            assert_eq!(flags(mapping), [false; 4]);
            for location in locations(profile, mapping) {
                assert_eq!(location.line, []);
                let within = mapping.memory_start..mapping.memory_limit;
                assert!(within.contains(&location.address), "{location:?}");
                places += 1;
            }
        }
    }
    assert!(places > 0, "busy has no place of its own");
}
