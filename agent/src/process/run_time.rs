//! What the code is called that programs make at run time.

use super::Processes;
use super::code_names::{CodeNames, ProgramCode};
use super::code_sources::MappedDump;
use super::program::Program;
use bpf::Thread;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a window waits, all in all, for what programs have told since the last one.
const PATIENCE: Duration = Duration::from_millis(100);

impl Processes {
    /// Has read what the programs of these threads have told of their code, which they seem to run. Their names are those of the
    /// moment: code moves, and other code takes its place.
    pub(crate) fn refresh_names(&mut self, threads: impl Iterator<Item = Thread>) {
        let deadline = Instant::now() + PATIENCE;
        self.code_names.begin_window();
        let mut asked = Vec::new();
        for thread in threads {
            let Some(program) = program_of(&mut self.by_tgid, thread) else {
                continue;
            };
            let code = code_of(&mut self.code_names, program, thread.tgid);
            if self.code_names.refresh(code) {
                asked.push(Arc::clone(code));
            }
        }
        for code in asked {
            code.wait(deadline);
        }
    }

    /// What the function of a thread's program is called that was made at a virtual address.
    pub(crate) fn function(&self, thread: Thread, address: u64) -> Option<Arc<str>> {
        let code = self.program(thread)?.code.as_ref()?;
        code.name(address)
    }

    /// Looks for what programs tell that have begun to make code, and says when to do so again, CLOCK_MONOTONIC nanoseconds.
    pub(crate) fn look_for_young_code(&mut self) -> Option<u64> {
        self.code_names.look_for_young()
    }

    /// Looks for what programs that make code tell of it. To be called now and then.
    pub(super) fn look_for_names(&self) {
        let programs = self.by_tgid.values().filter_map(|programs| programs.last());
        for code in programs.filter_map(|program| program.code.as_ref()) {
            self.code_names.look(code, None);
        }
        self.code_names.tend();
    }
}

/// A program has made code, or has mapped a file in which it tells of that.
pub(super) fn watch(
    code_names: &mut CodeNames,
    program: &mut Program,
    tgid: u32,
    dump: Option<MappedDump>,
) {
    let code = code_of(code_names, program, tgid);
    code_names.look(code, dump);
}

fn code_of<'p>(
    code_names: &mut CodeNames,
    program: &'p mut Program,
    tgid: u32,
) -> &'p Arc<ProgramCode> {
    let begin = program.begin;
    let code = &mut program.code;
    code.get_or_insert_with(|| code_names.of(tgid, begin))
}

fn program_of(by_tgid: &mut HashMap<u32, Vec<Program>>, thread: Thread) -> Option<&mut Program> {
    let programs = by_tgid.get_mut(&thread.tgid)?;
    let mut programs = programs.iter_mut().rev();
    programs.find(|program| program.begin <= thread.generation)
}
