//! The labels of an owner, and the order in which its name is looked for.

use super::cgroup_owner::CgroupOwner;
use super::container::{self, Container};
use super::declaration::service_name;
use super::identity::{Identity, Place};
use super::image;
use super::label::{label_name, label_text};
use super::rule::Rule;
use super::{Owner, unit};
use crate::container::{ContainerInfo, PodInfo};
use std::borrow::Cow;

/// Digits of a container's id that its engine's own commands print and accept.
const SHORT_ID: usize = 12;
/// Labels of one owner that go to the server, beside those that are always there: `__name__`, `node`, `profiler` and
/// `service_name`. With them it is 12.
const ROOM: usize = 8;
/// Names that every profile has already.
const RESERVED: [&str; 3] = ["service_name", "node", "profiler"];
const ANNOTATION: &str = "pyroscope.io/service_name";
const KUBERNETES_NAME: &str = "app.kubernetes.io/name";
const COMPOSE_SERVICE: [&str; 2] = ["com.docker.compose.service", "io.podman.compose.service"];

/// What labels there are to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelConfig {
    /// Labels of pods that become labels of their owners.
    pub(crate) pod_labels: Vec<String>,
    /// The same for annotations.
    pub(crate) pod_annotations: Vec<String>,
    /// What this host is called.
    pub(crate) node: String,
    /// A pod's node is called as its cluster calls it: nobody has said what this host is to be called.
    pub(crate) nodes_of_pods: bool,
}

/// The labels of an owner in the making.
#[derive(Debug)]
pub(super) struct Labels {
    pub(super) service_name: String,
    /// The most important first: what is beyond the room there is left out. No value is empty, and none has a control character.
    others: Vec<(String, String)>,
}

impl Labels {
    /// Those of a process by what its container is known to be.
    pub(super) fn new(
        identity: &Identity,
        info: Option<&ContainerInfo>,
        config: &LabelConfig,
    ) -> Self {
        let mut labels = Self {
            service_name: name(identity, info),
            others: Vec::new(),
        };
        let Place::Cgroup(cgroup) = &identity.place else {
            return labels;
        };
        let pod = info.and_then(|info| info.pod.as_deref());
        let pod_name = pod
            .map(|pod| pod.name.as_str())
            .filter(|name| !name.is_empty());
        labels.push("namespace", pod.map(|pod| pod.namespace.as_str()));
        labels.push("pod", pod_name.or(cgroup.pod_uid.as_deref()));
        labels.push("container", container_name(cgroup, info).as_deref());
        if let Some(pod) = pod {
            labels.push_chosen(pod, config);
        }
        labels.push("workload", pod.and_then(|pod| pod.workload.as_deref()));
        let image = info.and_then(|info| info.image.as_deref());
        labels.push("version", image.and_then(image::tag));
        let unit = cgroup.unit.as_ref().map(unit::Unit::label);
        labels.push("unit", unit.as_deref());
        labels.push("image", image);
        if let Some(Container::Oci { id, .. }) = &cgroup.container {
            labels.push("container_id", Some(short(id)));
        }
        if config.nodes_of_pods {
            labels.push("node", pod.and_then(|pod| pod.node.as_deref()));
        }
        labels
    }

    /// Adds what the configuration wants of a pod's labels and annotations. They come before our own labels of the same names.
    fn push_chosen(&mut self, pod: &PodInfo, config: &LabelConfig) {
        let lists = [
            (&config.pod_labels, &pod.labels),
            (&config.pod_annotations, &pod.annotations),
        ];
        for (chosen, there) in lists {
            for key in chosen {
                let name = label_name(key);
                if !name.starts_with("__") && !RESERVED.contains(&name.as_str()) {
                    self.push(&name, there.get(key).map(String::as_str));
                }
            }
        }
    }

    /// Adds a label behind the others, if it has a value and there is none of this name.
    fn push(&mut self, name: &str, value: Option<&str>) {
        let value = label_text(value.unwrap_or_default().as_bytes());
        if !value.is_empty() && !self.others.iter().any(|(known, _)| known == name) {
            self.others.push((name.to_owned(), value));
        }
    }

