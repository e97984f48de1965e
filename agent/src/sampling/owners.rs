//! Owners of samples: by the cgroup of the moment and what the thread ran.

use crate::owner::{CgroupMount, Cgroups, Hierarchy, Owner, Program};
use bpf::{CgroupController, CgroupEvent, CgroupSource, ThreadNames};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Owners remembered, about 300 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

#[derive(PartialEq, Eq, Hash)]
struct Key {
    cgroup: u64,
    exe: Vec<u8>,
    is_kernel: bool,
}

/// Each owner once.
pub(super) struct Owners {
    cgroups: Option<Cgroups>,
    by_key: LruCache<Key, Arc<Owner>>,
}

impl Owners {
    /// Reads the hierarchy of cgroups. Events of it must be subscribed to before.
    pub(super) fn new(mount: Option<&CgroupMount>) -> Self {
        let cgroups = mount.and_then(|mount| {
            Cgroups::open(mount)
                .inspect_err(|error| tracing::warn!("{error:#}: processes go by their executables"))
                .ok()
        });
        Self {
            cgroups,
            by_key: LruCache::new(REMEMBERED),
        }
    }

    /// Takes the news of cgroups.
    pub(super) fn apply(&mut self, events: Vec<CgroupEvent>) {
        let Some(cgroups) = &mut self.cgroups else {
            return;
        };
        for event in events {
            // A removed one stays known: its last samples may not be drained yet.
            if let CgroupEvent::Created { id, path } = event {
                let path = path.strip_prefix(b"/").unwrap_or(&path);
                cgroups.created(id, path);
            }
        }
    }

    /// Cgroups whose path never became known: their processes go by their executables.
    pub(super) fn unknown(&self) -> u64 {
        self.cgroups.as_ref().map_or(0, Cgroups::unknown)
    }

    /// The owner of a thread that was sampled in this cgroup.
    pub(super) fn of(&mut self, cgroup: u64, names: &ThreadNames) -> Arc<Owner> {
        // A thread that is giving back its memory has no executable any more, but still its process's name.
        let exe = if names.exe.is_empty() {
            &names.process
        } else {
            &names.exe
        };
        let key = Key {
            cgroup,
            exe: exe.clone(),
            is_kernel: names.is_kernel,
        };
        if let Some(owner) = self.by_key.get(&key) {
            return Arc::clone(owner);
        }
        let cgroup_owner = self
            .cgroups
            .as_mut()
            .and_then(|cgroups| cgroups.owner(cgroup));
        let program = if names.is_kernel {
            Program::Kernel
        } else {
            Program::Executable(exe)
        };
        let owner = Arc::new(Owner::of(cgroup_owner.as_deref(), program));
        self.by_key.put(key, Arc::clone(&owner));
        owner
    }
}

/// What the kernel program has to read for this hierarchy.
pub(super) fn source(mount: Option<&CgroupMount>) -> CgroupSource {
    let Some(mount) = mount else {
        return CgroupSource {
            controller: CgroupController::None,
            hierarchy: 0,
        };
    };
    let (controller, name) = match mount.hierarchy {
        // The unified hierarchy has the number 0.
        Hierarchy::Unified => {
            return CgroupSource {
                controller: CgroupController::Unified,
                hierarchy: 0,
            };
        }
        Hierarchy::Memory => (CgroupController::Memory, "memory"),
        Hierarchy::Pids => (CgroupController::Pids, "pids"),
        Hierarchy::Cpu => (CgroupController::Cpu, "cpu"),
    };
    CgroupSource {
        controller,
        hierarchy: v1_number(name).unwrap_or(0),
    }
}

/// Number of a v1 controller's hierarchy: the second column of /proc/cgroups.
fn v1_number(controller: &str) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/cgroups").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next()? == controller).then_some(fields.next()?.parse().ok()?)
    })
}
