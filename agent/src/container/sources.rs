//! All places where containers are known, in the order in which they are asked.

use super::error::AskError;
use super::kubernetes::Api;
use super::socket::Socket;
use super::source::{DEADLINE, Files, Finding, Source, Way};
use super::trouble::SourceTrouble;
use super::users::UserEngines;
use super::{ContainerInfo, RuntimeConfig};
use crate::owner::{Maker, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::warn;

/// Usual places of sockets below a root directory. `/var/run` is a link to `/run` on hosts, and where people mount sockets in containers.
const CONTAINERD: [&str; 2] = [
    "run/containerd/containerd.sock",
    "run/k3s/containerd/containerd.sock",
];
const CRIO: [&str; 2] = ["run/crio/crio.sock", "var/run/crio/crio.sock"];
const DOCKER: [&str; 2] = ["run/docker.sock", "var/run/docker.sock"];
const PODMAN: [&str; 2] = ["run/podman/podman.sock", "var/run/podman/podman.sock"];

/// An id that no container has.
const NOBODYS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// All places where containers are known.
pub(super) struct Sources {
    all: Vec<Source>,
    users: UserEngines,
    api: Option<Arc<Api>>,
    none_said: AtomicBool,
}

/// What asking all of them came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// One knows the container.
    Found(ContainerInfo),
    /// Those that may know it were asked, and none does.
    NotThere,
    /// Some of those did not answer, or are not there yet.
    Unsure,
    /// There is nobody to ask, or not yet.
    NoneThere,
}

/// What some of them said who do not know the container.
#[derive(Default)]
struct Answers {
    no: bool,
    failed: bool,
}

impl Sources {
    pub(super) fn new(config: &RuntimeConfig) -> Self {
        let roots = &config.roots;
        let socket =
            |given: &Option<_>, usual: &[&str]| Socket::new(given.as_deref(), usual, roots);
        let containerd = Way::Containerd(socket(&config.containerd_socket, &CONTAINERD));
        let crio = Way::Cri(socket(&config.crio_socket, &CRIO));
        let docker = Way::Engine(socket(&config.docker_socket, &DOCKER));
        let podman = Way::Engine(socket(&config.podman_socket, &PODMAN));
        let docker_state = Way::State(Files::docker(roots));
        let podman_state = Way::State(Files::podman(roots));
        let mut all = vec![
            Source::new("containerd", Some(Runtime::Containerd), containerd),
            Source::new("crio", Some(Runtime::Crio), crio),
            Source::new("docker", Some(Runtime::Docker), docker),
            Source::new("docker_state", Some(Runtime::Docker), docker_state),
            Source::new("podman", Some(Runtime::Podman), podman),
            Source::new("podman_state", Some(Runtime::Podman), podman_state),
        ];
        let api = config
            .kubernetes
            .clone()
            .map(|config| Arc::new(Api::new(config)));
        if let Some(api) = &api {
            let way = Way::Kubernetes(Arc::clone(api));
            all.push(Source::new("kubernetes", None, way));
        }
        Self {
            all,
            users: UserEngines::new(roots),
            api,
            none_said: AtomicBool::new(false),
        }
    }

    /// Asks one after the other until one knows the container `id`. `patience` is how long it can still be asked again.
    pub(super) async fn ask(&self, id: &str, maker: Maker, patience: Duration) -> Verdict {
        if let Some(user) = maker.user {
            return match ask_each(&*self.users.of(user), id, maker.runtime).await {
                // Of what a pod is only the host's own runtimes are believed.
                Verdict::Found(info) => Verdict::Found(ContainerInfo { pod: None, ..info }),
                other => other,
            };
        }
        let verdict = ask_each(&self.all, id, maker.runtime).await;
        match verdict {
            Verdict::Found(info) => return self.completed(info, patience).await,
            Verdict::NoneThere if !self.none_said.swap(true, Ordering::Relaxed) => warn!(
                "there are containers but no runtime at its usual place, so they go by their ids: name its socket by \
                 --containerd-socket, --crio-socket, --docker-socket or --podman-socket"
            ),
            _ => {}
        }
        verdict
    }

    /// Asks each that is there about a container that nobody has.
    pub(super) async fn try_each(&self) {
        for source in &self.all {
            source.ask(NOBODYS).await;
        }
        for user in self.users.there() {
            for engine in &*self.users.of(user) {
                engine.ask(NOBODYS).await;
            }
        }
    }

    /// With what only the API server knows: who made a pod that carries no label of its maker.
    async fn completed(&self, mut info: ContainerInfo, patience: Duration) -> Verdict {
        let (Some(api), Some(pod)) = (&self.api, &info.pod) else {
            return Verdict::Found(info);
        };
        if pod.node.is_some() {
            return Verdict::Found(info);
        }
        let mut pod = (**pod).clone();
        if pod.workload.is_none() {
            // Its trouble is counted where it is asked for containers; here the answer only adds.
            let known = tokio::time::timeout(DEADLINE, api.pod(&pod.namespace, &pod.name)).await;
            match known {
                Ok(Ok(Some(known))) => pod.workload = known.workload.clone(),
                Ok(Err(AskError::NotYet(left))) if left <= patience => return Verdict::Unsure,
                _ => {}
            }
        }
        pod.node = Some(api.node().to_owned());
        info.pod = Some(Arc::new(pod));
        Verdict::Found(info)
    }

    pub(super) fn trouble(&self) -> Vec<SourceTrouble> {
        let all = self.all.iter().map(Source::trouble);
        all.chain(self.users.trouble()).collect()
    }
}

/// Asks one after the other until one knows the container `id`: first those of the runtime `hint`.
async fn ask_each(sources: &[Source], id: &str, hint: Option<Runtime>) -> Verdict {
    let is_hinted = |source: &&Source| hint.is_some() && source.of == hint;
    let hinted = sources.iter().filter(is_hinted);
    let others = sources.iter().filter(|source| !is_hinted(source));
    let (mut by_hinted, mut by_others) = (Answers::default(), Answers::default());
    for source in hinted.chain(others) {
        let answers = if is_hinted(&source) {
            &mut by_hinted
        } else {
            &mut by_others
        };
        match source.ask(id).await {
            Finding::Found(info) => return Verdict::Found(info),
            Finding::NotThere => answers.no = true,
            Finding::Failed => answers.failed = true,
            Finding::Absent => {}
        }
    }
    let is_any = |answers: &Answers| answers.no || answers.failed;
    if !is_any(&by_hinted) && !is_any(&by_others) {
        return Verdict::NoneThere;
    }
    let is_sure = match hint {
        // A path in the host's cgroups says that there is such a runtime: if it does not answer yet, it may later.
        Some(_) => by_hinted.no && !by_hinted.failed,
        None => by_others.no && !by_others.failed,
    };
    if is_sure {
        Verdict::NotThere
    } else {
        Verdict::Unsure
    }
}
