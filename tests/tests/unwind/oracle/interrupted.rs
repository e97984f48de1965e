//! Programs that are interrupted and held, by a library that is preloaded into them: `fixtures/programs/unwind/interruptions.c`.

use super::code::{Code, Place};
use super::moment::Moment;
use fixtures::unwind::file;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::stacks::{Frame, Stack};

const LIBRARY: &str = "libinterruptions.so";

/// What makes a shell's command one that is interrupted, and leaves what is known of it in `directory`.
pub(super) fn prefix(directory: &Path) -> String {
    format!(
        "INTERRUPTIONS='{}' LD_PRELOAD='{}'",
        directory.display(),
        file(LIBRARY).display()
    )
}

/// The number of the interruption in which a stack of ours was met, and the frames of what was interrupted, leaf first.
/// Nothing of a stack that is of no interruption, or does not reach beyond its handler.
pub(super) fn interrupted(stack: &Stack) -> Option<(u32, Vec<&Frame>)> {
    let user = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| !frame.is_kernel() && !frame.is_inlined);
    let mut frames = user.skip_while(|frame| frame.name != "hold" || frame.module != LIBRARY);
    frames.next()?;
    let mut number = 1;
    loop {
        match frames.next()?.name.as_str() {
            "digit_0" => number *= 2,
            "digit_1" => number = number * 2 + 1,
            "on_interruption" => break,
            _ => return None,
        }
    }
    // The kernel makes the handler return to a function of libc's that ends it.
    frames.next()?;
    Some((number, frames.collect()))
}

/// A walk of framehop's.
pub(super) enum Walk {
    /// The places in files.
    Known(Vec<Place>),
    /// Nothing is known of the function of the leaf, and what lies at its rsp was taken for a return address.
    Guessed,
}

/// What the interruptions of some processes have left, and framehop's walks through it.
pub(super) struct Interruptions {
    directory: PathBuf,
    /// By what is mapped for execution.
    codes: BTreeMap<String, Code>,
}

impl Interruptions {
    /// Those that have left it in a directory.
    pub(super) fn of(directory: PathBuf) -> Interruptions {
        Interruptions {
            directory,
            codes: BTreeMap::new(),
        }
    }

    /// The stack of an interruption by framehop, leaf first. Nothing if it was none of these processes.
    pub(super) fn walk(&mut self, pid: u32, number: u32) -> Option<Walk> {
        let name = format!("{pid}.{number}");
        let bytes = fs::read(self.directory.join(&name)).ok()?;
        let maps = fs::read_to_string(self.directory.join(name + ".maps")).unwrap();
        let executable: Vec<&str> = maps
            .lines()
            .filter(|line| line.contains(" r-xp ") && line.contains('/'))
            .collect();
        let code = self
            .codes
            .entry(executable.join("\n"))
            .or_insert_with_key(|maps| Code::of(maps));
        let places = code.walk(&moment(&bytes));
        let leaf = places[0].as_ref();
        Some(if leaf.and_then(|leaf| code.function(leaf)).is_some() {
            Walk::Known(places.into_iter().flatten().collect())
        } else {
            Walk::Guessed
        })
    }
}

/// Reads rip, rsp, rbp and the stack.
fn moment(bytes: &[u8]) -> Moment {
    let (registers, stack) = bytes.split_at(24);
    let [ip, sp, bp] =
        [0, 8, 16].map(|at| u64::from_le_bytes(registers[at..at + 8].try_into().unwrap()));
    Moment {
        ip,
        sp,
        bp,
        stack: stack.to_vec(),
    }
}
