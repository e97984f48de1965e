//! Runs `thermograph` as a user does.

use crate::stacks::Stacks;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

/// The binary under test: that of `THERMOGRAPH`, else the workspace's release build.
pub fn binary() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/thermograph");
    let path = std::env::var_os("THERMOGRAPH").map_or_else(|| built.into(), PathBuf::from);
    let found = path.canonicalize();
    found.unwrap_or_else(|error| {
        panic!(
            "cannot find {}: {error}: `make build` makes it, THERMOGRAPH names another",
            path.display()
        )
    })
}

/// `thermograph` with some arguments, in an empty directory of its own.
#[derive(Debug)]
pub struct Run {
    command: Command,
    directory: TempDir,
}

impl Run {
    /// `thermograph ARGS`.
    pub fn new<Arg: AsRef<OsStr>>(args: impl IntoIterator<Item = Arg>) -> Run {
        Run::under(Command::new(binary()), args)
    }

    /// The same by way of another program, which `command` is up to the first of `args`.
    pub fn under<Arg: AsRef<OsStr>>(
        mut command: Command,
        args: impl IntoIterator<Item = Arg>,
    ) -> Run {
        let directory = tempfile::Builder::new()
            .prefix("thermograph-test-")
            .tempdir()
            .unwrap();
        command
            .args(args)
            .current_dir(directory.path())
            .env("TMPDIR", directory.path())
            .env("THERMOGRAPH_DATA_DIR", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Run { command, directory }
    }

    /// The command, for what else it needs.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// The directory that it runs in, where temporary files go too.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it in a process group of its own, as a shell does.
    pub fn start(mut self) -> Running {
        let mut child = self.command.process_group(0).spawn().unwrap();
        Running {
            stdout: child.stdout.take().map(Output::of),
            stderr: child.stderr.take().map(Output::of),
            child,
            directory: Some(self.directory),
        }
    }

    /// Runs it to its end.
    pub fn finish(self) -> Finished {
        self.start().finish()
    }
}

/// What comes out of a pipe, read while it comes: a pipe that is full would stop the one that writes.
#[derive(Debug)]
struct Output {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Output {
        let text = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).unwrap() > 0 {
                into.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Output { text, reader }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// All, once every process that had the other end of the pipe is gone.
    fn whole(self) -> String {
        self.reader.join().unwrap();
        self.text.lock().unwrap().clone()
    }
}

/// `thermograph` while it runs; dropping this kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<Output>,
    stderr: Option<Output>,
    directory: Option<TempDir>,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Removes the directory that it runs in, for one that writes nothing there and is never dropped.
    pub fn remove_directory(&mut self) {
        drop(self.directory.take());
    }

    /// Sends it, and nobody else, a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.as_pid(), signal).unwrap();
    }

    /// Sends it and what it has started a signal, as a terminal does for Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        rustix::process::kill_process_group(self.as_pid(), signal).unwrap();
    }

    fn as_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// What it has said so far.
    pub fn stderr(&self) -> String {
        self.stderr
            .as_ref()
            .map_or_else(String::new, Output::so_far)
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let status = self.child.wait().unwrap();
        let ended = Instant::now();
        let whole = |output: Option<Output>| output.map_or_else(String::new, Output::whole);
        let (stdout, stderr) = (whole(self.stdout.take()), whole(self.stderr.take()));
        Finished {
            status,
            stdout,
            stderr,
            ended,
            directory: self.directory.take().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `thermograph` has left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it, and what it had started, printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// When it ended.
    pub ended: Instant,
    directory: TempDir,
}

impl Finished {
    /// Its exit status.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("{}: {}", self.status, self.stderr))
    }

    /// Fails the test where it did not do what it was asked to.
    pub fn succeeded(self) -> Finished {
        assert_eq!(self.code(), 0, "{}", self.stderr);
        self
    }

    /// Names of the files that it has left, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The path of the one file that it has left.
    pub fn file(&self) -> PathBuf {
        let [name] = self
            .files()
            .try_into()
            .unwrap_or_else(|names| panic!("{names:?}: {}", self.stderr));
        self.directory.path().join(name)
    }

    /// The profile in that file.
    pub fn stacks(&self) -> Stacks {
        Stacks::read(&fs::read(self.file()).unwrap())
    }

    /// What the programs of `fixtures` among what it had started have reported.
    pub fn reports(&self) -> Vec<fixtures::Report> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Its only complaint, a sentence of one line, with no panic and no list of causes below.
    pub fn complaint(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(
            !line.is_empty() && !line.contains('\n'),
            "{:?}",
            self.stderr
        );
        line.strip_prefix("thermograph: ")
            .unwrap_or_else(|| panic!("{line}"))
    }
}
