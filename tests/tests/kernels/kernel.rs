//! The kernels that Debian ships: fetched once, and kept in cargo's target directory.

use crate::apt::{Apt, NoSuite, output, succeeded};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tests::machine::say;

/// One of Debian's kernels for virtual machines: small, with BTF, and with what a guest needs to boot built in.
#[derive(Debug)]
pub struct Kernel {
    /// Its series, such as `6.1`.
    pub series: &'static str,
    /// The suite of Debian that it is in.
    suite: &'static str,
}

pub const LINUX_5_10: Kernel = Kernel {
    series: "5.10",
    suite: "bullseye",
};
pub const LINUX_6_1: Kernel = Kernel {
    series: "6.1",
    suite: "bookworm",
};
pub const LINUX_6_12: Kernel = Kernel {
    series: "6.12",
    suite: "bookworm-backports",
};

impl Kernel {
    /// Where it lies, and what is left of its last boots.
    pub fn directory(&self) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        kept.join(self.series)
    }

    /// The file to boot: the newest of its series on the day that it was fetched, until somebody removes it.
    pub fn image(&self) -> Result<PathBuf, NoSuite> {
        // Several tests want the same one.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let image = self.directory().join("vmlinuz");
        if !image.exists() {
            self.fetch(&image)?;
        }
        Ok(image)
    }

    fn fetch(&self, image: &Path) -> Result<(), NoSuite> {
        say(&format!(
            "Linux {}: looks for it in {}",
            self.series, self.suite
        ));
        let apt = Apt::of(self.suite)?;
        // The package that stands for the newest kernel depends on that kernel's.
        let shown = apt.run("apt-cache", &["show", "linux-image-cloud-amd64"]);
        let prefix = format!("linux-image-{}.", self.series);
        let mut words = shown.split_whitespace();
        let package = words
            .find(|word| word.starts_with(&prefix))
            .unwrap_or_else(|| panic!("no {prefix}* in {}:\n{shown}", self.suite));
        say(&format!("Linux {}: fetches {package}", self.series));
        apt.run("apt-get", &["download", package]);

        let deb = first_file(apt.directory(), |name| name.ends_with(".deb"));
        let root = apt.directory().join("root");
        succeeded(output(
            Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root),
        ));
        let boot = first_file(&root.join("boot"), |name| name.starts_with("vmlinuz-"));
        fs::create_dir_all(self.directory()).unwrap();
        fs::rename(boot, image).unwrap();
        Ok(())
    }
}

fn first_file(directory: &Path, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let mut entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let entry = entries.find(|entry| wanted(&entry.file_name().to_string_lossy()));
    entry.map_or_else(
        || {
            panic!(
                "{} has not what a package of a kernel has",
                directory.display()
            )
        },
        |entry| entry.path(),
    )
}
