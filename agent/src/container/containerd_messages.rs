//! Messages of containerd's own API: of each only what is needed here.
//! (<https://github.com/containerd/containerd>, api/services/{namespaces,containers}/v1)

use std::collections::BTreeMap;

pub(super) const LIST_NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
pub(super) const GET_CONTAINER: &str = "/containerd.services.containers.v1.Containers/Get";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListNamespacesRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListNamespacesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Namespace {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetContainerRequest {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Container {
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    pub(super) image: String,
    #[prost(message, optional, tag = "5")]
    pub(super) spec: Option<Any>,
}

/// `google.protobuf.Any`; containerd puts JSON into it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}
