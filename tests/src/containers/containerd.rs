//! containerd with its CRI service: pods as the kubelet makes them, and containers of other clients.

use super::cri::{
    CREATE_CONTAINER, Container, ContainerConfig, ContainerMetadata, ContainerSecurityContext,
    CreateContainerRequest, ImageSpec, KeyValue, LinuxContainerConfig, LinuxPodSandboxConfig,
    NamespaceOption, Nothing, OF_NODE, PodSandboxConfig, PodSandboxMetadata, REMOVE_POD_SANDBOX,
    RUN_POD_SANDBOX, RunPodSandboxRequest, START_CONTAINER, STOP_POD_SANDBOX, Sandbox,
    SandboxSecurityContext,
};
use super::grpc::call;
use super::state::{Daemon, State, remove_cgroup};
use super::{Wanted, image, installed};
use crate::cgroup::Cgroup;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Image of what holds a pod's namespaces.
const PAUSE: &str = "local/pause:1";

/// A pod to make.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its annotations.
    pub annotations: &'a [(&'a str, &'a str)],
}

/// A containerd of a test's own.
#[derive(Debug)]
pub struct Containerd {
    client: PathBuf,
    /// Sandboxes of pods, to be removed.
    sandboxes: Mutex<Vec<String>>,
    /// Cgroups that the kubelet would remove.
    cgroups: Mutex<Vec<String>>,
    /// Namespace and id of other containers, to be removed.
    others: Mutex<Vec<(String, String)>>,
    // Ended before its directory goes.
    daemon: Option<Daemon>,
    state: State,
}

impl Containerd {
    /// Starts one; none, with a line that says so, where containerd is not installed.
    pub fn start(test: &str) -> Option<Containerd> {
        let program = installed(test, "containerd")?;
        let client = installed(test, "ctr")?;
        installed(test, "runc")?;
        let state = State::new();
        let configuration = state.path().join("config.toml");
        fs::write(&configuration, configuration_of(state.path())).unwrap();
        fs::create_dir_all(state.path().join("run/containerd")).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(configuration);
        let daemon = Some(Daemon::start(command, state.path(), &socket(&state)));
        let containerd = Containerd {
            client,
            sandboxes: Mutex::default(),
            cgroups: Mutex::default(),
            others: Mutex::default(),
            daemon,
            state,
        };
        containerd.import("k8s.io", PAUSE);
        Some(containerd)
    }

    /// Directory below which its socket lies as below a host's root: `run/containerd/containerd.sock`.
    pub fn root(&self) -> &Path {
        self.state.path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        socket(&self.state)
    }

    /// Makes a pod and returns the id of its sandbox.
    pub fn run_pod(&self, pod: &Pod<'_>) -> String {
        let request = RunPodSandboxRequest {
            config: Some(sandbox_of(pod)),
        };
        let mut cgroups = self.cgroups.lock().unwrap();
        cgroups.push(cgroup_of(pod));
        let made: Sandbox = self.call(RUN_POD_SANDBOX, &request);
        let mut sandboxes = self.sandboxes.lock().unwrap();
        sandboxes.push(made.id.clone());
        made.id
    }

