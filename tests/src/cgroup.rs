//! Cgroups as container engines and systemd lay them out.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// A cgroup made for a test, removed on drop with those above it that were made for it too.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    /// Makes one at `path`.
    pub fn make(path: &str) -> Cgroup {
        let root = hierarchy();
        let path = root.join(path);
        fs::create_dir_all(&path).unwrap();
        Cgroup { path, root }
    }

    /// A shell command that moves the shell into it.
    pub fn enter(&self) -> String {
        format!("echo $$ > '{}'/cgroup.procs", self.path.display())
    }

    /// Moves processes into it.
    pub fn take(&self, processes: &[u32]) {
        for process in processes {
            fs::write(self.path.join("cgroup.procs"), process.to_string()).unwrap();
        }
    }

    /// The processes in the cgroup at `path`, of the same hierarchy.
    pub fn processes(path: &str) -> Vec<u32> {
        let list = fs::read_to_string(hierarchy().join(path).join("cgroup.procs")).unwrap();
        list.lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// The root of the hierarchy that systemd and container engines put limits on memory in: the unified one, or v1's.
fn hierarchy() -> PathBuf {
    let mount = PathBuf::from("/sys/fs/cgroup");
    if mount.join("cgroup.controllers").exists() {
        mount
    } else {
        mount.join("memory")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in self.path.ancestors().take_while(|path| *path != self.root) {
            // The kernel lets only those go that hold nothing, others are not ours; and a while after their last process.
            let gone = || fs::remove_dir(path).is_ok();
            let _ = (0..20).any(|_| {
                gone() || {
                    sleep(Duration::from_millis(5));
                    false
                }
            });
        }
    }
}
