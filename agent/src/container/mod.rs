//! What the container runtimes of this host, and Kubernetes, know of a container beside its id.

mod config;
mod info;
mod runtimes;
mod trouble;

pub(crate) use config::RuntimeConfig;
pub(crate) use info::{ContainerInfo, Knowledge, PodInfo};
pub(crate) use runtimes::Runtimes;
pub(crate) use trouble::SourceTrouble;
