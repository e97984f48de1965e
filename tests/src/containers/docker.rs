//! Docker's daemon, without a network and without touching the host's.

use super::state::{Daemon, State, remove_cgroup};
use super::{Wanted, image, installed};
use crate::machine::skip;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the host's own would listen, for whoever has the host's root directory.
const USUAL_SOCKET: &str = "/run/docker.sock";
/// Image of the agent: what it is linked with.
const AGENT: &str = "thermograph/agent:1";

/// A daemon of a test's own.
#[derive(Debug)]
pub struct Docker {
    client: PathBuf,
    socket: PathBuf,
    // Ended before its directory goes.
    daemon: Option<Daemon>,
    state: State,
}

impl Docker {
    /// Starts one; none, with a line that says so, where Docker is not installed.
    pub fn start(test: &str) -> Option<Docker> {
        let state = State::new();
        let socket = state.path().join("run/docker.sock");
        Docker::listening(test, state, socket)
    }

    /// The same at the socket of the host's own Docker; none, with a line that says so, where that runs.
    pub fn start_as_the_hosts(test: &str) -> Option<Docker> {
        if UnixStream::connect(USUAL_SOCKET).is_ok() {
            skip(test, "this host has a Docker of its own");
            return None;
        }
        Docker::listening(test, State::new(), USUAL_SOCKET.into())
    }

    fn listening(test: &str, state: State, socket: PathBuf) -> Option<Docker> {
        let engine = installed(test, "dockerd")?;
        let client = installed(test, "docker")?;
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
            .arg(format!("unix://{}", socket.display()));
        std::fs::write(state.path().join("none.json"), "{}").unwrap();
        std::fs::create_dir_all(state.path().join("run")).unwrap();
        let daemon = Some(Daemon::start(command, state.path(), &socket));
        Some(Docker {
            client,
            socket,
            daemon,
            state,
        })
    }

    /// Directory below which its socket and state lie as below a host's root: `run/docker.sock`, `var/lib/docker`.
    pub fn root(&self) -> &Path {
        self.state.path()
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
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

    /// A command that runs what follows it, which begins with the path of `program`, in a container as the documentation has it for an agent:
    /// with the host's process ids and network, but with a root directory, mounts and a cgroup namespace of its own.
    pub fn run_agent(&self, program: &Path) -> Command {
        let image = image::of_libraries(self.state.path(), program);
        image::run(self.client().arg("import").arg(image).arg(AGENT));
        let mut command = self.client();
        let program = program.display();
        command
            .args(["run", "--rm", "--pid=host", "--network=host"])
            // Without the host's network it has a name of its own.
            .arg("--hostname=not-the-host")
            // A guest that lacks a capability itself has no privileged containers.
            .args(["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"])
            .args(["--cap-add=DAC_READ_SEARCH", "--cap-add=SYSLOG"])
            .args(["--cap-add=SYS_NICE", "--security-opt=seccomp=unconfined"])
            .arg("--security-opt=apparmor=unconfined")
            // What it is by itself where there is nothing but cgroup v2.
            .arg("--cgroupns=private")
            .arg(format!("--volume={program}:{program}:ro"))
            .arg(AGENT);
        command
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
            .arg(format!("unix://{}", self.socket.display()));
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
