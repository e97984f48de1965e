//! Ids of cgroups, against the inode numbers of their directories: in each hierarchy that is mounted here. These tests
//! need root.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use bpf::{CgroupController, CgroupEvent, CgroupSource, Filter, Options, Profiler};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, id};
use std::time::{Duration, Instant};

/// Directory of the hierarchy's root, from the mount table.
fn mounted(kind: &str, option: &str) -> Option<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let is_it = fields[2] == kind && fields[3].split(',').any(|word| word == option);
        is_it.then(|| PathBuf::from(fields[1]))
    })
}

/// Number of a v1 controller's hierarchy.
fn number(controller: &str) -> u32 {
    let table = std::fs::read_to_string("/proc/cgroups").unwrap();
    let line = table
        .lines()
        .find(|line| line.split('\t').next() == Some(controller));
    line.unwrap().split('\t').nth(1).unwrap().parse().unwrap()
}

/// Removes a cgroup, which stays busy for a moment after its last process was waited for.
fn remove(directory: &PathBuf) {
    let begin = Instant::now();
    while let Err(error) = std::fs::remove_dir(directory) {
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}");
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{} stays busy",
            directory.display()
        );
        std::thread::yield_now();
    }
}

/// A process is counted in the cgroup it is in, whose birth and death are told, and those of other hierarchies are not.
fn a_cgroup_is_told_and_counted(controller: CgroupController, root: PathBuf, hierarchy: u32) {
    let options = Options {
        frequency: 499,
        window: Duration::from_secs(5),
        idle: false,
        filter: Filter::Everything,
        cgroups: CgroupSource {
            controller,
            hierarchy,
        },
        seed: 1,
        table_memory: 16 << 20,
    };
    let mut storage = MaybeUninit::uninit();
    let mut profiler = Profiler::load(&mut storage, &options).unwrap();
    profiler.follow_cpus().unwrap();

    let name = format!("thermograph-test-{}-{controller:?}", id());
    let directory = root.join(&name);
    std::fs::create_dir(&directory).unwrap();
    let inode = std::fs::metadata(&directory).unwrap().ino();
    let procs = directory.join("cgroup.procs");
    let enter = format!("echo 0 > {} && exec sh -c \"$0\"", procs.display());
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let mut child = Command::new("sh")
        .args(["-c", &enter, busy])
        .spawn()
        .unwrap();
    let status = child.wait();
    remove(&directory);
    assert!(status.unwrap().success());

    let counted = profiler.swap().unwrap();
    let (events, missing) = profiler.read_cgroup_events().unwrap();
    let inside = |sample: &&bpf::Sample| sample.cgroup == inode;
    let tgids: Vec<u32> = counted
        .samples
        .iter()
        .filter(inside)
        .map(|sample| sample.thread.tgid)
        .collect();
    assert!(
        !tgids.is_empty() && tgids.iter().all(|tgid| *tgid == child.id()),
        "inode {inode}, process {}, counted there: {tgids:?}",
        child.id()
    );
    let own: Vec<_> = events
        .iter()
        .filter(|event| match event {
            CgroupEvent::Created { id, .. } | CgroupEvent::Removed { id } => *id == inode,
        })
        .cloned()
        .collect();
    let path = format!("/{name}").into_bytes();
    assert_eq!(
        own,
        [
            CgroupEvent::Created { id: inode, path },
            CgroupEvent::Removed { id: inode }
        ]
    );
    assert!(!missing);
}

fn v1(controller: CgroupController, name: &str) {
    match mounted("cgroup", name) {
        Some(root) => a_cgroup_is_told_and_counted(controller, root, number(name)),
        None => eprintln!("SKIPPED: v1_{name}: no such hierarchy is mounted"),
    }
}

#[test]
fn unified() {
    match mounted("cgroup2", "rw") {
        Some(root) => a_cgroup_is_told_and_counted(CgroupController::Unified, root, 0),
        None => eprintln!("SKIPPED: unified: cgroup2 is not mounted"),
    }
}

#[test]
fn v1_memory() {
    v1(CgroupController::Memory, "memory");
}

#[test]
fn v1_pids() {
    v1(CgroupController::Pids, "pids");
}

#[test]
fn v1_cpu() {
    v1(CgroupController::Cpu, "cpu");
}
