//! Owners by cgroup id.

use super::{CgroupMount, CgroupOwner};
use anyhow::Context;
use lru::LruCache;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Cgroups remembered: about 5 MB when each is another container. It must hold what lives shorter than a window; one that
/// still lives is found again whenever it is asked for.
const CAPACITY: usize = 16 * 1024;

/// Cgroup ids and whom what runs in them belongs to.
///
/// An id is the number of the cgroup's kernfs node: the inode number of its directory, unique as long as the kernel runs (64
/// bits, of which half count how often the other half wrapped). So nothing needs to be unlearned when a cgroup is removed:
/// samples of a window that is drained later still find it, and it ages out.
pub(crate) struct Cgroups {
    root: File,
    root_path: PathBuf,
    owners: LruCache<u64, Option<Arc<CgroupOwner>>>,
    unknown: u64,
}

impl Cgroups {
    /// Opens the hierarchy and learns the cgroups in it. Those made later come by [`Cgroups::created`]: subscribe to these
    /// events first.
    pub(crate) fn open(mount: &CgroupMount) -> anyhow::Result<Self> {
        let root_path = mount.path.clone();
        let root = File::open(&root_path)
            .with_context(|| format!("cannot open the cgroup hierarchy {}", root_path.display()))?;
        let mut cgroups = Self {
            root,
            root_path,
            owners: LruCache::unbounded(),
            unknown: 0,
        };
        cgroups.scan();
        Ok(cgroups)
    }

    /// Learns that a cgroup of this hierarchy (ids of others mean other cgroups) was made; `path` is relative to its root.
    /// Returns whom it belongs to, if the path names one.
    pub(crate) fn created(&mut self, id: u64, path: &[u8]) -> Option<Arc<CgroupOwner>> {
        self.learn(id, CgroupOwner::of_path(path))
    }

    /// Owner by the cgroup a sample was taken in; none where the path names none, or the cgroup was gone before anyone
    /// heard of it.
    pub(crate) fn owner(&mut self, id: u64) -> Option<Arc<CgroupOwner>> {
        if let Some(owner) = self.owners.get(&id) {
            return owner.clone();
        }
        let owner = match self.path_by_handle(id) {
            Ok(path) => CgroupOwner::of_path(&path),
            Err(error) => {
                self.unknown = self.unknown.saturating_add(1);
                tracing::debug!(id, %error, "cgroup is not known, its processes go by their executables");
                None
            }
        };
        self.learn(id, owner)
    }

    /// Number of cgroups whose path never became known: their processes go by their executables.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    fn learn(&mut self, id: u64, owner: Option<CgroupOwner>) -> Option<Arc<CgroupOwner>> {
        let owner = owner.map(Arc::new);
        self.owners.put(id, owner.clone());
        if self.owners.len() > CAPACITY {
            self.owners.pop_lru();
        }
        owner
    }

    /// Learns what is there, breadth first: what a hostile user nests below his own cgroup comes last.
    fn scan(&mut self) {
        let mut directories = VecDeque::from([PathBuf::new()]);
        while let Some(directory) = directories.pop_front() {
            // A cgroup may vanish while its parent is read.
            let Ok(entries) = fs::read_dir(self.root_path.join(&directory)) else {
                continue;
            };
            for entry in entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                if self.owners.len() >= CAPACITY {
                    return;
                }
                let path = directory.join(entry.file_name());
                self.created(entry.ino(), path.as_os_str().as_bytes());
                directories.push_back(path);
            }
        }
    }

    /// Path of a living cgroup relative to the root, by opening its directory by the id: no search, whatever the number of
    /// cgroups. It needs CAP_DAC_READ_SEARCH.
    fn path_by_handle(&self, id: u64) -> io::Result<Vec<u8>> {
        let directory = open_by_id(&self.root, id)?;
        let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        let relative = path
            .strip_prefix(&self.root_path)
            .map_err(io::Error::other)?;
        Ok(relative.as_os_str().as_bytes().to_vec())
    }
}

/// `struct file_handle` of a kernfs node (linux/exportfs.h: FILEID_KERNFS).
#[repr(C)]
struct KernfsHandle {
    length: u32,
    kind: i32,
    id: [u8; 8],
}

