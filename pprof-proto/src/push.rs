//! The messages of Pyroscope's `push.v1.PusherService/Push`, field for field as its `push.proto` and `types.proto` have
//! them, but for the annotations of a series: the server drops those on push.

use bytes::Bytes;

/// The body of a push.
///
/// One series a request: of several the server keeps the good ones, answers one status for all, and does not say which
/// of them it refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    /// Label sets and the profiles that belong to them.
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<RawProfileSeries>,
}

/// Profiles of one label set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RawProfileSeries {
    /// Labels, in any order; `__name__` and `service_name` among them (see [`crate::labels`]).
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    /// The profiles.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<RawSample>,
}

/// One profile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RawSample {
    /// A pprof profile, plain or gzip'd.
    #[prost(bytes = "bytes", tag = "1")]
    pub raw_profile: Bytes,
    /// Called `ID` in the server's file, which matters to its JSON form only. The server ignores it: the same profile
    /// pushed twice counts twice.
    #[prost(string, tag = "2")]
    pub id: String,
}

/// A label of a series.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LabelPair {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The answer to a push that was taken.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PushResponse {}
