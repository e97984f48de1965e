//! Docker's daemon, without a network and without touching the host's.

use super::state::{Daemon, State, remove_cgroup};
use super::{Wanted, image, installed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A daemon of a test's own.
#[derive(Debug)]
pub struct Docker {
    client: PathBuf,
    // Ended before its directory goes.
    daemon: Option<Daemon>,
    state: State,
}

impl Docker {
    /// Starts one; none, with a line that says so, where Docker is not installed.
    pub fn start(test: &str) -> Option<Docker> {
        let engine = installed(test, "dockerd")?;
        let client = installed(test, "docker")?;
        let state = State::new();
        let mut command = Command::new(engine);
        command
            .args(["--iptables=false", "--bridge=none", "--ip-masq=false"])
            .args(["--storage-driver=vfs", "--data-root"])
            .arg(state.path().join("var/lib/docker"))
            .arg("--exec-root")
            .arg(state.path().join("exec"))
            .arg("--pidfile")
            .arg(state.path().join("pid"))
            // Not the host's configuration.
            .arg("--config-file")
            .arg(state.path().join("none.json"))
            .arg("--host")
            .arg(format!("unix://{}", socket(&state).display()));
        std::fs::write(state.path().join("none.json"), "{}").unwrap();
        std::fs::create_dir_all(state.path().join("run")).unwrap();
        let daemon = Some(Daemon::start(command, state.path(), &socket(&state)));
        Some(Docker {
            client,
            daemon,
            state,
        })
    }

    /// Directory below which its socket and state lie as below a host's root: `run/docker.sock`, `var/lib/docker`.
    pub fn root(&self) -> &Path {
        self.state.path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        socket(&self.state)
    }

    /// Ends the daemon; its containers end with it.
    pub fn stop(&mut self) {
        self.remove_all();
        self.daemon = None;
    }

    /// Runs a container and returns its id.
    pub fn run(&self, wanted: &Wanted<'_>) -> String {
        let image = image::file_system(self.state.path());
        image::run(self.client().arg("import").arg(image).arg(wanted.image));
        let mut command = self.client();
        command.arg("run");
        wanted.run_by(&mut command)
    }

    /// Waits until a container has ended by itself.
    pub fn wait(&self, id: &str) {
        image::run(self.client().args(["wait", id]));
    }

    fn client(&self) -> Command {
        let mut client = Command::new(&self.client);
        client
            .env("DOCKER_CONFIG", self.state.path())
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()));
        client
    }

    fn remove_all(&self) {
        // The daemon itself would wait 10 s for a program that does not heed SIGTERM.
        let all = self.client().args(["ps", "--all", "--quiet"]).output();
        let all = all.map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&all).split_whitespace() {
            let _ = self.client().args(["rm", "--force", id]).output();
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.stop();
        }
        self.state.end_processes();
        remove_cgroup("docker");
    }
}

fn socket(state: &State) -> PathBuf {
    state.path().join("run/docker.sock")
}
