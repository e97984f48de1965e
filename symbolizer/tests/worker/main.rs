//! Files that are read by a worker: what it may do, and what it costs when it hangs, dies or lies.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod confinement;
mod debug_files;
mod faults;
mod lost_files;
mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use support::{Workshop, file_offset, functions, run};
use symbolizer::{FileError, Launch, Module, Symbolizer, WorkerFault, WorkerStats};
use tests::cpu_time::children;

/// Workers are found as the children of this process, so it has one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn launch(program: impl AsRef<Path>, arguments: &[&str]) -> Launch {
    Launch {
        program: program.as_ref().into(),
        arguments: arguments.iter().map(Into::into).collect(),
    }
}

/// Names by the agent's own worker.
fn symbolizer() -> Symbolizer {
    let worker = launch(tests::thermograph::binary(), &["worker"]);
    Symbolizer::in_worker(8 << 20, worker)
}

/// The workers of this process that have not ended.
fn workers() -> Vec<u32> {
    let mut workers = children(std::process::id());
    workers.retain(|&pid| !has_ended(pid));
    workers
}

fn worker() -> u32 {
    let [pid] = workers().try_into().unwrap();
    pid
}

fn has_ended(pid: u32) -> bool {
    // It is no more, or nobody has waited for it.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// The offset of a function's first byte.
fn offset_of(path: &Path, name: &str) -> u64 {
    let image = fs::read(path).unwrap();
    let functions = functions(&image);
    let function = functions.iter().find(|function| function.name == name);
    file_offset(&image, function.unwrap().address)
}

/// The offsets of the first bytes of all functions of a file.
fn offsets_of(image: &[u8]) -> Vec<u64> {
    let functions = functions(image);
    let offset = |function: &support::Function| file_offset(image, function.address);
    functions.iter().map(offset).collect()
}

/// The outermost function at an offset, if it has a name.
fn name_at(symbolizer: &mut Symbolizer, module: &Module, offset: u64) -> Option<String> {
    let answer = symbolizer.user(module, &[offset]).remove(0);
    let frame = answer.frames.last().unwrap();
    answer.named.then(|| frame.name.to_string())
}

fn stats(change: impl FnOnce(&mut WorkerStats)) -> WorkerStats {
    let mut stats = WorkerStats::default();
    change(&mut stats);
    stats
}

/// The program stripped, and what was taken from it.
fn split(workshop: &Workshop, whole: &Path, strip: &str) -> (PathBuf, PathBuf) {
    let (program, debug) = (workshop.path("program"), workshop.path("program.debug"));
    run(Command::new("strip")
        .arg(strip)
        .arg("-o")
        .arg(&program)
        .arg(whole));
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(whole)
        .arg(&debug));
    (program, debug)
}

/// The one file that something was wrong with.
fn assert_blamed(symbolizer: &mut Symbolizer, module: &Module, fault: WorkerFault) {
    let failures = symbolizer.take_failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(&failures[0].module, module.name());
    assert_eq!(failures[0].error, FileError::Worker(fault));
}
