//! From a cgroup's path to the container or unit that owns what runs in it.

use super::container::{self, Container};
use super::label::label_text;
use super::unit::{self, Unit};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What a cgroup's path says about the owner of the processes in it.
///
/// Two questions have no obvious answer:
///
/// - *Containers in containers* (docker-in-docker, kind, containers in a pod or in LXC): the innermost counts. The outer one
///   would throw all workloads of a kind node or a CI runner into one profile, and what has been merged can't be told apart
///   again. The price: who may make cgroups in his container can borrow another container's id for his own processes.
/// - *Services in services* (systemd-nspawn, any unit with `Delegate=`): the outermost counts, save for user managers
///   (`user@.service`). That one was named by the system's manager; what is below it, by the service itself.
///
/// A service inside a container (systemd in Docker, a kind node's kubelet, LXC) is told beside the container; the one
/// *around* it is not, because that is the engine (`containerd.service` holds all its containers where cgroup drivers are
/// mixed), save for podman's split layout, where the service is the container.
///
/// What is in neither, but in a slice that somebody has made for it (`systemd-run --slice=batch --scope`), is the slice's: its scopes
/// have a new name each time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CgroupOwner {
    /// Innermost container.
    pub(crate) container: Option<Container>,
    /// Uid of the innermost Kubernetes pod.
    pub(crate) pod_uid: Option<String>,
    /// Outermost service in the container, or on the host; on the host, where there is no service, the slice.
    pub(crate) unit: Option<Unit>,
    /// Name of the outermost cgroup that is a container, a service or a user's manager. What runs in it may be able to make cgroups
    /// below, as many as it likes and called as it likes.
    pub(crate) realm: Arc<str>,
}

impl CgroupOwner {
    /// Owner by the cgroup `path`, relative to the root of its hierarchy (`/system.slice/nginx.service`, as in
    /// /proc/PID/cgroup). None where no container, service or slice of its own is in it: sessions, pods, scopes and the root.
    pub(crate) fn of_path(path: &[u8]) -> Option<Self> {
        let mut owner = Self::default();
        let mut manager = None;
        let mut realm = None;
        // The first one was made by the system's manager; below it users make what they like, containers in containers too.
        let mut user = None;
        let mut parent: &[u8] = b"";
        for component in path.split(|c| *c == b'/').filter(|c| !c.is_empty()) {
            owner.pod_uid = container::pod_uid(component).or(owner.pod_uid);
            if owner.container.is_none() && owner.unit.is_none() {
                user = user.or_else(|| unit::user_of_manager(component));
            }
            if let Some(container) = Container::of(parent, component, user) {
                owner.container = Some(container);
                if !container::is_split_from_service(component) {
                    owner.unit = None;
                }
                manager = None;
                realm.get_or_insert(component);
            } else if let (None, Some(unit)) = (&owner.unit, unit::service_unit(component)) {
                if unit::is_user_manager(&unit) {
                    manager = Some(unit);
                } else {
                    owner.unit = Some(Unit {
                        manager: manager.take(),
                        name: unit,
                    });
                }
                realm.get_or_insert(component);
            }
            parent = component;
        }
        // What supports the containers of a pod is in the pod's slice.
        if owner.container.is_none()
            && owner.unit.is_none()
            && realm.is_none()
            && owner.pod_uid.is_none()
        {
            let slice = unit::slice_unit(path)?;
            owner.realm = slice.as_str().into();
            owner.unit = Some(Unit {
                manager: None,
                name: slice,
            });
            return Some(owner);
        }
        owner.realm = label_text(realm.unwrap_or_default()).into();
        (owner.container.is_some() || owner.unit.is_some()).then_some(owner)
    }
}
