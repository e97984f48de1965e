//! One place where containers are known.

use super::error::AskError;
use super::grpc::Grpc;
use super::kubernetes::Api;
use super::socket::Socket;
use super::trouble::{Health, SourceTrouble};
use super::{ContainerInfo, containerd, cri, engine, state};
use crate::owner::Runtime;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long an answer may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// A place where containers are known.
pub(super) struct Source {
    /// The runtime whose containers it knows; none if those of all.
    pub(super) of: Option<Runtime>,
    way: Way,
    health: Health,
}

/// How it is asked.
pub(super) enum Way {
    /// containerd's socket: as the kubelet does, then by containerd's own API.
    Containerd(Socket),
    /// The socket that the kubelet asks.
    Cri(Socket),
    /// An API like Docker's.
    Engine(Socket),
    /// Files.
    State(Files),
    /// The API server.
    Kubernetes(Arc<Api>),
}

/// State on disk.
pub(super) struct Files {
    /// Root directories of which it may be below.
    roots: Vec<PathBuf>,
    read: fn(&[PathBuf], &str) -> Result<Option<ContainerInfo>, AskError>,
    /// One reader at a time: a file system that hangs holds one thread and no more.
    reader: Arc<Semaphore>,
}

/// What asking came to.
#[derive(Debug)]
pub(super) enum Finding {
    /// It knows the container.
    Found(ContainerInfo),
    /// It knows containers, but not this one.
    NotThere,
    /// There is no such runtime here.
    Absent,
    /// It does not answer.
    Failed,
}

impl Source {
    pub(super) fn new(name: &'static str, of: Option<Runtime>, way: Way) -> Self {
        Self {
            of,
            way,
            health: Health::new(name),
        }
    }

    /// What it knows of the container `id`, or that it does not answer in time.
    pub(super) async fn ask(&self, id: &str) -> Finding {
        if self.health.rests() {
            return Finding::Failed;
        }
        let answer = tokio::time::timeout(DEADLINE, self.find(id)).await;
        match answer.unwrap_or(Err(AskError::Hangs)) {
            Ok(found) => {
                self.health.answered(found.is_some());
                found.map_or(Finding::NotThere, Finding::Found)
            }
            Err(AskError::Absent) => Finding::Absent,
            // That says nothing of how it goes.
            Err(AskError::NotYet(_)) => Finding::Failed,
            Err(error) => {
                self.health.failed(&error);
                Finding::Failed
            }
        }
    }

    pub(super) fn trouble(&self) -> SourceTrouble {
        self.health.trouble()
    }

    async fn find(&self, id: &str) -> Result<Option<ContainerInfo>, AskError> {
        match &self.way {
            Way::Containerd(socket) => {
                let mut grpc = Grpc::over(socket.connect().await?).await?;
                match cri::find(&mut grpc, id).await? {
                    None => containerd::find(&mut grpc, id).await,
                    found => Ok(found),
                }
            }
            Way::Cri(socket) => {
                let mut grpc = Grpc::over(socket.connect().await?).await?;
                cri::find(&mut grpc, id).await
            }
            Way::Engine(socket) => engine::find(socket, id).await,
            Way::State(files) => files.find(id).await,
            Way::Kubernetes(api) => api.container(id).await,
        }
    }
}

impl Files {
    /// Docker's, below one of `roots`.
    pub(super) fn docker(roots: &[PathBuf]) -> Self {
        Self::new(roots, state::docker)
    }

    /// podman's, below one of `roots`.
    pub(super) fn podman(roots: &[PathBuf]) -> Self {
        Self::new(roots, state::podman)
    }

    fn new(
        roots: &[PathBuf],
        read: fn(&[PathBuf], &str) -> Result<Option<ContainerInfo>, AskError>,
    ) -> Self {
        Self {
            roots: roots.to_owned(),
            read,
            reader: Arc::new(Semaphore::new(1)),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<ContainerInfo>, AskError> {
        // It is closed never, and that would be no answer either.
        let Ok(reader) = Arc::clone(&self.reader).acquire_owned().await else {
            return Err(AskError::Hangs);
        };
        let (roots, read, id) = (self.roots.clone(), self.read, id.to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let _reader = reader;
            read(&roots, &id)
        });
        reading.await.map_err(AskError::protocol)?
    }
}
