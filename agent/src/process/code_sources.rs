//! Where a program tells of the code that it makes at run time: files that it writes, in its own view of the file system.
//!
//! They are as foreign as can be: anybody can write to /tmp. So they are opened as in [`super::opener`], and must belong to the
//! process's user, or to root, and have been written to since the program began: process ids come again.

use super::opener::{open_in_root, reopen};
use rustix::fs::{OFlags, Stat};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::path::Path;
use symbolizer::{Jitdump, PerfMap};

/// How much later than they are the kernel's times of files and starts may be: they are of its ticks, 100 a second at the least.
const TICK: u64 = 20_000_000;

/// A jitdump that a program has mapped, which is how it says where that is.
#[derive(Clone, Debug)]
pub(super) struct MappedDump {
    pub(super) path: Vec<u8>,
    pub(super) inode: u64,
}

impl MappedDump {
    /// A mapping of such a file, by its path.
    pub(super) fn of(path: &[u8], inode: u64) -> Option<Self> {
        let name = path.rsplit(|byte| *byte == b'/').next()?;
        let is_dump = name.starts_with(b"jit-") && name.ends_with(b".dump");
        is_dump.then(|| Self {
            path: path.to_vec(),
            inode,
        })
    }
}

/// A program as it tells of itself.
pub(super) struct Teller {
    root: String,
    /// What it calls itself, in the innermost of its pid namespaces.
    pid: u32,
    /// As this host's root sees it.
    user: u32,
    /// CLOCK_REALTIME nanoseconds.
    began: u64,
}

impl Teller {
    /// The program that a process runs and that began then, CLOCK_MONOTONIC nanoseconds; 0: before the records.
    pub(super) fn of(tgid: u32, begin: u64) -> io::Result<Self> {
        let status = std::fs::read(format!("/proc/{tgid}/status"))?;
        let field = |name: &str, number| {
            let mut lines = status.split(|byte| *byte == b'\n');
            let line = lines.find_map(|line| line.strip_prefix(name.as_bytes()));
            let line = line.and_then(|line| std::str::from_utf8(line).ok());
            let mut words = line.unwrap_or_default().split_whitespace();
            let word = match number {
                Some(number) => words.nth(number),
                None => words.next_back(),
            };
            word.and_then(|word| word.parse().ok())
        };
        let (pid, user) = (field("NSpid:", None), field("Uid:", Some(1)));
        let (Some(pid), Some(user)) = (pid, user) else {
            return Err(io::Error::other("it does not say who it is"));
        };
        Ok(Self {
            root: format!("/proc/{tgid}/root"),
            pid,
            user,
            began: began(tgid, begin)?,
        })
    }

    /// Its perf map.
    pub(super) fn perf_map(&self) -> io::Result<PerfMap> {
        let path = format!("/tmp/perf-{}.map", self.pid);
        Ok(PerfMap::new(self.open(path.as_bytes(), |_| true)?))
    }

    /// Its jitdump.
    pub(super) fn jitdump(&self, dump: &MappedDump) -> io::Result<Jitdump> {
        let file = self.open(&dump.path, |stat| stat.st_ino == dump.inode)?;
        Ok(Jitdump::new(file, self.pid))
    }

    /// A link in the place of the file itself is not followed: it may lead to what belongs to root.
    fn open(&self, path: &[u8], wanted: impl Fn(&Stat) -> bool) -> io::Result<File> {
        let found = open_in_root(Path::new(&self.root), path, OFlags::NOFOLLOW)?;
        let is_own = |stat: &Stat| {
            let written = stat.st_mtime.saturating_mul(1_000_000_000);
            let written = written.saturating_add_unsigned(stat.st_mtime_nsec + TICK);
            (stat.st_uid == self.user || stat.st_uid == 0)
                && u64::try_from(written).is_ok_and(|written| written >= self.began)
        };
        let (file, _) = reopen(found, |stat| is_own(stat) && wanted(stat))?;
        Ok(file)
    }
}

/// When a program began, CLOCK_REALTIME nanoseconds; an error if the process of this id was not there yet then.
fn began(tgid: u32, begin: u64) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{tgid}/stat"))?;
    // The name, in parentheses, may hold anything. The start is the 22nd field, the first behind the name the 3rd.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().nth(19);
    let ticks: u64 = ticks
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::Error::other("it does not say when it began"))?;
    let started = ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second());
    let now = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let since_boot = now(ClockId::Boottime);
    let began = match begin {
        0 => started,
        begin => begin + since_boot.saturating_sub(now(ClockId::Monotonic)),
    };
    if started > began + TICK {
        return Err(io::Error::other("its process is another one by now"));
    }
    Ok(began + now(ClockId::Realtime).saturating_sub(since_boot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, Timestamps, mknodat, utimensat};
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    /// The place of this process's map, empty before and after.
    struct Place(String);

    impl Place {
        fn free() -> Self {
            let place = Self(format!("/tmp/perf-{}.map", std::process::id()));
            let _ = fs::remove_file(&place.0);
            place
        }

        fn is_read(&self) -> bool {
            let teller = Teller::of(std::process::id(), 0).unwrap();
            let map = teller.perf_map();
            let mut functions = 0;
            if let Ok(mut map) = map {
                map.read(u64::MAX, |_| functions += 1).unwrap();
            }
            functions > 0
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    const MAP: &str = "1000 10 f\n";

    /// A map is a regular file of the process's user or of root, of the process's own time. Anything else in its place is not
    /// opened: a pipe would block, a device could do anything, a link leads to what is not the process's. Needs root.
    #[test]
    fn only_own_maps_are_read() {
        let node = |kind| {
            let place = Place::free();
            // The device that never ends.
            let device = rustix::fs::makedev(1, 5);
            mknodat(CWD, &place.0, kind, Mode::RWXU, device).unwrap();
            place.is_read()
        };
        assert!(!node(FileType::Fifo) && !node(FileType::CharacterDevice));

        let place = Place::free();
        assert!(!place.is_read());
        fs::create_dir(&place.0).unwrap();
        assert!(!place.is_read());
        fs::remove_dir(&place.0).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::write(elsewhere.path(), MAP).unwrap();
        symlink(elsewhere.path(), &place.0).unwrap();
        assert!(!place.is_read());
        fs::remove_file(&place.0).unwrap();

        fs::write(&place.0, MAP).unwrap();
        assert!(place.is_read());
        chown(&place.0, Some(12345), None).unwrap();
        assert!(!place.is_read());
        chown(&place.0, Some(0), None).unwrap();
        assert!(place.is_read());
        // That of an earlier process of this id.
        let long_ago = rustix::fs::Timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        };
        utimensat(CWD, &place.0, &times, rustix::fs::AtFlags::empty()).unwrap();
        assert!(!place.is_read());
    }

    /// A program that began before the process of its id is not it.
    #[test]
    fn ids_come_again() {
        let this = std::process::id();
        assert!(Teller::of(this, 0).is_ok());
        assert!(Teller::of(this, bpf::sideband::monotonic_nanos()).is_ok());
        assert!(Teller::of(this, 1).is_err());
        assert!(Teller::of(5_000_000, 0).is_err());
    }

    /// What a runtime calls its jitdump, wherever that lies.
    #[test]
    fn dumps_by_their_names() {
        let path = |path: &[u8]| MappedDump::of(path, 1).is_some();
        assert!(path(b"/tmp/jit-17.dump") && path(b"/root/.debug/jit/x/jit-1.dump"));
        assert!(!path(b"/usr/lib/libjit.so") && !path(b"//anon") && !path(b""));
    }
}
