//! Whether containers and services can be told apart.

use super::Finding;
use crate::owner::{CgroupMount, Hierarchy};

pub(super) fn examine() -> Finding {
    const SUBJECT: &str = "cgroups";
    match CgroupMount::find() {
        Ok(Some(mount)) => {
            let version = match mount.hierarchy {
                Hierarchy::Unified => "version 2",
                Hierarchy::Memory | Hierarchy::Pids | Hierarchy::Cpu => "version 1",
            };
            Finding::good(SUBJECT, format!("{version}, at {}", mount.path.display()))
        }
        Ok(None) => Finding::limited(
            SUBJECT,
            "no whole hierarchy is mounted, so processes go by their executables: `mount -t cgroup2 none /sys/fs/cgroup`, \
             or in a container `-v /sys/fs/cgroup:/sys/fs/cgroup:ro --cgroupns=host`",
        ),
        Err(error) => Finding::limited(SUBJECT, format!("{error:#}")),
    }
}
