//! Whose samples are, as far as it can be told at once: by the cgroup of the moment, what the thread ran, and what its process
//! says of itself.

use crate::container::Runtimes;
use crate::owner::{
    CgroupMount, Cgroups, Container, Declared, Hierarchy, Identity, Program, executable_name,
};
use bpf::{CgroupController, CgroupEvent, CgroupSource, ThreadNames};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Identities remembered: what is longest of each is the path of its executable.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

#[derive(PartialEq, Eq, Hash)]
struct Key {
    cgroup: u64,
    exe: Vec<u8>,
    is_kernel: bool,
    service_name: Option<Arc<str>>,
    script: Option<String>,
}

/// Each identity once.
pub(super) struct Identities {
    cgroups: Option<Cgroups>,
    by_key: LruCache<Key, Arc<Identity>>,
    runtimes: Option<Arc<Runtimes>>,
}

impl Identities {
    /// Reads the hierarchy of cgroups. Events of it must be subscribed to before. Runtimes are asked for a container as soon as
    /// it has a cgroup: many forget it with its end.
    pub(super) fn new(mount: Option<&CgroupMount>, runtimes: Option<Arc<Runtimes>>) -> Self {
        let cgroups = mount.and_then(|mount| {
            Cgroups::open(mount)
                .inspect_err(|error| tracing::warn!("{error:#}: processes go by their executables"))
                .ok()
        });
        Self {
            cgroups,
            by_key: LruCache::new(REMEMBERED),
            runtimes,
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
                let Some(owner) = cgroups.created(id, path) else {
                    continue;
                };
                if let (Some(runtimes), Some(Container::Oci { id, maker })) =
                    (&self.runtimes, &owner.container)
                    && !is_users(path)
                {
                    runtimes.foresee(id, *maker, &owner.realm);
                }
            }
        }
    }

    /// Cgroups whose path never became known: their processes go by their executables.
    pub(super) fn unknown(&self) -> u64 {
        self.cgroups.as_ref().map_or(0, Cgroups::unknown)
    }

    /// That of a thread that was sampled in this cgroup.
    pub(super) fn of(
        &mut self,
        cgroup: u64,
        names: &ThreadNames,
        declared: &Declared,
    ) -> Arc<Identity> {
        // A thread that is giving back its memory has no executable any more, but still its process's name.
        let exe = if names.exe.is_empty() {
            &names.process
        } else {
            &names.exe
        };
        let Some(declaration) = declared.get() else {
            // What is not read yet is not remembered either.
            return Arc::new(self.make(cgroup, exe, names.is_kernel, declared));
        };
        let key = Key {
            cgroup,
            exe: exe.clone(),
            is_kernel: names.is_kernel,
            service_name: declaration.service_name().cloned(),
            script: declaration
                .script_of(&executable_name(exe))
                .map(str::to_owned),
        };
        if let Some(identity) = self.by_key.get(&key) {
            return Arc::clone(identity);
        }
        let identity = Arc::new(self.make(cgroup, exe, names.is_kernel, declared));
        self.by_key.put(key, Arc::clone(&identity));
        identity
    }

    fn make(&mut self, cgroup: u64, exe: &[u8], is_kernel: bool, declared: &Declared) -> Identity {
        let cgroups = self.cgroups.as_mut();
        let cgroup = cgroups.and_then(|cgroups| cgroups.owner(cgroup));
        let program = if is_kernel {
            Program::Kernel
        } else {
            Program::Executable(exe)
        };
        Identity::of(cgroup, program, declared)
    }
}

/// Whether a user's manager has made this cgroup: there users make as many as they like.
fn is_users(path: &[u8]) -> bool {
    let mut components = path.split(|byte| *byte == b'/');
    components.any(|component| component.starts_with(b"user@"))
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
