//! What can keep the programs from running, each with what to do about it.

use std::io;

/// Why sampling could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not load programs or open events.
    #[error(
        "loading kernel programs is not permitted: run as root, or with CAP_BPF, CAP_PERFMON and those that deploy/thermograph.service lists"
    )]
    NotPermitted,
    /// The process has the capabilities, but not those of the host.
    #[error(
        "loading kernel programs is not permitted in a user namespace, even to its root: run as the host's root"
    )]
    UserNamespace,
    /// The process sees other process ids than the kernel programs do.
    #[error(
        "processes cannot be told apart from within a pid namespace, which none can leave: run in the host's (docker run --pid=host, hostPID: true of a pod)"
    )]
    PidNamespace,
    /// The kernel was built without type information.
    #[error(
        "this kernel has no type information (/sys/kernel/btf/vmlinux): a kernel with CONFIG_DEBUG_INFO_BTF is needed"
    )]
    NoBtf,
    /// The kernel lacks something the programs stand on.
    #[error("this kernel ({release}) lacks {feature}: Linux 6.1 or newer is needed")]
    Unsupported {
        /// Release of the running kernel.
        release: String,
        /// What is missing.
        feature: &'static str,
    },
    /// The verifier or libbpf refused the programs.
    #[error("the kernel ({release}) refused the programs, and says why with -vv: {source}")]
    Load {
        /// Release of the running kernel.
        release: String,
        /// libbpf's words.
        source: libbpf_rs::Error,
    },
    /// A map could not be made, read or written.
    #[error("cannot {action}: {source}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// libbpf's words.
        source: libbpf_rs::Error,
    },
    /// A map still holds counts of a window that is over: another window must not be counted on top of them.
    #[error(
        "a map of counts cannot be drained: the kernel may be out of memory, free some and start again"
    )]
    Undrained,
    /// An event could not be opened on a CPU.
    #[error("cannot open a {event} event on CPU {cpu}: {source}")]
    Event {
        /// Which event.
        event: &'static str,
        /// Where.
        cpu: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file of the kernel's could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn map(action: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Self {
        move |source| Self::Map { action, source }
    }
}
