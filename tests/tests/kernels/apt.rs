//! `apt` for one suite of Debian, from wherever this machine gets Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The mirror has no such suite (any more).
#[derive(Debug)]
pub struct NoSuite(pub String);

/// `apt` with lists of its own: the machine's stay as they are, and nobody has to be root.
pub struct Apt(TempDir);

impl Apt {
    /// Reads what is in `suite`. Without a network the test fails here.
    pub fn of(suite: &str) -> Result<Apt, NoSuite> {
        let directory = tempfile::Builder::new()
            .prefix("apt-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        for needed in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.path().join(needed)).unwrap();
        }
        let apt = Apt(directory);
        let mirror = apt.mirror();
        let source = format!(
            "deb [target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n"
        );
        fs::write(apt.sources(), source).unwrap();
        match output(apt.command("apt-get").arg("update")) {
            Err(why) if why.contains("does not have a Release file") => {
                Err(NoSuite(format!("{mirror} has no {suite}")))
            }
            updated => {
                succeeded(updated);
                Ok(apt)
            }
        }
    }

    /// Where this machine gets Debian: the lists know, those it has or, on one without any, those fetched here.
    fn mirror(&self) -> String {
        let of_debian = ["indextargets", "--format", "$(SITE)", "Label: Debian"];
        let mut sites = succeeded(output(Command::new("apt-get").args(of_debian)));
        if sites.is_empty() {
            self.run("apt-get", &["update"]);
            sites = self.run("apt-get", &of_debian);
        }
        let site = sites.lines().next();
        site.unwrap_or_else(|| {
            panic!("this machine's apt does not know Debian, whose kernels these are")
        })
        .to_owned()
    }

    /// The directory that it works in, removed on drop.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// What `apt-get` or `apt-cache` prints.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        succeeded(output(self.command(program).args(args)))
    }

    fn sources(&self) -> PathBuf {
        self.directory().join("sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let place = |name: &str| self.directory().join(name).display().to_string();
        let mut options = vec![
            ("Dir::State", place("state")),
            ("Dir::State::Lists", place("state/lists")),
            ("Dir::Cache", place("cache")),
            // Or else a list that cannot be had is no more than a warning,
            ("APT::Update::Error-Mode", "any".to_owned()),
            // and root's apt fetches as another user, who cannot write here.
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        if self.sources().exists() {
            options.push(("Dir::Etc::SourceList", place("sources.list")));
            options.push(("Dir::Etc::SourceParts", "-".to_owned()));
        }
        let mut command = Command::new(program);
        command.current_dir(self.directory()).env("LC_ALL", "C");
        for (name, value) in options {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        command
    }
}

/// What a command has printed; the test ends with all that one has said that failed.
pub fn succeeded(outcome: Result<String, String>) -> String {
    outcome.unwrap_or_else(|why| panic!("{why}"))
}

/// What a command prints, or all that it says when it fails.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{stdout}{stderr}{command:?}: {}", output.status))
}
