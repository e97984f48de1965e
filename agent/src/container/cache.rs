//! Containers that are known, or known not to be, within a bound on memory.

use super::{ContainerInfo, PodInfo};
use lru::LruCache;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Containers that are remembered, ended ones among them.
const CONTAINERS: usize = 4096;
/// Memory of what is remembered, about. A container has 2 KB, in a pod 5.
const BYTES: usize = 4 << 20;
/// Of that an entry beside its texts: a node of the list, its place in the table and what the allocator needs for them.
const ENTRY: usize = 192;

/// What is remembered of one container.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// It is being asked for.
    Asking,
    /// This.
    Known(Arc<ContainerInfo>),
    /// Nobody knows it.
    Unknown,
}

/// Entries by a container's id; what was not looked at for longest makes room.
pub(crate) struct Cache {
    entries: LruCache<String, Entry>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            entries: LruCache::unbounded(),
            bytes: 0,
        }
    }

    pub(crate) fn get(&mut self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(crate) fn forget(&mut self, id: &str) {
        if let Some(old) = self.entries.pop(id) {
            self.bytes -= size(id, &old);
        }
    }

    pub(crate) fn put(&mut self, id: &str, entry: Entry) {
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
    let own = ENTRY + id.len();
    let Entry::Known(info) = entry else {
        return own;
    };
    let texts = [&info.name, &info.image].into_iter().flatten();
    let maps = [&info.labels, &info.annotations, &info.environment];
    let pod = info.pod.as_deref().map_or(0, size_of_pod);
    own + size_of::<ContainerInfo>()
        + texts.map(String::len).sum::<usize>()
        + maps.into_iter().map(size_of_map).sum::<usize>()
        + pod
}

fn size_of_pod(pod: &PodInfo) -> usize {
    let texts = [&pod.name, &pod.namespace, &pod.uid].into_iter();
    let texts = texts.chain(&pod.workload).chain(&pod.node);
    size_of::<PodInfo>()
        + texts.map(String::len).sum::<usize>()
        + size_of_map(&pod.labels)
        + size_of_map(&pod.annotations)
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
            labels: [("a".to_owned(), "v".repeat(bytes / 2))].into(),
            pod: Some(Arc::new(PodInfo {
                namespace: "n".repeat(bytes / 2),
                ..PodInfo::default()
            })),
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
            assert!(cache.entries.len() > 1000);
            assert!(cache.get("19999").is_some() && cache.get("0").is_none());
        }
    }
}
