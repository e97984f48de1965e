//! Files that are not what they were, and disks that do not let them be read: each costs itself.

use super::*;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// A damaged file, one that was cut, one that was replaced and one that is gone cost what was in them; so does what was never a file of
/// ours. All of it is counted.
#[test]
fn damage_costs_itself() {
    for restart in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut first = spool(&directory, 1..=7);
        let paths = files(&directory);
        let mut damaged = fs::read(&paths[0]).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(&paths[0], damaged).unwrap();
        fs::write(&paths[1], &fs::read(&paths[1]).unwrap()[..30]).unwrap();
        fs::write(&paths[2], "nonsense").unwrap();
        fs::remove_file(&paths[3]).unwrap();
        symlink(&paths[6], &paths[3]).unwrap();
        fs::remove_file(&paths[4]).unwrap();
        fs::create_dir(&paths[4]).unwrap();
        fs::remove_file(&paths[5]).unwrap();
        // What cannot be opened at all: ENXIO.
        drop(UnixListener::bind(&paths[5]).unwrap());
        fs::write(directory.path().join("spool/notes.txt"), "mine").unwrap();
        fs::write(
            directory.path().join("spool/00000000000000000009.new"),
            "half",
        )
        .unwrap();
        if restart {
            drop(first);
            first = open(&directory);
            let left = files(&directory);
            assert!(left.iter().all(|path| path.extension().unwrap() != "new"));
        }
        assert_eq!(take(&mut first, all()), [7], "restart: {restart}");
        assert_eq!(first.losses().corrupt, 6, "restart: {restart}");
    }
}

/// A damaged profile does not keep its neighbours from being marked as done, nor from being found again.
#[test]
fn marks_go_on_past_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(&directory);
    first.append(&[profile(1), profile(2), profile(3)]).unwrap();
    let taken = first.take(all()).unwrap();
    let path = &files(&directory)[0];
    let mut bytes = fs::read(path).unwrap();
    // The start of the second one.
    bytes[16 + 28 + 12] ^= 1;
    fs::write(path, bytes).unwrap();
    let done: Vec<_> = taken.iter().map(|t| Settled::done(t.ticket)).collect();
    first.settle(&[done[1], done[0]]).unwrap();
    drop(first);
    let mut second = open(&directory);
    assert_eq!(take(&mut second, all()), [3]);
    assert_eq!(second.losses().corrupt, 1);
}

/// What the disk cannot read now (EIO) waits and costs nothing: not the profiles in that file, nor those in others, nor a restart.
#[test]
fn unreadable_places_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = spool(&directory, [1, 2, 3]);
    let path = files(&directory).remove(1);
    let unreadable = Mounted::unreadable(&path);
    assert_eq!(fs::read(&path).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(take(&mut first, all()), [1, 3]);
    assert_eq!((first.waiting(), first.losses()), (1, Losses::default()));
    first.append(&[profile(4)]).unwrap();
    assert_eq!(take(&mut first, all()), [4]);
    drop(first);
    let mut second = open(&directory);
    assert_eq!(take(&mut second, all()), [1, 3, 4]);
    drop(unreadable);
    assert_eq!(take(&mut second, all()).len(), 0);
    drop(second);
    let mut third = open(&directory);
    assert_eq!(
        (third.losses().unknown, take(&mut third, all())),
        (3, vec![2])
    );
}

/// The same in one life: it is tried again after a minute.
#[test]
fn unreadable_places_are_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [1]);
    let unreadable = Mounted::unreadable(&files(&directory)[0]);
    assert!(take(&mut spool, all()).is_empty());
    drop(unreadable);
    assert!(take(&mut spool, all()).is_empty());
    let now = Instant::now() + std::time::Duration::from_secs(60);
    assert_eq!(take(&mut spool, Wanted { now, ..all() }), [1]);
}

/// What the server has, and could not be marked so, is marked with the next: no later agent sends it.
#[test]
fn marks_are_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(&directory);
    first.append(&[profile(1), profile(2)]).unwrap();
    first.append(&[profile(3)]).unwrap();
    let taken = first.take(all()).unwrap();
    let done: Vec<_> = taken.iter().map(|t| Settled::done(t.ticket)).collect();
    let unreadable = Mounted::unreadable(&files(&directory)[0]);
    first.settle(&[done[0]]).unwrap();
    drop(unreadable);
    first.settle(&[done[2]]).unwrap();
    drop(first);
    assert_eq!(take(&mut open(&directory), all()), [2]);
}

/// A file that the disk keeps from being read now: what was taken of others is sent, and nothing is stuck or lost.
#[test]
fn what_could_be_taken_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [1, 2]);
    let path = files(&directory).remove(1);
    let read_only = Mounted::read_only(&path);
    assert_eq!(take(&mut spool, all()), [1]);
    assert!(spool.take(all()).is_err());
    drop(read_only);
    assert_eq!(take(&mut spool, all()), [2]);
    assert_eq!(spool.losses(), Losses::default());
}

/// A file with something mounted over it.
struct Mounted(PathBuf);

impl Mounted {
    /// Itself, to be read only.
    fn read_only(path: &Path) -> Self {
        let mounted = Self::over(path, path);
        let options = ["-o", "remount,bind,ro"];
        run(Command::new("mount").args(options).arg(path));
        mounted
    }

    /// A file that opens, and answers EIO: the memory of this process, which has nothing at these addresses.
    fn unreadable(path: &Path) -> Self {
        let memory = format!("/proc/{}/mem", std::process::id());
        Self::over(path, Path::new(&memory))
    }

    fn over(path: &Path, what: &Path) -> Self {
        run(Command::new("mount").arg("--bind").args([what, path]));
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// What somebody has appended to a file costs neither its profiles nor those before it.
#[test]
fn junk_behind_a_file_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    drop(spool(&directory, [1, 2, 3]));
    let path = &files(&directory)[1];
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1 << 30).unwrap();
    let mut again = open(&directory);
    assert_eq!(take(&mut again, all()), [1, 2, 3]);
    assert!(again.bytes() < 1000);
}
