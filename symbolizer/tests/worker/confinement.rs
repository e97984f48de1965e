//! What the worker may do: nothing but read what it is given.

use crate::support::{Workshop, open};
use crate::{alone, name_at, offset_of, symbolizer, worker};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};

/// It belongs to nobody, has no capability and no way to one, no descriptor that was not meant for it, no network, and
/// none of the secrets in the agent's environment. It cannot write large files or leave a core.
#[test]
fn it_has_nothing_to_lose() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return tests::machine::skip("it_has_nothing_to_lose", "only root has something to lose");
    }
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    // Without the flag that closes it on exec, as a shell may leave one.
    let leaked = File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let mut symbolizer = symbolizer();
    let offset = offset_of(&program, "leaf");
    assert_eq!(
        name_at(&mut symbolizer, &open(&program), offset).as_deref(),
        Some("leaf")
    );

    let worker = worker();
    let of_worker = |name: &str| fs::read_to_string(format!("/proc/{worker}/{name}")).unwrap();
    let status = of_worker("status");
    let status: BTreeMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .collect();
    let nobody = "65534\t65534\t65534\t65534";
    assert_eq!((status["Uid"], status["Gid"]), (nobody, nobody));
    assert_eq!(status["Groups"].trim(), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"], status["Threads"]), ("1", "1"));
    let limits = of_worker("limits");
    // Into files without a name it decompresses symbols.
    for (limit, most) in [("Max core file size", "0"), ("Max file size", "4194304")] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        let values: Vec<&str> = line[limit.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [most, most], "{limit}");
    }
    assert_eq!(of_worker("environ"), "");
    assert_ne!(
        fs::read_link(format!("/proc/{worker}/ns/net")).unwrap(),
        fs::read_link("/proc/self/ns/net").unwrap()
    );

    let descriptors = fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
    let mut descriptors: BTreeSet<String> = descriptors
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| target.to_str().unwrap().to_owned())
        .collect();
    let socket = descriptors.pop_last().unwrap();
    assert!(socket.starts_with("socket:["), "{socket}");
    let expected = [
        "/dev/null".to_owned(),
        format!("/proc/{worker}/statm"),
        program.to_str().unwrap().to_owned(),
    ];
    assert_eq!(descriptors, BTreeSet::from(expected));
}

/// Started by a person it says what it is, and does nothing.
#[test]
fn it_is_not_for_people() {
    let mut command = std::process::Command::new(tests::thermograph::binary());
    let output = command
        .arg("worker")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by the agent"));
}