    /// The value of a label; empty where there is none.
    pub(super) fn get<'a>(&'a self, name: &str, config: &'a LabelConfig) -> &'a str {
        if name == "service_name" {
            return &self.service_name;
        }
        let others = self.others.iter();
        let own = others
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str());
        let host = (name == "node").then_some(config.node.as_str());
        own.chain(host).next().unwrap_or_default()
    }

    /// Sets a label as a rule wants it, before all others; one with an empty value is taken away. A service without a name keeps
    /// the one that it has.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let value = label_text(value.as_bytes());
        if name == "service_name" {
            if !value.is_empty() {
                self.service_name = value;
            }
            return;
        }
        self.others.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.others.insert(0, (name.to_owned(), value));
        }
    }

    /// What the rules make of them; nothing if the owner is not to be profiled.
    pub(super) fn ruled(mut self, rules: &[Rule], config: &LabelConfig) -> Option<Self> {
        for rule in rules {
            if !rule.apply(&mut self, config) {
                return None;
            }
        }
        Some(self)
    }

    /// The owner, and how many labels there was no room for.
    pub(super) fn into_owner(self) -> (Owner, usize) {
        // In the place of the host's name, which is always there.
        let (node, mut others): (Vec<_>, Vec<_>) = self
            .others
            .into_iter()
            .partition(|(name, _)| name == "node");
        let dropped = others.len().saturating_sub(ROOM);
        others.truncate(ROOM);
        others.extend(node);
        (Owner::new(self.service_name, others), dropped)
    }
}

/// The name of a service, by who says it. A rule may say otherwise later.
fn name(identity: &Identity, info: Option<&ContainerInfo>) -> String {
    let cgroup = match &identity.place {
        Place::Kernel => return "kernel".to_owned(),
        Place::Cgroup(cgroup) => Some(cgroup),
        Place::Executable(_) => None,
    };
    let of_process = || identity.service_name.as_deref().map(str::to_owned);
    let of_runtime = || info.and_then(name_by_runtime);
    let of_cgroup = || cgroup.and_then(|cgroup| name_by_cgroup(cgroup, info));
    let of_executable = || match &identity.place {
        Place::Executable(name) => name.clone(),
        _ => "unknown".to_owned(),
    };
    of_process()
        .or_else(of_runtime)
        .or_else(of_cgroup)
        .unwrap_or_else(of_executable)
}

/// By what its makers wrote about the container and its pod.
fn name_by_runtime(info: &ContainerInfo) -> Option<String> {
    let pod = info.pod.as_deref();
    let environment = || {
        let name = service_name(|name| info.environment.get(name).cloned())?;
        Some(name.to_string())
    };
    let annotation = || {
        // Docker's containers have labels only.
        let of_pod = pod.and_then(|pod| pod.annotations.get(ANNOTATION));
        let of_container = || {
            info.annotations
                .get(ANNOTATION)
                .or(info.labels.get(ANNOTATION))
        };
        of_pod.or_else(of_container).and_then(|name| text(name))
    };
    let label = || {
        let of_pod = pod.and_then(|pod| pod.labels.get(KUBERNETES_NAME));
        of_pod
            .or_else(|| info.labels.get(KUBERNETES_NAME))
            .and_then(|name| text(name))
    };
    let workload = || pod.and_then(|pod| text(pod.workload.as_deref()?));
    let compose = || {
        let mut keys = COMPOSE_SERVICE.iter();
        keys.find_map(|key| text(info.labels.get(*key)?))
    };
    environment()
        .or_else(annotation)
        .or_else(label)
        .or_else(workload)
        .or_else(compose)
}

/// By the container's name, the unit, or who made the container.
fn name_by_cgroup(cgroup: &CgroupOwner, info: Option<&ContainerInfo>) -> Option<String> {
    let container = container_name(cgroup, info).map(Cow::into_owned);
    let unit = || Some(cgroup.unit.as_ref()?.short_name().to_owned());
    let engine = || match cgroup.container.as_ref()? {
        Container::Oci { id, maker } => {
            let engine = maker.runtime.map_or("container", container::Runtime::name);
            Some(format!("{engine}-{}", short(id)))
        }
        Container::Machine { .. } => None,
    };
    container.or_else(unit).or_else(engine)
}

fn container_name<'a>(
    cgroup: &'a CgroupOwner,
    info: Option<&'a ContainerInfo>,
) -> Option<Cow<'a, str>> {
    match &cgroup.container {
        Some(Container::Machine { name }) => Some(name.into()),
        _ => text(info?.name.as_deref()?).map(Cow::from),
    }
}

fn text(value: &str) -> Option<String> {
    let value = label_text(value.trim().as_bytes());
    (!value.is_empty()).then_some(value)
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

#[cfg(test)]
mod tests;
