//! podman, which needs no daemon, and its service.

use super::state::{Daemon, State, remove_cgroup};
use super::{Wanted, image, installed};
use crate::machine::skip;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A podman with its state in a test's own directory.
#[derive(Debug)]
pub struct Podman {
    program: PathBuf,
    /// Who runs it; the caller, if nobody is named.
    user: Option<u32>,
    service: Option<Daemon>,
    state: State,
}

impl Podman {
    /// Makes one; none, with a line that says so, where podman is not installed.
    pub fn start(test: &str) -> Option<Podman> {
        Podman::start_as(test, None)
    }

    /// One of a user who is not root, and needs no more of the host than a uid.
    pub fn start_rootless(test: &str, user: u32) -> Option<Podman> {
        let null = fs::metadata("/dev/null").unwrap();
        if null.mode() & 0o666 != 0o666 {
            skip(test, "only root may open /dev/null here");
            return None;
        }
        Podman::start_as(test, Some(user))
    }

    fn start_as(test: &str, user: Option<u32>) -> Option<Podman> {
        let program = installed(test, "podman")?;
        installed(test, "runc")?;
        let state = State::new();
        // Locks in files and not in memory that it shares with the host's podman.
        let configuration = "[engine]\nlock_type = \"file\"\nevents_logger = \"file\"\n";
        fs::write(state.path().join("containers.conf"), configuration).unwrap();
        chown(state.path(), user, user).unwrap();
        Some(Podman {
            program,
            user,
            service: None,
            state,
        })
    }

    /// Directory below which its state lies as below a host's root: `var/lib/containers/storage`.
    pub fn root(&self) -> &Path {
        self.state.path()
    }

    /// Starts its service and returns the socket: `run/podman/podman.sock` below the root.
    pub fn serve(&mut self) -> PathBuf {
        let socket = self.root().join("run/podman/podman.sock");
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        chown(socket.parent().unwrap(), self.user, self.user).unwrap();
        let mut command = self.podman();
        command
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", socket.display()));
        self.service = Some(Daemon::start(command, self.root(), &socket));
        socket
    }

    /// Runs a container and returns its id.
    pub fn run(&self, wanted: &Wanted<'_>) -> String {
        let image = image::file_system(self.root());
        image::run(
            self.podman()
                .args(["import", "--quiet"])
                .arg(image)
                .arg(wanted.image),
        );
        let mut command = self.podman();
        command
            .arg("run")
            // Its own limits are higher than what a host without CAP_SYS_RESOURCE lets it set.
            .args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]);
        wanted.run_by(&mut command)
    }

    /// The first process of a container.
    pub fn process(&self, id: &str) -> u32 {
        let mut command = self.podman();
        command.args(["inspect", "--format", "{{.State.Pid}}", id]);
        image::run(&mut command).trim().parse().unwrap()
    }

    fn podman(&self) -> Command {
        let mut podman = match self.user {
            None => Command::new(&self.program),
            Some(user) => {
                let mut as_user = Command::new("setpriv");
                as_user.args([format!("--reuid={user}"), format!("--regid={user}")]);
                as_user.arg("--clear-groups").arg(&self.program);
                as_user
            }
        };
        podman
            // It looks at the directory that it is called in.
            .current_dir(self.root())
            .env("HOME", self.root())
            .env("XDG_RUNTIME_DIR", self.root())
            .env("CONTAINERS_CONF", self.root().join("containers.conf"))
            .arg("--root")
            .arg(self.root().join("var/lib/containers/storage"))
            .arg("--runroot")
            .arg(self.root().join("runroot"))
            .arg("--tmpdir")
            .arg(self.root().join("tmp"))
            // crun refuses hybrid cgroups.
            .args([
                "--runtime=runc",
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
            ]);
        podman
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.service = None;
        let _ = self
            .podman()
            .args(["rm", "--all", "--force", "--time=0"])
            .output();
        self.state.end_processes();
        remove_cgroup("libpod_parent/conmon");
    }
}
