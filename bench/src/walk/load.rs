//! What the walk is measured on: fixed programs whose stacks are known.

use crate::launched::Launched;
use crate::workload;
use clap::ValueEnum;
use fixtures::Program;
use std::ffi::OsString;
use std::thread::available_parallelism;

/// Seconds that a program would run if it were not ended: longer than any measurement.
const FOREVER: &str = "86400";
/// Functions of a program's own in its stacks; glibc has three more below `main`.
const BELOW_MAIN: u32 = 3;

/// One program on each CPU, so that no CPU is idle and each sample is one of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// 32 frames with frame pointers
    Frames32,
    /// 64 frames with frame pointers
    Frames64,
    /// 46 and 157 frames without frame pointers, in turn
    Nested,
    /// clang++ -O2 compiling one file again and again
    Clang,
}

impl Load {
    /// What the table calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Load::Frames32 => "32 frames, frame pointers",
            Load::Frames64 => "64 frames, frame pointers",
            Load::Nested => "46 and 157 frames, none",
            Load::Clang => "clang++ -O2",
        }
    }

    /// The name of its processes.
    pub(crate) fn process(self) -> &'static str {
        match self {
            Load::Frames32 | Load::Frames64 => Program::Deep.name(),
            Load::Nested => Program::Nested.name(),
            Load::Clang => "clang++",
        }
    }

    /// Starts it.
    pub(crate) fn start(self) -> anyhow::Result<Vec<Launched>> {
        let cpus = available_parallelism()?.get();
        (0..cpus).map(|cpu| self.start_one(cpu)).collect()
    }

    fn start_one(self, cpu: usize) -> anyhow::Result<Launched> {
        let program = |program: Program, frames: u32| {
            let arguments: [OsString; 3] = [
                program.path().into(),
                FOREVER.into(),
                frames.to_string().into(),
            ];
            workload::start(program.name(), "exec \"$1\" \"$2\" \"$3\"", arguments)
        };
        match self {
            Load::Frames32 => program(Program::Deep, 32),
            Load::Frames64 => program(Program::Deep, 64),
            Load::Nested if cpu.is_multiple_of(2) => program(Program::Nested, 46 - BELOW_MAIN),
            Load::Nested => program(Program::Nested, 157 - BELOW_MAIN),
            Load::Clang => workload::start(
                "clang++",
                "while clang++ -std=c++17 -O2 -c \"$1\" -o compiled.o; do :; done",
                [fixtures::input("compile.cpp")],
            ),
        }
    }
}
