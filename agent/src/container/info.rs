//! What is known of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of a container beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerInfo {
    /// Its name, without Docker's leading slash; in a pod the container's name in the pod's specification.
    pub(crate) name: Option<String>,
    /// Image as it was asked for, such as `registry.example:5000/shop/cart:1.4`; never a bare digest if a name is known.
    pub(crate) image: Option<String>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its annotations; only Kubernetes gives a container some.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Of the environment that it was configured with: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    pub(crate) environment: BTreeMap<String, String>,
    /// The pod that it is in.
    pub(crate) pod: Option<Arc<PodInfo>>,
}

/// What is known of a pod of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its uid, for a static pod the hash that stands for one.
    pub(crate) uid: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Name of the Deployment, StatefulSet, DaemonSet, Job, CronJob or other that made it.
    pub(crate) workload: Option<String>,
    /// Name of the node in the cluster.
    pub(crate) node: Option<String>,
}

/// Answer to the question what a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// This. It stays so, also when the container has ended.
    Known(Arc<ContainerInfo>),
    /// It is being asked, or not all who may know it answer: ask again with the next window.
    Asking,
    /// Those that may know it have said that they do not.
    Unknown,
}
