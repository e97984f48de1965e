//! Tells whether memory of no file is a copy of a file's code.
//!
//! Some programs move their code to huge pages: they copy it, map memory of no file in its place, and copy it back. The
//! code is the file's still, by its bytes, and so are its names and its rules.

use super::mappings::Mapping;
use crate::pool::{self, Pool};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const OPTIONS: pool::Options = pool::Options {
    name: "inspector",
    threads: 1,
    queue: 64,
    patience: Duration::from_secs(1),
};
/// Pages that are compared, from the first to the last: no other code has them all.
const PAGES: u64 = 16;
const PAGE: u64 = 4096;

/// Code of a process that may be that of a file.
#[derive(Clone)]
pub(super) struct Suspect {
    pub(super) tgid: u32,
    /// When the program began, CLOCK_MONOTONIC nanoseconds.
    pub(super) begin: u64,
    /// What it would be a mapping of.
    pub(super) mapping: Mapping,
}

/// The thread that compares: reading a process's memory may take as long as the process likes.
pub(super) struct Inspector {
    pool: Pool<Suspect>,
    found: Receiver<Suspect>,
}

impl Inspector {
    /// Starts the thread, which calls `wake` when it has found something.
    pub(super) fn start(wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let (say, found) = channel();
        let work = move |suspect: &Suspect| {
            if is_copy(suspect).unwrap_or(false) && say.send(suspect.clone()).is_ok() {
                wake();
            }
        };
        Ok(Self {
            pool: Pool::start(OPTIONS, work, |_, _| {})?,
            found,
        })
    }

    /// Has code compared soon.
    pub(super) fn inspect(&self, suspect: Suspect) {
        self.pool.submit(suspect);
    }

    /// What turned out to be a file's code since the last call.
    pub(super) fn found(&self) -> impl Iterator<Item = Suspect> + '_ {
        self.found.try_iter()
    }

    /// Lets no process hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

fn is_copy(suspect: &Suspect) -> io::Result<bool> {
    let Mapping {
        start,
        end,
        offset,
        file,
    } = &suspect.mapping;
    let module = file
        .as_ref()
        .and_then(|file| file.module(Duration::from_millis(100)).ok());
    let Some(module) = module else {
        return Ok(false);
    };
    let memory = File::open(format!("/proc/{}/mem", suspect.tgid))?;
    let last = (end - start).saturating_sub(PAGE);
    let (mut mapped, mut in_file) = ([0; PAGE as usize], [0; PAGE as usize]);
    for page in 0..PAGES {
        let at = last.saturating_mul(page) / (PAGES - 1);
        memory.read_exact_at(&mut mapped, start.saturating_add(at))?;
        let in_module = offset.saturating_add(at);
        module.file().read_exact_at(&mut in_file, in_module)?;
        if mapped != in_file {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
impl Inspector {
    /// Whether all has been compared.
    pub(super) fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }
}