fn open_by_id(root: &File, id: u64) -> io::Result<OwnedFd> {
    const FILEID_KERNFS: i32 = 0xfe;
    let mut handle = KernfsHandle {
        length: 8,
        kind: FILEID_KERNFS,
        id: id.to_ne_bytes(),
    };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: KernfsHandle has the layout of file_handle with the 8 bytes behind it that `length` promises, and outlives the
    // call; the kernel only reads it.
    let fd = unsafe { libc::open_by_handle_at(root.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchy;
    use super::super::container::Container;
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";

    /// Real cgroups of a test, removed at its end.
    struct Tree {
        mount: CgroupMount,
        top: PathBuf,
    }

    impl Tree {
        /// One in each of the host's hierarchies that can be read by the agent and written by this test.
        fn everywhere(test: &str) -> Vec<Self> {
            let mut trees = Vec::new();
            for (hierarchy, path) in [
                (Hierarchy::Unified, "/sys/fs/cgroup"),
                (Hierarchy::Unified, "/sys/fs/cgroup/unified"),
                (Hierarchy::Memory, "/sys/fs/cgroup/memory"),
                (Hierarchy::Pids, "/sys/fs/cgroup/pids"),
            ] {
                let mount = CgroupMount {
                    hierarchy,
                    path: PathBuf::from(path),
                };
                let top = mount
                    .path
                    .join(format!("thermograph-test-{test}-{}", std::process::id()));
                if mount.path.join("cgroup.procs").exists() && fs::create_dir(&top).is_ok() {
                    trees.push(Self { mount, top });
                }
            }
            if trees.is_empty() {
                eprintln!(
                    "SKIPPED: {test}: no cgroup can be made here (it needs root and a mounted hierarchy)"
                );
            }
            trees
        }

        /// Makes the cgroup `path` below the top and returns its id.
        fn make(&self, path: &str) -> u64 {
            let path = self.top.join(path);
            fs::create_dir_all(&path).unwrap();
            fs::metadata(path).unwrap().ino()
        }

        fn remove(&self, path: &str) {
            fs::remove_dir(self.top.join(path)).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fn remove(directory: &Path) {
                for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        remove(&entry.path());
                    }
                }
                let _ = fs::remove_dir(directory);
            }
            remove(&self.top);
        }
    }

    fn container_id(owner: Option<Arc<CgroupOwner>>) -> Option<String> {
        match owner?.container.clone()? {
            Container::Oci { id, .. } => Some(id),
            Container::Machine { .. } => None,
        }
    }

    /// The inode number of a cgroup's directory is the id it is found by, learned at start, and also after its removal.
    #[test]
    fn scan_learns_what_is_there() {
        for tree in Tree::everywhere("scan") {
            let id = tree.make(&format!("docker/{ID}"));
            let plain = tree.make("plain");
            let mut cgroups = Cgroups::open(&tree.mount).unwrap();
            tree.remove(&format!("docker/{ID}"));
            assert_eq!(
                container_id(cgroups.owner(id)).as_deref(),
                Some(ID),
                "{:?}",
                tree.mount
            );
            assert_eq!(cgroups.owner(plain), None);
            assert_eq!(cgroups.unknown(), 0);
        }
    }

    /// A cgroup whose creation was missed is found by its id alone.
    #[test]
    fn finds_a_cgroup_nobody_told_of() {
        for tree in Tree::everywhere("handle") {
            let mut cgroups = Cgroups::open(&tree.mount).unwrap();
            let id = tree.make(&format!("system.slice/docker-{ID}.scope/init"));
            assert_eq!(
                container_id(cgroups.owner(id)).as_deref(),
                Some(ID),
                "{:?}",
                tree.mount
            );
            assert_eq!(cgroups.unknown(), 0);
        }
    }

    /// A cgroup that came and went unheard is counted once; the root belongs to nobody and is no loss.
    #[test]
    fn counts_what_is_unknown() {
        for tree in Tree::everywhere("unknown") {
            let mut cgroups = Cgroups::open(&tree.mount).unwrap();
            let id = tree.make("gone");
            tree.remove("gone");
            assert_eq!((cgroups.owner(id), cgroups.owner(id)), (None, None));
            let root = fs::metadata(&tree.mount.path).unwrap().ino();
            assert_eq!(cgroups.owner(root), None);
            assert_eq!(cgroups.unknown(), 1, "{:?}", tree.mount);
        }
    }

    /// Creation events name cgroups that nobody can look up any more, and memory stays bounded under a flood of them.
    #[test]
    fn events_name_and_are_bounded() {
        for tree in Tree::everywhere("events") {
            let mut cgroups = Cgroups::open(&tree.mount).unwrap();
            let living = tree.make(&format!("docker/{ID}"));
            for n in 0..100_000_u64 {
                cgroups.created(u64::MAX - n, format!("/docker/{n:064x}").as_bytes());
            }
            let newest = u64::MAX - 99_999;
            assert_eq!(
                container_id(cgroups.owner(newest)),
                Some(format!("{:064x}", 99_999))
            );
            assert!(cgroups.owners.len() <= CAPACITY);
            // A living cgroup outlasts the flood.
            assert_eq!(
                container_id(cgroups.owner(living)).as_deref(),
                Some(ID),
                "{:?}",
                tree.mount
            );
        }
    }
}
