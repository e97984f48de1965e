//! What the sampling side hands to the page, the server and the downloads.

use crate::owner::Owner;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// On-CPU profile of one owner over one stretch of time, encoded once for all its readers, and checked before: Pyroscope keeps it as it
/// is, unless it gets there too late.
#[derive(Clone, Debug)]
pub(crate) struct OwnerProfile {
    /// Whose it is.
    pub(crate) owner: Arc<Owner>,
    /// Begin, nanoseconds since the Unix epoch.
    pub(crate) start_unix_nanos: i64,
    /// Length.
    pub(crate) duration: Duration,
    /// Number of samples (ticks) in it.
    pub(crate) samples: u64,
    /// CPU time in it, nanoseconds.
    pub(crate) cpu_nanos: u64,
    /// gzip'd pprof, within Pyroscope's limits: a larger profile becomes several of these.
    pub(crate) pprof: Bytes,
    /// Bytes of it before compression, by which the server counts.
    pub(crate) raw_bytes: usize,
}
