//! Whom a process belongs to: the container, the unit or the executable its profile is labelled by.

/// Container, unit or executable that a profile is labelled by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Name a person looks for.
    pub(crate) service_name: String,
    /// Full id of the container.
    pub(crate) container_id: Option<String>,
    /// Name of the container.
    pub(crate) container: Option<String>,
    /// Kubernetes pod: its name, or its uid while the name is unknown.
    pub(crate) pod: Option<String>,
    /// Kubernetes namespace.
    pub(crate) namespace: Option<String>,
    /// systemd service.
    pub(crate) unit: Option<String>,
}
