//! What the container runtimes of this host, and Kubernetes, know of a container beside its id.
//!
//! ```text
//! id ─► Runtimes ─► cache ─► ContainerInfo
//!                     ▲ asker: a few at a time, again when nobody knows it yet
//!                  Sources, one after the other until one knows it:
//!                     containerd ─► cri (pods), containerd (other namespaces)  ┐
//!                     crio ───────► cri                                        ├ over a Socket
//!                     docker, podman ─► engine                                 │
//!                     users (rootless docker, podman) ─► engine                ┘
//!                     their files ────► state
//!                     the API server ─► kubernetes
//! ```

mod asker;
mod bounds;
mod cache;
mod config;
mod containerd;
mod containerd_messages;
mod cri;
mod cri_messages;
mod engine;
mod error;
mod grpc;
mod http;
mod info;
mod kubernetes;
mod pod;
mod pod_list;
mod runtimes;
mod socket;
mod source;
mod sources;
mod specification;
mod state;
mod trouble;
mod users;
mod workload;

#[cfg(test)]
mod tests;

pub(crate) use cache::{Cache, Entry};
pub(crate) use config::RuntimeConfig;
pub(crate) use info::{ContainerInfo, Knowledge, PodInfo};
pub(crate) use runtimes::{Runtimes, try_each};
pub(crate) use trouble::SourceTrouble;
