//! Where runtimes and the API server are looked for.

use crate::cli::RuntimeArgs;
use crate::host;
use std::ffi::OsString;
use std::path::PathBuf;

/// What Kubernetes gives a pod to reach the API server by.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where runtimes are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeConfig {
    /// Socket of containerd in place of the usual ones.
    pub(crate) containerd_socket: Option<PathBuf>,
    /// Socket of CRI-O in place of the usual one.
    pub(crate) crio_socket: Option<PathBuf>,
    /// Socket of Docker in place of the usual one.
    pub(crate) docker_socket: Option<PathBuf>,
    /// Socket of podman in place of the usual one.
    pub(crate) podman_socket: Option<PathBuf>,
    /// The API server, where the agent runs in a pod.
    pub(crate) kubernetes: Option<KubernetesConfig>,
    /// Root directories below which usual places are looked for, none to look at none.
    pub(crate) roots: Vec<PathBuf>,
}

/// The API server of the cluster, as a pod is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KubernetesConfig {
    /// `https://<host>:<port>`.
    pub(crate) url: String,
    /// Name of this node in the cluster.
    pub(crate) node: String,
    /// Directory of the service account: `token` and `ca.crt`.
    pub(crate) service_account: PathBuf,
}

impl RuntimeConfig {
    /// Sockets as they were given, the rest as this host is.
    pub(crate) fn new(args: &RuntimeArgs) -> Self {
        Self {
            containerd_socket: args.containerd_socket.clone(),
            crio_socket: args.crio_socket.clone(),
            docker_socket: args.docker_socket.clone(),
            podman_socket: args.podman_socket.clone(),
            kubernetes: KubernetesConfig::of_environment(|name| std::env::var_os(name)),
            roots: host::roots(),
        }
    }
}

impl KubernetesConfig {
    /// The server that Kubernetes names in the environment of each pod. The node's name must be in NODE_NAME, by the downward API: no pod
    /// knows it by itself.
    fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let text = |name| variable(name)?.into_string().ok().filter(|v| !v.is_empty());
        let host = text("KUBERNETES_SERVICE_HOST")?;
        let port = text("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
        let node = text("NODE_NAME")?;
        // A bare IPv6 address needs its brackets.
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Some(Self {
            url: format!("https://{host}:{port}"),
            node,
            service_account: PathBuf::from(SERVICE_ACCOUNT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<KubernetesConfig> {
        KubernetesConfig::of_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        })
    }

    /// The API server is asked only with the name of a node: the list of all nodes' pods is too much for every one of them to ask for.
    #[test]
    fn a_pod_is_told_of_the_server() {
        let told = of(&[
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
            ("NODE_NAME", "worker-1"),
        ]);
        let told = told.unwrap();
        assert_eq!(
            (told.url.as_str(), told.node.as_str()),
            ("https://10.0.0.1:6443", "worker-1")
        );
        let v6 = of(&[("KUBERNETES_SERVICE_HOST", "fd00::1"), ("NODE_NAME", "w")]);
        assert_eq!(v6.unwrap().url, "https://[fd00::1]:443");
        assert_eq!(of(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]), None);
        assert_eq!(of(&[("NODE_NAME", "worker-1")]), None);
    }
}
