//! `thermograph record` on the real kernel, held against what the programs of `fixtures` know of themselves.

mod command;
mod container;
mod cpu_time;
mod exited;
mod output;
mod privileges;
mod process;
mod run_time_code;
mod shares;
mod symbols;

use fixtures::Program;
use std::path::Path;

/// Where Go keeps what it has compiled.
const GO_CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache");

/// The path of a program, as an argument.
fn path(program: Program) -> String {
    utf8(&program.path())
}

fn utf8(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
