//! Which of the host's cgroup hierarchies owners are read from.

use crate::host;
use anyhow::Context;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Hierarchy whose cgroup id the kernel program reads for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// cgroup v2: the task's `cgroups->dfl_cgrp`.
    Unified,
    /// cgroup v1 memory controller: `cgroups->subsys[memory_cgrp_id]->cgroup`.
    Memory,
    /// cgroup v1 pids controller, `pids_cgrp_id`.
    Pids,
    /// cgroup v1 cpu controller, `cpu_cgrp_id`.
    Cpu,
}

/// Where that hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupMount {
    /// The hierarchy.
    pub(crate) hierarchy: Hierarchy,
    /// Directory of its root cgroup.
    pub(crate) path: PathBuf,
}

/// Inode number of the root of every hierarchy (kernel/cgroup/cgroup.c relies on it). A mount that shows something else shows a part:
/// a bind mount as engines make for their containers, or what a cgroup namespace calls the root.
const ROOT_INODE: u64 = 1;

/// Largest mount table that is read, bytes. Hosts with thousands of containers have about 5 MB.
const MAX_MOUNTINFO: u64 = 32 << 20;

impl CgroupMount {
    /// The mount to use on this host; none where no usable hierarchy is mounted, then only executables own.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        let table = mountinfo("/proc/self")
            .context("cannot read /proc/self/mountinfo: is /proc mounted?")?;
        if let Some(own) = Self::in_mountinfo(&table, Path::new("/"), is_whole) {
            return Ok(Some(own));
        }
        // Those of a container may all show no more than its own part.
        Ok(host::PROCESSES.iter().find_map(|process| {
            let root = Path::new(process).join("root");
            Self::in_mountinfo(&mountinfo(process).ok()?, &root, is_whole)
        }))
    }

    /// The mount to use, by the text of /proc/PID/mountinfo of a process whose root directory is `root`.
    ///
    /// A pure v2 host has cgroup2 right at /sys/fs/cgroup, whatever v1 leftovers some VPN mounts beside it. Otherwise the v1
    /// controllers come first, because on hybrid hosts older engines leave the cgroup2 mount aside: memory, which every
    /// engine and systemd use; pids where memory is turned off at boot (systemd uses it for each service); cpu, which
    /// systemd uses only where a unit asks for it.
    fn in_mountinfo(table: &[u8], root: &Path, is_whole: impl Fn(&Path) -> bool) -> Option<Self> {
        let mounts: Vec<Mount> = table
            .split(|c| *c == b'\n')
            .filter_map(Mount::parse)
            .filter(|mount| is_whole(&mount.below(root)))
            .collect();
        let unified = |mount: &&Mount| mount.kind == b"cgroup2";
        let pure = mounts
            .iter()
            .find(|mount| unified(mount) && mount.path == b"/sys/fs/cgroup");
        let v1 = || {
            [
                (Hierarchy::Memory, &b"memory"[..]),
                (Hierarchy::Pids, b"pids"),
                (Hierarchy::Cpu, b"cpu"),
            ]
            .into_iter()
            .find_map(|(hierarchy, name)| {
                Some((hierarchy, mounts.iter().find(|mount| mount.controls(name))?))
            })
        };
        let (hierarchy, mount) = pure
            .map(|mount| (Hierarchy::Unified, mount))
            .or_else(v1)
            .or_else(|| Some((Hierarchy::Unified, mounts.iter().find(unified)?)))?;
        Some(Self {
            hierarchy,
            path: mount.below(root),
        })
    }
}

fn mountinfo(process: &str) -> io::Result<Vec<u8>> {
    let mut table = Vec::new();
    let file = File::open(format!("{process}/mountinfo"))?;
    file.take(MAX_MOUNTINFO).read_to_end(&mut table)?;
    Ok(table)
}

fn is_whole(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|directory| directory.ino() == ROOT_INODE)
}

