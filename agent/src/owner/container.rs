//! Containers as they stand in cgroup paths.

use super::label::label_text;
use super::unit::unescape;
use std::borrow::Cow;

/// Length of the ids that every OCI runtime gives its containers, hex digits.
const ID_LENGTH: usize = 64;

/// A container, by what its cgroup's name tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Container {
    /// Container of an OCI runtime: it has an id, its name is the runtime's secret.
    Oci {
        /// 64 lower-case hex digits.
        id: String,
        /// Who made it.
        maker: Maker,
    },
    /// LXC or systemd-machined container (or a virtual machine of libvirt): it is known by name. Without it the services
    /// inside would be taken for the host's of the same name.
    Machine {
        /// Its name.
        name: String,
    },
}

/// Who made a container, as far as the path tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Maker {
    /// What made it.
    pub(crate) runtime: Option<Runtime>,
    /// In whose sessions: the user of a rootless engine.
    pub(crate) user: Option<u32>,
}

impl Maker {
    /// What its container `id` is remembered by. A user may give his cgroups any name, and what his engine tells counts for no other's.
    pub(crate) fn key(self, id: &str) -> Cow<'_, str> {
        match self.user {
            Some(user) => format!("{user}:{id}").into(),
            None => id.into(),
        }
    }
}

/// What makes containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Runtime {
    /// containerd, through CRI or nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
    /// podman.
    Podman,
}

impl Runtime {
    /// Name as people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl Container {
    /// The container whose top cgroup is `component` (below `parent`), in the sessions of `user`.
    pub(super) fn of(parent: &[u8], component: &[u8], user: Option<u32>) -> Option<Self> {
        oci(parent, component, user).or_else(|| machine(parent, component))
    }
}

/// `<64 hex>`, `<prefix>-<64 hex>`, `<prefix>-<64 hex>.scope`, and `<slice>:<prefix>:<64 hex>`: what runc makes of a path
/// for systemd when it was told to use cgroupfs.
fn oci(parent: &[u8], component: &[u8], user: Option<u32>) -> Option<Container> {
    let stem = component.strip_suffix(b".scope").unwrap_or(component);
    let (prefix, id) = stem.split_at_checked(stem.len().checked_sub(ID_LENGTH)?)?;
    if !id.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let runtime = match prefix.split_last() {
        None => (parent == b"docker").then_some(Runtime::Docker),
        Some((b'-' | b':', word)) => {
            let word = word.rsplit(|c| *c == b':').next().unwrap_or(word);
            // Podman's and CRI-O's monitor of a container: beside it, not in it.
            if word.ends_with(b"conmon") {
                return None;
            }
            runtime_of_prefix(word)
        }
        Some(_) => return None,
    };
    Some(Container::Oci {
        id: label_text(id),
        maker: Maker { runtime, user },
    })
}

fn runtime_of_prefix(prefix: &[u8]) -> Option<Runtime> {
    match prefix {
        b"cri-containerd" | b"nerdctl" => Some(Runtime::Containerd),
        b"crio" => Some(Runtime::Crio),
        b"docker" => Some(Runtime::Docker),
        b"libpod" | b"libpod-payload" => Some(Runtime::Podman),
        _ => None,
    }
}

/// Whether this is podman's `--cgroups=split` layout (each quadlet): the container is the service it lives in.
pub(super) fn is_split_from_service(component: &[u8]) -> bool {
    component.starts_with(b"libpod-payload-")
}

fn machine(parent: &[u8], component: &[u8]) -> Option<Container> {
    let name = match parent {
        // LXC 3 and Proxmox; LXC 4.
        b"lxc" | b"lxc.payload" => component.to_vec(),
        b"machine.slice" => unescape(
            component
                .strip_prefix(b"machine-")?
                .strip_suffix(b".scope")?,
        ),
        // LXC from 4.0.1 on, LXD, Incus.
        _ => component.strip_prefix(b"lxc.payload.")?.to_vec(),
    };
    let name = label_text(&name);
    (!name.is_empty()).then_some(Container::Machine { name })
}

/// Uid of the pod that a component belongs to: `pod<uid>` or `...-pod<uid with _>.slice`, perhaps with a container's name
/// behind it. A uid is a UUID; a static pod's is 32 hex digits.
pub(super) fn pod_uid(component: &[u8]) -> Option<String> {
    let unit = component.split(|c| *c == b':').next()?;
    let stem = unit.strip_suffix(b".slice").unwrap_or(unit);
    let uid = match stem.strip_prefix(b"pod") {
        Some(uid) => uid,
        None => stem
            .rsplit(|c| *c == b'-')
            .find_map(|word| word.strip_prefix(b"pod"))?,
    };
    let uid: Vec<u8> = uid
        .iter()
        .map(|c| if *c == b'_' { b'-' } else { *c })
        .collect();
    is_pod_uid(&uid).then(|| label_text(&uid))
}

fn is_pod_uid(uid: &[u8]) -> bool {
    let hex = |c: &u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    match uid.len() {
        32 => uid.iter().all(hex),
        36 => uid.iter().enumerate().all(|(i, c)| {
            if matches!(i, 8 | 13 | 18 | 23) {
                *c == b'-'
            } else {
                hex(c)
            }
        }),
        _ => false,
    }
}
