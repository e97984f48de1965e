//! Reads what processes say of themselves, as soon as they begin.
//!
//! Their environment and command line lie in their own memory: whoever reads them may have to wait for as long as the process
//! likes, and finds nothing when it has ended.

use crate::owner::{Declaration, Declared};
use crate::pool::{self, GivenUp, Pool};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One that hangs holds up half of the others for so long.
const OPTIONS: pool::Options = pool::Options {
    name: "declarations",
    threads: 2,
    queue: 16 * 1024,
    patience: Duration::from_secs(1),
};
/// The record of an exec comes before the kernel has written arguments and environment, both at once, to where they are read: a busy host may
/// stop it in between for some ticks of the scheduler. So many milliseconds it is waited before each further try.
const PAUSES: [u64; 7] = [1, 1, 1, 4, 8, 16, 32];
/// After so many of them what there is counts, if there is something: some programs have no environment, or have written over their arguments.
const FOR_ALL: usize = 3;
/// Of each that is read. Long ones are class paths; what is told before the limit counts.
const MAX_BYTES: u64 = 256 << 10;

struct Reading {
    tgid: u32,
    declared: Declared,
    /// That of the process that it is a fork of, which counts if it has ended.
    parent: Declared,
}

/// The threads that read.
pub(super) struct Declarations {
    pool: Pool<Reading>,
    unread: Arc<AtomicU64>,
}

impl Declarations {
    pub(super) fn start() -> io::Result<Self> {
        let unread = Arc::new(AtomicU64::new(0));
        let note = {
            let unread = Arc::clone(&unread);
            move |reading: &Reading| match reading.parent.read() {
                Some(declaration) => reading.declared.set(declaration.clone()),
                None => {
                    unread.fetch_add(1, Ordering::Relaxed);
                    reading.declared.give_up();
                }
            }
        };
        let give_up = note.clone();
        let work = move |reading: &Reading| match read(reading.tgid) {
            Some(declaration) => reading.declared.set(declaration),
            None => note(reading),
        };
        let pool = Pool::start(OPTIONS, work, move |reading: &Reading, _: GivenUp| {
            give_up(reading);
        })?;
        Ok(Self { pool, unread })
    }

    /// Has the declaration of a program that has just begun, or was there before the agent, read soon.
    pub(super) fn read(&self, tgid: u32) -> Declared {
        self.submit(tgid, Declared::default())
    }

    /// That of a fork: its parent's, or its own where that has not been read. A daemon's parent ends at once.
    pub(super) fn of_fork(&self, child: u32, parent: &Declared) -> Declared {
        match parent.read() {
            Some(_) => parent.clone(),
            None => self.submit(child, parent.clone()),
        }
    }

    fn submit(&self, tgid: u32, parent: Declared) -> Declared {
        let declared = Declared::default();
        self.pool.submit(Reading {
            tgid,
            declared: declared.clone(),
            parent,
        });
        declared
    }

    /// Programs that had ended, or did not let themselves be read.
    pub(super) fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Lets no process hold up the others. To be called now and then.
    pub(super) fn tend(&self) {
        self.pool.tend();
    }
}

fn read(tgid: u32) -> Option<Declaration> {
    for attempt in 0.. {
        // Of one that has ended there is none.
        let executable = std::fs::read_link(format!("/proc/{tgid}/exe")).ok()?;
        let command_line = head(&format!("/proc/{tgid}/cmdline")).ok()?;
        let environment = head(&format!("/proc/{tgid}/environ")).ok()?;
        let is_whole = !command_line.is_empty() && !environment.is_empty();
        let is_part = !command_line.is_empty() || !environment.is_empty();
        let is_enough = is_whole || is_part && attempt >= FOR_ALL;
        match PAUSES.get(attempt) {
            Some(pause) if !is_enough => {
                std::thread::sleep(Duration::from_millis(*pause));
            }
            _ => {
                return Some(Declaration::new(
                    executable.as_os_str().as_encoded_bytes(),
                    &command_line,
                    &environment,
                ));
            }
        }
    }
    None
}

fn head(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn wait(declared: &Declared) -> &Declaration {
        loop {
            if let Some(declaration) = declared.get() {
                return declaration;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A process's variable and script are read while it runs; of one that is gone nothing is known, which is counted.
    #[test]
    fn a_living_process_is_read() {
        let declarations = Declarations::start().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("shop.sh");
        std::fs::write(&script, "read line\n").unwrap();
        let mut child = Command::new("/bin/sh")
            .arg(&script)
            .env("OTEL_SERVICE_NAME", "checkout")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let declared = declarations.read(child.id());
        let declaration = wait(&declared);
        assert_eq!(
            declaration.service_name().map(|name| &**name),
            Some("checkout")
        );
        let shell = shell.file_name().unwrap().to_str().unwrap();
        assert_eq!(declaration.script_of(shell), Some("shop"));
        assert_eq!(declarations.unread(), 0);
        drop(child.stdin.take());
        child.wait().unwrap();
        let gone = declarations.read(child.id());
        assert_eq!(wait(&gone).service_name(), None);
        assert_eq!(declarations.unread(), 1);
    }

    /// A fork is what its parent is, and itself where that could not be read; one that is gone too is what its parent turned out to be.
    #[test]
    fn a_fork_is_read_where_its_parent_was_not() {
        let declarations = Declarations::start().unwrap();
        let said = |name: &str| {
            let environment = format!("OTEL_SERVICE_NAME={name}");
            Declaration::new(b"x", b"", environment.as_bytes())
        };
        let mut child = Command::new("cat")
            .env("OTEL_SERVICE_NAME", "own")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let gone = u32::MAX;
        let (read, unread, late) = <(Declared, Declared, Declared)>::default();
        read.set(said("parent"));
        unread.give_up();
        for (tgid, parent, name) in [
            (child.id(), &read, Some("parent")),
            (child.id(), &unread, Some("own")),
            (gone, &unread, None),
        ] {
            let declared = declarations.of_fork(tgid, parent);
            let name_read = wait(&declared).service_name().map(|name| &**name);
            assert_eq!(name_read, name);
        }
        let reading = Reading {
            tgid: gone,
            declared: Declared::default(),
            parent: late.clone(),
        };
        late.set(said("late"));
        let declared = reading.declared.clone();
        declarations.pool.submit(reading);
        let name = wait(&declared).service_name().map(|name| &**name);
        assert_eq!(name, Some("late"));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
