//! Our stacks of programs that are held in the middle of their work, frame by frame beside framehop's walks of the same stacks.

use super::code::Place;
use super::interrupted::{Interruptions, Walk, interrupted, prefix};
use crate::verdict::{is_cut, none};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;
use tests::machine::{Machine, say, skipped};
use tests::stacks::{Frame, Stack, Stacks};
use tests::thermograph::Run;

/// So many of the frames may differ, 0 to 1.
const MAY_DIFFER: f64 = 0.001;

/// Programs by a name, as shell commands; `$inputs` is where the fixed inputs are.
const PROGRAMS: [(&str, &str); 6] = [
    ("python3", "/usr/bin/python3 $inputs/work.py"),
    ("node", "node $inputs/work.js"),
    ("clang++", "clang++ -std=c++17 -O2 -c $inputs/compile.cpp"),
    ("g++", "g++ -std=c++17 -O2 -c $inputs/compile.cpp"),
    (
        "rustc",
        "rustc --edition 2021 -O --crate-type rlib $inputs/compile.rs",
    ),
    (
        "openssl",
        "openssl speed -seconds 1 rsa2048 ecdsap256 sha256",
    ),
];

/// Runs all of them, one after the other, interrupted; each leaves its interruptions in the directory of its name.
fn record(directory: &Path) -> Stacks {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/inputs");
    let (to, from) = (directory.display(), inputs.display());
    let mut script = format!("cd '{to}'; inputs='{from}'; ");
    for (name, command) in PROGRAMS {
        let prefix = prefix(&directory.join(name));
        script += &format!("mkdir {name}; {prefix} timeout 3 {command}; ");
    }
    let run = Run::new(["record", "-F", "997", "--", "sh", "-c", &(script + "true")]);
    run.finish().succeeded().stacks()
}

/// What came of holding some stacks against framehop's.
#[derive(Debug, Default)]
struct Compared {
    stacks: usize,
    /// Stacks that are not compared, because ours says that frame pointers have skipped frames.
    skipping: usize,
    /// Stacks that are not compared, because framehop guesses.
    guessed: usize,
    /// Frames of ours, without those that framehop does not get to.
    frames: usize,
    /// Those that framehop does not get to: behind a frame of another signal, and on another stack than the leaf's, where rustc
    /// changes it, because but one is kept.
    further: usize,
    /// Those from the first on that is not framehop's.
    differing: usize,
    /// The stacks with such.
    different: Vec<String>,
}

impl Compared {
    /// Adds a stack, leaf first; of one that is cut the frames that are missing are not wrong.
    fn add(&mut self, ours: &[Place], theirs: &[Place], is_cut: bool) {
        let pairs = ours.iter().zip(theirs);
        let same = pairs.take_while(|(our, their)| our == their).count();
        self.stacks += 1;
        if same == theirs.len() {
            self.frames += same;
            self.further += ours.len() - same;
        } else if same == ours.len() && is_cut {
            self.frames += same;
        } else {
            self.frames += ours.len();
            self.differing += (ours.len() - same).max(1);
            self.different.push(format!(
                "{:x?}\n    ours     {:x?}\n    theirs   {:x?}",
                &ours[..same],
                &ours[same..],
                &theirs[same..]
            ));
        }
    }
}

/// Whether a stack says that it is one of frame pointers only, where the program had just begun.
fn skips_frames(stack: &Stack) -> bool {
    stack.frames[0].name.starts_with("[frame pointers only")
}

/// The places in files of some of our frames.
fn places(frames: &[&Frame]) -> Vec<Place> {
    let in_files = frames.iter().filter(|frame| !frame.name.starts_with('['));
    in_files
        .map(|frame| (frame.module.clone(), frame.address))
        .collect()
}

/// Holds those of some stacks that are of interruptions against what these have left in a directory.
fn compare(stacks: &Stacks, directory: &Path) -> Compared {
    let mut interruptions = Interruptions::of(directory.to_owned());
    let (mut compared, mut seen) = (Compared::default(), BTreeSet::new());
    for stack in &stacks.stacks {
        let Some((number, frames)) = interrupted(stack) else {
            continue;
        };
        let ours = places(&frames);
        // It is held in more than one place.
        if !seen.insert((stack.pid(), number, ours.clone())) {
            continue;
        }
        match interruptions.walk(stack.pid(), number) {
            Some(Walk::Known(_)) if skips_frames(stack) => compared.skipping += 1,
            Some(Walk::Known(theirs)) => compared.add(&ours, &theirs, is_cut(stack)),
            Some(Walk::Guessed) => compared.guessed += 1,
            None => {}
        }
    }
    compared
}

/// Of all frames below which six programs of a host are held, in compilers, interpreters and made code, 99.9 % are framehop's.
#[test]
fn framehop_agrees_on_the_same_stacks() {
    if skipped("framehop_agrees_on_the_same_stacks") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let stacks = {
        let _machine = Machine::alone();
        record(directory.path())
    };
    let mut faults = Vec::new();
    for (name, _) in PROGRAMS {
        let compared = compare(&stacks, &directory.path().join(name));
        say(&format!(
            "{name:8} {:5} stacks: {:6} frames, {} of them not framehop's; {} frames further than framehop; \
             not compared: {} stacks by frame pointers only, {} that framehop guesses",
            compared.stacks,
            compared.frames,
            compared.differing,
            compared.further,
            compared.skipping,
            compared.guessed
        ));
        if compared.stacks < 50 {
            faults.push(format!("{name}: {} stacks", compared.stacks));
        }
        if compared.differing as f64 > MAY_DIFFER * compared.frames as f64 {
            faults.push(format!("{name}:\n{}", compared.different.join("\n")));
        }
    }
    none(&faults);
}
