//! Load in a cgroup that no runtime has made.

use fixtures::Program;
use std::process::{Child, Command};
use tests::cgroup::Cgroup;

/// A program of the host's in a cgroup of its own, ended on drop.
pub(crate) struct Load {
    program: Child,
    _cgroup: Cgroup,
}

impl Load {
    /// `cgroup` is a path as runtimes and systemd make them.
    pub(crate) fn start(cgroup: &str, program: Program, arguments: &str) -> Load {
        let cgroup = Cgroup::make(cgroup);
        let path = program.path();
        let script = format!("{} && exec {} {arguments}", cgroup.enter(), path.display());
        let program = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        Load {
            program,
            _cgroup: cgroup,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