/// A line of mountinfo whose mount shows a cgroup hierarchy, or a part of one.
struct Mount<'a> {
    path: Vec<u8>,
    kind: &'a [u8],
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 <root> <mount point> rw,noatime master:1 - <type> <source> <options>`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|c| *c == b' ');
        // Where its root lies is told as seen from the reader's cgroup namespace, so it says little.
        let path = unescape(fields.nth(4)?);
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = after.next()?;
        let options = after.nth(1)?;
        kind.starts_with(b"cgroup").then_some(Self {
            path,
            kind,
            options,
        })
    }

    /// Its directory, as seen from outside of the root directory that it lies in.
    fn below(&self, root: &Path) -> PathBuf {
        let path = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        root.join(OsString::from_vec(path.to_vec()))
    }

    fn controls(&self, controller: &[u8]) -> bool {
        self.kind == b"cgroup"
            && self
                .options
                .split(|c| *c == b',')
                .any(|option| option == controller)
    }
}

/// Undoes the kernel's escaping of blanks in mountinfo: `\040` is the byte with that octal number.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    loop {
        match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
            [] => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn find(table: &str) -> Option<(Hierarchy, String)> {
        let own = |path: &Path| !path.ends_with("fs/cgroup/own");
        let mount = CgroupMount::in_mountinfo(table.as_bytes(), Path::new("/"), own)?;
        Some((mount.hierarchy, mount.path.to_string_lossy().into_owned()))
    }

    /// Debian 12's default, with the net_cls mount that VPN clients add.
    #[test]
    fn pure_v2() {
        let table = "\
29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
415 23 0:51 / /opt/vpn/net_cls rw,relatime shared:210 - cgroup net_cls rw,net_cls
";
        assert_eq!(
            find(table),
            Some((Hierarchy::Unified, "/sys/fs/cgroup".into()))
        );
    }

    /// systemd's hybrid layout: controllers on v1, an empty cgroup2 beside them.
    #[test]
    fn hybrid() {
        let table = "\
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:7 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:8 - cgroup cgroup rw,xattr,name=systemd
30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct
33 25 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:13 - cgroup cgroup rw,memory
";
        assert_eq!(
            find(table),
            Some((Hierarchy::Memory, "/sys/fs/cgroup/memory".into()))
        );
        let without_memory: String = table
            .lines()
            .filter(|line| !line.contains("memory"))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(
            find(&without_memory),
            Some((Hierarchy::Cpu, "/sys/fs/cgroup/cpu,cpuacct".into()))
        );
    }

    /// An agent in a container that is given the host's hierarchy at another place, beside its own part of it.
    #[test]
    fn only_whole_hierarchies() {
        let table = "\
700 650 0:26 / /sys/fs/cgroup/own ro,nosuid - cgroup2 cgroup rw
701 650 0:26 / /host/a\\040b/cgroup ro,nosuid master:4 - cgroup2 cgroup rw
";
        assert_eq!(
            find(table),
            Some((Hierarchy::Unified, "/host/a b/cgroup".into()))
        );
        assert_eq!(
            find("700 650 0:26 / /sys/fs/cgroup/own ro - cgroup2 cgroup rw"),
            None
        );
    }

    /// The host's own, by what its first process has mounted; from a cgroup namespace the root of that lies above the root.
    #[test]
    fn the_hosts_through_its_first_process() {
        let table = "29 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let root = Path::new("/proc/1/root");
        let mount = CgroupMount::in_mountinfo(table.as_bytes(), root, |_| true).unwrap();
        assert_eq!(mount.path, Path::new("/proc/1/root/sys/fs/cgroup"));
    }

    /// Whatever the bytes, cut off or not: no panic.
    #[test]
    fn random_bytes() {
        let mut random = StdRng::seed_from_u64(2);
        let line = b"33 25 0:30 / /sys\\040 rw - cgroup cgroup rw,memory\n";
        for _ in 0..5000 {
            let mut table = line.repeat(3);
            for _ in 0..random.random_range(1..20) {
                let at = random.random_range(0..table.len());
                table[at] = random.random();
            }
            table.truncate(random.random_range(0..=table.len()));
            let _ = CgroupMount::in_mountinfo(&table, Path::new("/"), |_| true);
        }
    }

    /// On this host: what is found is a directory of the kernel's cgroup file systems.
    #[test]
    fn finds_this_hosts() {
        let Some(mount) = CgroupMount::find().unwrap() else {
            eprintln!("SKIPPED: finds_this_hosts: no whole cgroup hierarchy is mounted");
            return;
        };
        assert!(Path::new(&mount.path).join("cgroup.procs").exists());
    }
}