    /// Runs a container in a pod that was made, and returns its id.
    pub fn run_in_pod(&self, sandbox: &str, pod: &Pod<'_>, wanted: &Wanted<'_>) -> String {
        self.import("k8s.io", wanted.image);
        let mut labels = owned(wanted.labels);
        // What the kubelet writes on each container.
        for (name, value) in [
            ("io.kubernetes.container.name", wanted.name),
            ("io.kubernetes.pod.name", pod.name),
            ("io.kubernetes.pod.namespace", pod.namespace),
            ("io.kubernetes.pod.uid", pod.uid),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        let variables = wanted.environment.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        });
        let command = [image::PROGRAM].iter().chain(wanted.arguments);
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: wanted.name.to_owned(),
            }),
            image: Some(ImageSpec {
                image: wanted.image.to_owned(),
            }),
            command: command.map(|word| (*word).to_owned()).collect(),
            envs: variables.collect(),
            labels,
            linux: Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurityContext {
                    namespace_options: Some(NamespaceOption { network: OF_NODE }),
                }),
            }),
        };
        let request = CreateContainerRequest {
            sandbox: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_of(pod)),
        };
        let made: Container = self.call(CREATE_CONTAINER, &request);
        let _: Nothing = self.call(START_CONTAINER, &made);
        made.id
    }

    /// The processes of a container in a pod.
    pub fn processes(&self, pod: &Pod<'_>, id: &str) -> Vec<u32> {
        Cgroup::processes(&format!("{}/{id}", cgroup_of(pod)))
    }

    /// Runs a container as nerdctl would, in `namespace`.
    pub fn run_elsewhere(&self, namespace: &str, id: &str, wanted: &Wanted<'_>) {
        self.import(namespace, wanted.image);
        let mut command = self.ctr(namespace);
        command.args(["run", "--detach", "--snapshotter=native", "--net-host"]);
        command
            .arg("--label")
            .arg(format!("nerdctl/name={}", wanted.name));
        for (name, value) in wanted.labels {
            command.arg("--label").arg(format!("{name}={value}"));
        }
        for (name, value) in wanted.environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        let mut others = self.others.lock().unwrap();
        others.push((namespace.to_owned(), id.to_owned()));
        self.cgroups.lock().unwrap().push(namespace.to_owned());
        command
            .args([&with_registry(wanted.image), id, image::PROGRAM])
            .args(wanted.arguments);
        image::run(&mut command);
    }

    /// Removes a pod and its containers.
    pub fn remove_pod(&self, sandbox: &str) {
        remove_pod(&self.socket(), sandbox).unwrap();
        self.sandboxes.lock().unwrap().retain(|id| id != sandbox);
    }

    fn import(&self, namespace: &str, name: &str) {
        let layer = image::file_system(self.state.path());
        let name = with_registry(name);
        let archive = image::archive(self.state.path(), &layer, &name);
        let mut command = self.ctr(namespace);
        command
            .args(["image", "import", "--snapshotter=native"])
            .arg(archive);
        image::run(&mut command);
    }

    fn ctr(&self, namespace: &str) -> Command {
        let mut client = Command::new(&self.client);
        client
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace]);
        client
    }

    fn call<A: prost::Message + Default>(&self, method: &str, question: &impl prost::Message) -> A {
        call(&self.socket(), method, question).unwrap_or_else(|error| {
            let log = self.daemon.as_ref().map(Daemon::log);
            panic!("{error}\n{}", log.unwrap_or_default())
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let sandboxes = self
            .sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for sandbox in sandboxes.iter() {
            let _ = remove_pod(&self.socket(), sandbox);
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        for (namespace, id) in others.iter() {
            let _ = self
                .ctr(namespace)
                .args(["task", "rm", "--force", id])
                .output();
            let _ = self.ctr(namespace).args(["container", "rm", id]).output();
        }
        self.daemon = None;
        let cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
        cgroups.iter().for_each(|path| remove_cgroup(path));
    }
}

fn remove_pod(socket: &Path, sandbox: &str) -> Result<(), String> {
    let question = Sandbox {
        id: sandbox.to_owned(),
    };
    let _: Nothing = call(socket, STOP_POD_SANDBOX, &question)?;
    let _: Nothing = call(socket, REMOVE_POD_SANDBOX, &question)?;
    Ok(())
}

fn cgroup_of(pod: &Pod<'_>) -> String {
    format!("kubepods/besteffort/pod{}", pod.uid)
}

fn sandbox_of(pod: &Pod<'_>) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name.to_owned(),
            uid: pod.uid.to_owned(),
            namespace: pod.namespace.to_owned(),
        }),
        labels: owned(pod.labels),
        annotations: owned(pod.annotations),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}", cgroup_of(pod)),
            security_context: Some(SandboxSecurityContext {
                namespace_options: Some(NamespaceOption { network: OF_NODE }),
            }),
        }),
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

/// An image's name in full, as clients write it before containerd sees it.
fn with_registry(name: &str) -> String {
    let first = name.split('/').next().unwrap_or(name);
    if first.contains(['.', ':']) {
        name.to_owned()
    } else {
        format!("docker.io/{name}")
    }
}

fn socket(state: &State) -> PathBuf {
    state.path().join("run/containerd/containerd.sock")
}

/// Without a network, without devices, and without what takes CAP_SYS_RESOURCE.
fn configuration_of(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{directory}/run/containerd/containerd.sock"
[ttrpc]
address = "{directory}/run/containerd/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "docker.io/{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/cni"
conf_dir = "{directory}/cni"
"#
    )
}
