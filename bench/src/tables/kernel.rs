//! The kernel memory that tables take, by putting them where the agent does.

use anyhow::Context;
use bpf::unwind::{Identity, Table};
use bpf::{CgroupController, CgroupSource, Filter, OpenObject, Options, Profiler};
use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::time::Duration;

/// As much as any host's tables take.
const ROOM: u64 = 1 << 30;

/// The kernel programs, of which nobody is asked to run one.
pub(super) struct Kernel<'object> {
    profiler: Profiler<'object>,
    contents: HashSet<Identity>,
    rows: u64,
}

impl<'object> Kernel<'object> {
    pub(super) fn load(storage: &'object mut MaybeUninit<OpenObject>) -> anyhow::Result<Self> {
        let options = Options {
            frequency: 99,
            window: Duration::from_secs(5),
            idle: false,
            filter: Filter::Everything,
            cgroups: CgroupSource {
                controller: CgroupController::None,
                hierarchy: 0,
            },
            seed: 0,
            table_memory: ROOM,
        };
        Ok(Self {
            profiler: Profiler::load(storage, &options)?,
            contents: HashSet::new(),
            rows: 0,
        })
    }

    /// Files with the same content share a table.
    pub(super) fn put(&mut self, identity: Identity, table: &Table) -> anyhow::Result<()> {
        if table.is_empty() || !self.contents.insert(identity) {
            return Ok(());
        }
        let unwinder = self.profiler.unwinder();
        let slot = unwinder
            .reserve()
            .context("there are more tables than slots")?;
        anyhow::ensure!(
            unwinder.put(slot, table)?,
            "the kernel has no room for more tables"
        );
        self.rows += table.rows().count() as u64;
        Ok(())
    }

    /// What was put there: distinct tables, their rows, and the bytes that the kernel keeps for them.
    pub(super) fn taken(&mut self) -> (usize, u64, u64) {
        let bytes = self.profiler.unwinder().memory().tables;
        (self.contents.len(), self.rows, bytes)
    }
}
