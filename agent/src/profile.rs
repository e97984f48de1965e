//! What the sampling side hands to the page, the server and the downloads.

use crate::owner::Owner;
use bytes::Bytes;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
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

/// What an [`OwnerProfile`] takes beside its encoded bytes: itself, its counters and its place in a list.
const OVERHEAD: usize = size_of::<OwnerProfile>() + 6 * size_of::<usize>();

impl OwnerProfile {
    /// Memory that it takes; its owner is others', too.
    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD + self.pprof.len()
    }
}

/// Profiles by owner of one stretch of time.
#[derive(Clone, Debug)]
pub(crate) enum Profiles {
    /// They are there.
    Encoded(Vec<Arc<OwnerProfile>>),
    /// They are encoded when somebody looks, which for most windows nobody does before they are part of an interval.
    Counted(Arc<CountedProfiles>),
}

/// What was counted, or the profiles of it as soon as somebody has looked.
#[derive(Debug)]
pub(crate) struct CountedProfiles {
    profiles: LazyLock<Vec<Arc<OwnerProfile>>, Encode>,
    /// Memory that what was counted takes, then the profiles of it.
    bytes: Arc<AtomicUsize>,
}

type Encode = Box<dyn FnOnce() -> Vec<Arc<OwnerProfile>> + Send>;

impl Profiles {
    /// What takes so many `bytes` until it is encoded.
    pub(crate) fn counted(
        bytes: usize,
        encode: impl FnOnce() -> Vec<Arc<OwnerProfile>> + Send + 'static,
    ) -> Self {
        let bytes = Arc::new(AtomicUsize::new(bytes));
        let taken = Arc::clone(&bytes);
        let encode: Encode = Box::new(move || {
            let profiles = encode();
            let encoded = profiles.iter().map(|profile| profile.bytes()).sum();
            taken.store(encoded, Ordering::Relaxed);
            profiles
        });
        Self::Counted(Arc::new(CountedProfiles {
            profiles: LazyLock::new(encode),
            bytes,
        }))
    }

    /// Memory that they take; it changes when they are encoded.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Encoded(profiles) => profiles.iter().map(|profile| profile.bytes()).sum(),
            Self::Counted(counted) => counted.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Self::Encoded(Vec::new())
    }
}

impl Deref for Profiles {
    type Target = [Arc<OwnerProfile>];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Encoded(profiles) => profiles,
            Self::Counted(counted) => &counted.profiles,
        }
    }
}
