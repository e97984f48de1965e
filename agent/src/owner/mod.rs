//! Whom a process belongs to: the container, the unit or the executable its profile is labelled by.
//!
//! ```text
//! cgroup id of the sample ─► Cgroups (id -> path) ─► CgroupOwner ─┐
//!                                       executable of the process ┴─► Owner ─► labels
//! ```

mod cgroup_owner;
mod cgroups;
mod container;
mod hierarchy;
mod label;
mod unit;

pub(crate) use cgroup_owner::CgroupOwner;
pub(crate) use cgroups::Cgroups;
pub(crate) use container::Runtime;
pub(crate) use hierarchy::{CgroupMount, Hierarchy};
pub(crate) use label::label_text;

use container::Container;

/// Digits of a container's id that its engine's own commands print and accept.
const SHORT_ID: usize = 12;

/// Container, unit or executable that a profile is labelled by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Name a person looks for; never empty.
    pub(crate) service_name: String,
    /// Full id of the container.
    pub(crate) container_id: Option<String>,
    /// Name of the container.
    pub(crate) container: Option<String>,
    /// Kubernetes pod: its name, or its uid while the name is unknown.
    pub(crate) pod: Option<String>,
    /// Kubernetes namespace.
    pub(crate) namespace: Option<String>,
    /// systemd service; `user@1000.service/name.service` for one of a user.
    pub(crate) unit: Option<String>,
}

/// What a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program<'a> {
    /// Kernel thread, the idle task among them.
    Kernel,
    /// Path of the executable as /proc/PID/exe shows it, or the process's name where that is all there is.
    Executable(&'a [u8]),
}

impl Owner {
    /// Owner of a process.
    ///
    /// `service_name` is the container's name, else the service, else `<engine>-<short id>`, else the executable. A container
    /// is not named by an executable: it runs many, which one is the main one changes while it starts (`runc`, `sh`, `java`),
    /// and a name that flips splits a series.
    pub(crate) fn of(cgroup: Option<&CgroupOwner>, program: Program<'_>) -> Self {
        let executable = match program {
            Program::Kernel => return Self::named("kernel".to_owned()),
            Program::Executable(path) => path,
        };
        let Some(cgroup) = cgroup else {
            return Self::named(executable_name(executable));
        };
        let (container, container_id, fallback) = match &cgroup.container {
            Some(Container::Machine { name }) => (Some(name.clone()), None, None),
            Some(Container::Oci { id, runtime }) => {
                let short = id.get(..SHORT_ID).unwrap_or(id);
                let engine = runtime.map_or("container", Runtime::name);
                (None, Some(id.clone()), Some(format!("{engine}-{short}")))
            }
            None => (None, None, None),
        };
        let service = cgroup.service.as_ref();
        let service_name = container
            .clone()
            .or_else(|| service.map(|service| service.short_name().to_owned()))
            .or(fallback)
            .unwrap_or_else(|| executable_name(executable));
        Self {
            service_name,
            container_id,
            container,
            pod: cgroup.pod_uid.clone(),
            namespace: None,
            unit: service.map(unit::Service::label),
        }
    }

    fn named(service_name: String) -> Self {
        Self {
            service_name,
            container_id: None,
            container: None,
            pod: None,
            namespace: None,
            unit: None,
        }
    }

    /// Its labels, name and value, each at most once; `node` is not among them, it is the host's.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("service_name", Some(&self.service_name)),
            ("container_id", self.container_id.as_ref()),
            ("container", self.container.as_ref()),
            ("pod", self.pod.as_ref()),
            ("namespace", self.namespace.as_ref()),
            ("unit", self.unit.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.as_str())))
    }
}

/// Last component of an executable's path.
fn executable_name(path: &[u8]) -> String {
    // The kernel marks a file that was replaced while it runs; an upgrade shall not begin a new series.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = label_text(path.rsplit(|c| *c == b'/').next().unwrap_or(path));
    // Servers refuse an empty service_name.
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";

    fn owner(path: &str) -> Owner {
        Owner::of(
            CgroupOwner::of_path(path.as_bytes()).as_ref(),
            Program::Executable(b"/usr/bin/app"),
        )
    }

    fn labels(owner: &Owner) -> Vec<(&'static str, &str)> {
        owner.labels().collect()
    }

    /// The documented order of names, one case each, with all the labels that come of it.
    #[test]
    fn labels_follow_the_documented_order() {
        let docker = owner(&format!("/docker/{ID}"));
        assert_eq!(
            labels(&docker),
            [
                ("service_name", "docker-3726184226f5"),
                ("container_id", ID)
            ]
        );
        let unknown_engine = owner(&format!(
            "/kubepods/pod3d274242-8ee0-11e9-a8a6-1e68d864ef1a/{ID}"
        ));
        assert_eq!(
            labels(&unknown_engine),
            [
                ("service_name", "container-3726184226f5"),
                ("container_id", ID),
                ("pod", "3d274242-8ee0-11e9-a8a6-1e68d864ef1a")
            ]
        );
        let quadlet = owner(&format!("/system.slice/web.service/libpod-payload-{ID}"));
        assert_eq!(
            labels(&quadlet),
            [
                ("service_name", "web"),
                ("container_id", ID),
                ("unit", "web.service")
            ]
        );
        let lxc = owner("/lxc.payload.db1/system.slice/postgresql.service");
        assert_eq!(
            labels(&lxc),
            [
                ("service_name", "db1"),
                ("container", "db1"),
                ("unit", "postgresql.service")
            ]
        );
        let unit = owner("/system.slice/nginx.service");
        assert_eq!(
            labels(&unit),
            [("service_name", "nginx"), ("unit", "nginx.service")]
        );
        assert_eq!(
            labels(&owner("/user.slice/user-0.slice/session-1.scope")),
            [("service_name", "app")]
        );
    }

    /// A user's service has the name he gave it, but is not the system's service of that name.
    #[test]
    fn user_service_is_not_the_systems() {
        let system = owner("/system.slice/ssh.service");
        let user = owner("/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service");
        assert_eq!(system.service_name, user.service_name);
        assert_ne!(system, user);
        assert_eq!(user.unit.as_deref(), Some("user@1000.service/ssh.service"));
    }

    /// Kernel threads are `kernel` wherever they are: vhost workers sit in the virtual machine's cgroup.
    #[test]
    fn kernel_threads_are_kernel() {
        let cgroup = CgroupOwner::of_path(b"/system.slice/nginx.service");
        assert!(cgroup.is_some());
        assert_eq!(
            labels(&Owner::of(cgroup.as_ref(), Program::Kernel)),
            [("service_name", "kernel")]
        );
    }

    /// The forms in which the kernel and a lying process write an executable.
    #[test]
    fn executables_by_last_component() {
        for (path, name) in [
            (&b"/usr/sbin/nginx"[..], "nginx"),
            (b"/usr/sbin/nginx (deleted)", "nginx"),
            (b"/memfd:runc_cloned (deleted)", "memfd:runc_cloned"),
            (b"kworker-like", "kworker-like"),
            (b"", "unknown"),
            (b"/", "unknown"),
            (b"/tmp/\n\x07", "unknown"),
            (b"/tmp/\xff", "\u{fffd}"),
        ] {
            assert_eq!(
                Owner::of(None, Program::Executable(path)).service_name,
                name
            );
        }
    }
}
