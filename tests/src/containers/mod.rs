//! Real container runtimes, each with its state in a directory of the test's own, and containers of images made of local files.

mod containerd;
mod cri;
mod docker;
mod grpc;
mod image;
mod podman;
mod state;

pub use containerd::{Containerd, Pod};
pub use docker::Docker;
pub use image::{PROGRAM, copy_libraries};
pub use podman::Podman;

use crate::machine::skip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A container to run.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// Name and tag of its image, which is made for it.
    pub image: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Variables of its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// Arguments of [`PROGRAM`].
    pub arguments: &'a [&'a str],
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            name: "cart-1",
            image: "shop/cart:1.4",
            labels: &[],
            environment: &[],
            arguments: &[],
        }
    }
}

impl Wanted<'_> {
    /// Runs it by a client's `run`, which docker and podman take alike, and returns its id.
    fn run_by(&self, command: &mut Command) -> String {
        command.args(["--detach", "--network=host", "--name", self.name]);
        for (name, value) in self.labels {
            command.arg("--label").arg(format!("{name}={value}"));
        }
        for (name, value) in self.environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg(self.image).arg(PROGRAM).args(self.arguments);
        image::run(command).trim().to_owned()
    }
}

/// Path of a runtime's program; none, with a line that says so, where it is not installed or may not run.
fn installed(test: &str, program: &str) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        skip(test, "it takes root to run containers");
        return None;
    }
    // The packages' own first: a client elsewhere on PATH may have no engine.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    let found = directories
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(program))
        .find(|path: &PathBuf| Path::is_file(path));
    if found.is_none() {
        skip(test, &format!("{program} is not installed"));
    }
    found
}
