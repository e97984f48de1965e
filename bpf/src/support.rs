//! What the running kernel and this process's privileges must offer, said in one sentence where they do not.

use crate::Error;
use libbpf_rs::btf::Btf;
use rustix::thread::CapabilitySet;
use std::path::Path;

const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";
/// The oldest kernel the programs are promised for.
const OLDEST: (u32, u32) = (6, 1);
/// Inodes of the first namespaces, the same on every kernel (include/linux/proc_ns.h).
const USER_NAMESPACE: u32 = 0xefff_fffd;
const PID_NAMESPACE: u32 = 0xefff_fffc;
/// Raw tracepoints are known to BTF by the type of their handler.
const TRACEPOINTS: [(&str, &str); 5] = [
    (
        "btf_trace_sched_process_fork",
        "the tracepoint sched_process_fork",
    ),
    (
        "btf_trace_sched_process_exec",
        "the tracepoint sched_process_exec",
    ),
    (
        "btf_trace_vm_unmapped_area",
        "the tracepoint vm_unmapped_area",
    ),
    (
        "btf_trace_cgroup_mkdir",
        "the tracepoint cgroup_mkdir (CONFIG_CGROUPS)",
    ),
    (
        "btf_trace_cgroup_rmdir",
        "the tracepoint cgroup_rmdir (CONFIG_CGROUPS)",
    ),
];

/// Release of the running kernel, such as `6.1.0-18-amd64`.
pub(crate) fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Refuses a kernel on which the programs cannot run, before the verifier does it in many more words.
pub(crate) fn check() -> Result<(), Error> {
    let release = release();
    let unsupported = |feature| Error::Unsupported {
        release: release.clone(),
        feature,
    };
    if version(&release).is_some_and(|version| version < OLDEST) {
        return Err(unsupported(
            "hash maps that grow inside perf_event programs",
        ));
    }
    if !permitted() {
        return Err(Error::NotPermitted);
    }
    if !in_first_namespace("user", USER_NAMESPACE) {
        return Err(Error::UserNamespace);
    }
    if !in_first_namespace("pid", PID_NAMESPACE) {
        return Err(Error::PidNamespace);
    }
    if !Path::new(VMLINUX_BTF).exists() {
        return Err(Error::NoBtf);
    }
    let btf = Btf::from_vmlinux().map_err(|_| Error::NoBtf)?;
    for (handler, feature) in TRACEPOINTS {
        if btf
            .type_by_name::<libbpf_rs::btf::types::Typedef<'_>>(handler)
            .is_none()
        {
            return Err(unsupported(feature));
        }
    }
    Ok(())
}

/// The verifier answers a program it refuses like a caller it refuses (EACCES), so privileges are looked at first.
fn permitted() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| {
        let has = |capability| sets.effective.contains(capability);
        has(CapabilitySet::SYS_ADMIN) || has(CapabilitySet::BPF) && has(CapabilitySet::PERFMON)
    })
}

/// Capabilities count within the user namespace of their process, and kernel programs belong to the first one; these tell
/// processes by their ids in the first pid namespace, where /proc shows those of the agent's.
fn in_first_namespace(kind: &str, inode: u32) -> bool {
    std::fs::read_link(format!("/proc/self/ns/{kind}"))
        .map_or(true, |link| link == Path::new(&format!("{kind}:[{inode}]")))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.0-1051-aws"), Some((5, 15)));
        assert_eq!(version("6.18-rc1"), Some((6, 18)));
        assert_eq!(version("weird"), None);
        assert!(version("5.15.0") < Some(OLDEST));
        assert!(version("10.0.1") > Some(OLDEST));
    }
}
