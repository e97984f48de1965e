//! A virtual machine of an emulated processor that boots a kernel, runs one command, and is gone.

use crate::apt::NoSuite;
use crate::kernel::Kernel;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::machine::say;

/// What a guest may take: far beyond what it takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// What a command in a guest has left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// Where the files are that it has left.
    pub results: PathBuf,
}

impl Finished {
    /// Fails the test where the command did not do what it was asked to.
    pub fn succeeded(self) -> Finished {
        assert!(
            self.status == 0,
            "exit status {} in the guest; the end of {}:\n{}",
            self.status,
            self.results.join("stderr").display(),
            last_lines(&self.stderr)
        );
        self
    }
}

/// Boots a kernel and runs `command`, a shell's, in an empty directory. `programs` are there under the paths they have here.
pub fn run(
    kernel: &Kernel,
    test: &str,
    programs: &[PathBuf],
    command: &str,
) -> Result<Finished, NoSuite> {
    let image = kernel.image()?;
    let directory = kernel.directory().join(test);
    // What an earlier run has left.
    let _ = fs::remove_dir_all(&directory);
    let results = directory.join("results");
    fs::create_dir_all(&results).unwrap();
    let initramfs = directory.join("initramfs");
    pack(&directory.join("root"), &initramfs, programs, command);

    let (console, sent) = (directory.join("console"), directory.join("sent"));
    say(&format!("Linux {}: boots for {test}", kernel.series));
    let begin = Instant::now();
    Qemu::start(&image, &initramfs, &console, &sent).wait(&console);
    say(&format!(
        "Linux {}: is done with {test} after {:.1} s",
        kernel.series,
        begin.elapsed().as_secs_f64()
    ));
    fs::remove_file(initramfs).unwrap();

    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(&sent)
        .arg("-C")
        .arg(&results)
        .status();
    assert!(unpacked.unwrap().success(), "{}", console_end(&console));
    let text =
        |name: &str| String::from_utf8_lossy(&fs::read(results.join(name)).unwrap()).into_owned();
    Ok(Finished {
        status: text("status").trim().parse().unwrap(),
        stdout: text("stdout"),
        stderr: text("stderr"),
        results,
    })
}

/// Writes the file system that a guest begins with.
fn pack(root: &Path, initramfs: &Path, programs: &[PathBuf], command: &str) {
    let place = |from: &Path, to: &Path| {
        let to = root.join(to.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let busybox = which("busybox");
    place(&busybox, Path::new("/bin/busybox"));
    let files: BTreeSet<PathBuf> = programs
        .iter()
        .flat_map(|program| libraries(program))
        .collect();
    let files = files
        .into_iter()
        .chain(libraries(&busybox))
        .chain(programs.iter().cloned());
    files.for_each(|file| place(&file, &file));
    fs::write(root.join("command"), command).unwrap();
    fs::write(root.join("init"), include_str!("init.sh")).unwrap();
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();

    let mut find = Command::new("find")
        .arg(".")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(root)
        .stdin(find.stdout.take().unwrap())
        .stdout(fs::File::create(initramfs).unwrap())
        .status();
    assert!(cpio.unwrap().success() && find.wait().unwrap().success());
    fs::remove_dir_all(root).unwrap();
}

/// The shared libraries of a program and its loader, by the paths that the loader finds them at.
fn libraries(program: &Path) -> Vec<PathBuf> {
    // It fails for a static program, and has found nothing.
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'));
    paths.map(PathBuf::from).collect()
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join(program));
    found
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("no {program} here: `make test-kernels` installs it"))
}

/// The emulator; dropping this ends it.
struct Qemu(Child);

impl Qemu {
    fn start(image: &Path, initramfs: &Path, console: &Path, sent: &Path) -> Qemu {
        let serial = |file: &Path| format!("file:{}", file.display());
        let child = Command::new("qemu-system-x86_64")
            // Not KVM: it is not to be had everywhere, and guests were seen to hang in it. Without cmpxchg16b, after which
            // QEMU 7.2 has wrong flags at times: Linux 6.12 dies of it in kmem_cache_alloc in four boots of ten.
            .args(["-accel", "tcg", "-cpu", "max,-cx16"])
            .args(["-m", "1G", "-smp", "2"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-serial", &serial(console), "-serial", &serial(sent)])
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            // What would leave a guest half alive panics, a panic reboots, and that ends it.
            .args(["-append", "console=ttyS0 oops=panic panic=-1"])
            .stdin(Stdio::null())
            .spawn();
        Qemu(child.unwrap_or_else(|error| panic!("cannot start qemu-system-x86_64: {error}")))
    }

    fn wait(mut self, console: &Path) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(
                begin.elapsed() < DEADLINE,
                "the guest is not done after {DEADLINE:?}: {}",
                console_end(console)
            );
            sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "qemu: {status}: {}", console_end(console));
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn console_end(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    format!(
        "the end of {}:\n{}",
        console.display(),
        last_lines(&String::from_utf8_lossy(&text))
    )
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
