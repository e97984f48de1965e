//! Containers that are known, or known not to be, within a bound on memory.

use super::ContainerInfo;
use lru::LruCache;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Containers that are remembered, ended ones among them.
const CONTAINERS: usize = 4096;
/// Memory of what is remembered, about. A container has 2 KB, in a pod 5.
const BYTES: usize = 4 << 20;

/// What is remembered of one container.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// It is being asked for.
    Asking,
    /// This.
    Known(Arc<ContainerInfo>),
    /// Nobody knows it.
    Unknown(Unknown),
}

/// A container that nobody knew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unknown {
    /// How often that was so.
    pub(super) times: u32,
    /// When to ask once more, if not all who may know it have answered.
    pub(super) again: Option<Instant>,
}

/// Entries by a container's id; what was not looked at for longest makes room.
pub(super) struct Cache {
    entries: LruCache<String, Entry>,
    bytes: usize,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            entries: LruCache::unbounded(),
            bytes: 0,
        }
    }

    pub(super) fn get(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(super) fn put(&mut self, id: &str, entry: Entry) {
        self.bytes += size(id, &entry);
        if let Some(old) = self.entries.put(id.to_owned(), entry) {
            self.bytes -= size(id, &old);
        }
        while self.entries.len() > CONTAINERS || self.bytes > BYTES {
            let Some((id, old)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes -= size(&id, &old);
        }
    }
}

/// What an entry takes, about. Only what does not change while it is there counts.
fn size(id: &str, entry: &Entry) -> usize {
    let Entry::Known(info) = entry else {
        return id.len();
    };
    let of_maps = [&info.labels, &info.annotations, &info.environment];
    let of_pod = info
        .pod
        .iter()
        .flat_map(|pod| [&pod.labels, &pod.annotations]);
    id.len()
        + of_maps
            .into_iter()
            .chain(of_pod)
            .map(size_of_map)
            .sum::<usize>()
}

fn size_of_map(map: &BTreeMap<String, String>) -> usize {
    map.iter()
        .map(|(key, value)| key.len() + value.len() + 64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bytes: usize) -> Entry {
        Entry::Known(Arc::new(ContainerInfo {
            labels: [("a".to_owned(), "v".repeat(bytes))].into(),
            ..ContainerInfo::default()
        }))
    }

    /// Neither many containers nor large ones take more than they may, and the latest are kept.
    #[test]
    fn memory_is_bounded() {
        for bytes in [0, 2000] {
            let mut cache = Cache::new();
            for id in 0..20_000 {
                cache.put(&id.to_string(), Entry::Asking);
                cache.put(&id.to_string(), known(bytes));
            }
            let sizes = cache.entries.iter().map(|(id, entry)| size(id, entry));
            assert_eq!(sizes.sum::<usize>(), cache.bytes);
            assert!(cache.bytes <= BYTES && cache.entries.len() <= CONTAINERS);
            assert!(cache.entries.len() > 1500);
            assert!(cache.get("19999").is_some() && cache.get("0").is_none());
        }
    }
}
