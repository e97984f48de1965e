//! Those who name addresses, each as a process of its own.

use super::inputs::Input;
use super::places::Places;
use crate::process;
use anyhow::{Context, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::process::{Child, Command};
use std::time::Duration;

/// How often it is looked how much memory a process has.
const LOOK: Duration = Duration::from_micros(500);

/// Who names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    Symbolizer,
    Blazesym,
    LlvmSymbolizer,
    Addr2line,
}

/// What naming all addresses of an input took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// CPU time of its process, from its start to its end.
    pub(super) cpu: Duration,
    /// Largest resident set, bytes.
    pub(super) peak_rss: u64,
    /// Addresses with a name.
    pub(super) named: usize,
    /// Addresses with a line.
    pub(super) with_line: usize,
}

impl Contestant {
    pub(super) const ALL: [Contestant; 4] = [
        Contestant::Symbolizer,
        Contestant::Blazesym,
        Contestant::LlvmSymbolizer,
        Contestant::Addr2line,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Contestant::Symbolizer => "symbolizer",
            Contestant::Blazesym => "blazesym alone",
            Contestant::LlvmSymbolizer => "llvm-symbolizer",
            Contestant::Addr2line => "addr2line",
        }
    }

    /// Has it name all; nothing where it is not installed.
    pub(super) fn name(self, input: &Input) -> anyhow::Result<Option<Cost>> {
        if self != Contestant::Addr2line {
            return self.run(&input.places);
        }
        // It reads one file only.
        let mut sum = Cost::default();
        for places in &input.places {
            let Some(cost) = self.run(std::slice::from_ref(places))? else {
                return Ok(None);
            };
            sum.cpu += cost.cpu;
            sum.peak_rss = sum.peak_rss.max(cost.peak_rss);
            sum.named += cost.named;
            sum.with_line += cost.with_line;
        }
        Ok(Some(sum))
    }

    fn run(self, places: &[Places]) -> anyhow::Result<Option<Cost>> {
        let files = tempfile::tempdir()?;
        let (input, output) = (files.path().join("in"), files.path().join("out"));
        fs::write(&input, self.lines(places))?;
        let mut command = self.command(places)?;
        command
            .stdin(File::open(&input)?)
            .stdout(File::create(&output)?)
            .stderr(File::create(files.path().join("err"))?);
        let mut child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            child => child.with_context(|| format!("cannot start {}", self.label()))?,
        };
        let (cpu, peak_rss) = watch(&mut child)?;
        let status = child.wait()?;
        ensure!(status.success(), "{}: {status}", self.label());
        let text = fs::read(&output)?;
        let (named, with_line) = self.count(&String::from_utf8_lossy(&text));
        Ok(Some(Cost {
            cpu,
            peak_rss,
            named,
            with_line,
        }))
    }

    fn command(self, places: &[Places]) -> anyhow::Result<Command> {
        Ok(match self {
            Contestant::Symbolizer | Contestant::Blazesym => {
                let mut command = Command::new(std::env::current_exe()?);
                let by = if self == Contestant::Symbolizer {
                    "symbolizer"
                } else {
                    "blazesym"
                };
                command.args(["name", by]);
                command
            }
            Contestant::LlvmSymbolizer => {
                let mut command = Command::new("llvm-symbolizer");
                command.args(["--inlines", "--demangle"]);
                command
            }
            Contestant::Addr2line => {
                let mut command = Command::new("addr2line");
                let file = places.first().context("no file")?;
                command.args(["-a", "-f", "-i", "-C", "-e"]).arg(&file.file);
                command
            }
        })
    }

    fn lines(self, places: &[Places]) -> String {
        let mut lines = String::new();
        for places in places {
            let file = places.file.display();
            for address in &places.addresses {
                // Writing to a String does not fail.
                let _ = match self {
                    Contestant::Addr2line => writeln!(lines, "{address:#x}"),
                    _ => writeln!(lines, "{file} {address:#x}"),
                };
            }
        }
        lines
    }

    /// Of how many addresses the innermost function has a name, and a line.
    fn count(self, text: &str) -> (usize, usize) {
        let mut lines = text.lines();
        let (mut named, mut with_line) = (0, 0);
        let mut begins = self != Contestant::Addr2line;
        while let Some(line) = lines.next() {
            if self == Contestant::Addr2line && line.starts_with("0x") || line.is_empty() {
                begins = true;
            } else if begins {
                begins = false;
                let place = lines.next().unwrap_or_default();
                named += usize::from(line != "??");
                let mut numbers = place.split(':').skip(1);
                let has_line = numbers
                    .next()
                    .is_some_and(|line| !line.starts_with(['0', '?']));
                with_line += usize::from(has_line);
            }
        }
        (named, with_line)
    }
}

/// CPU time and largest resident set of a process until it has ended; it is still to be waited for.
fn watch(child: &mut Child) -> anyhow::Result<(Duration, u64)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("no process")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut peak_rss = 0;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        // The largest until now; at first, until it has begun its own program, that of this process.
        match process::peak_rss(child.id()) {
            0 => {}
            most => peak_rss = most,
        }
        std::thread::sleep(LOOK);
    }
    Ok((process::cpu(child.id()), peak_rss))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each prints of three addresses, of which one has an inlined function, one no line and one nothing.
    #[test]
    fn counts() {
        let blocks = "inner\n/a.c:3:1\nouter\n/a.c:9:2\n\nf\n??:0:0\n\n??\n??:0:0\n\n";
        assert_eq!(Contestant::LlvmSymbolizer.count(blocks), (2, 1));
        let ours = "inner\n/a.c:3\nouter\n/a.c:9\n\nf\n??:0\n\n\n";
        assert_eq!(Contestant::Symbolizer.count(ours), (2, 1));
        let lines = "0x10\ninner\n/a.c:3\nouter\n/a.c:9\n0x20\nf\na.c:?\n0x30\n??\n??:0\n";
        assert_eq!(Contestant::Addr2line.count(lines), (2, 1));
    }
}
