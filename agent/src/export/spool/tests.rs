//! What is on disk after what: restarts are played by opening the same directory again.

mod damage;

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use tempfile::TempDir;

fn all() -> Wanted {
    Wanted {
        now: Instant::now(),
        oldest: 0,
        live: i64::MAX,
        profiles: usize::MAX,
        bytes: usize::MAX,
        order: Order::LiveFirst,
    }
}

fn profile(start: i64) -> Entrusted {
    Entrusted {
        sent: Sent::Never,
        is_on_its_way: false,
        strikes: 0,
        not_before: None,
        start,
        payload: format!("profile {start}").into_bytes(),
    }
}

fn open(directory: &TempDir) -> Spool {
    Spool::open(&directory.path().join("spool"), 1 << 20).unwrap()
}

/// A spool with these profiles, a file each.
fn spool(directory: &TempDir, starts: impl IntoIterator<Item = i64>) -> Spool {
    let mut spool = open(directory);
    for start in starts {
        spool.append(&[profile(start)]).unwrap();
    }
    spool
}

fn take(spool: &mut Spool, wanted: Wanted) -> Vec<i64> {
    let taken = spool.take(wanted).unwrap();
    for taken in &taken {
        assert_eq!(taken.payload, format!("profile {}", taken.start).as_bytes());
    }
    taken.iter().map(|taken| taken.start).collect()
}

fn settled(ticket: Ticket, sent: Sent, strikes: u32) -> Settled {
    Settled {
        ticket,
        sent,
        strikes,
        not_before: None,
    }
}

fn files(directory: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path().join("spool")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What was put there comes back after a restart, in order, with its time; nothing is readable for others.
#[test]
fn survives_restarts_in_order() {
    let directory = tempfile::tempdir().unwrap();
    drop(spool(&directory, [1, 2, 3]));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("spool")), 0o700);
    assert!(files(&directory).iter().all(|file| mode(file) == 0o600));
    let mut again = open(&directory);
    again.append(&[profile(4), profile(5)]).unwrap();
    assert_eq!(again.waiting(), 5);
    assert_eq!(take(&mut again, all()), [1, 2, 3, 4, 5]);
    assert_eq!((again.waiting(), take(&mut again, all()).len()), (0, 0));
}

/// What the server has is not there after a restart; what it refused for now is as it was.
#[test]
fn outcomes_survive_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(&directory);
    first
        .append(&[profile(1), profile(2), profile(3), profile(4)])
        .unwrap();
    let tickets: Vec<Ticket> = first
        .take(all())
        .unwrap()
        .iter()
        .map(|t| t.ticket)
        .collect();
    first
        .settle(&[
            settled(tickets[0], Sent::Done, 0),
            settled(tickets[1], Sent::Never, 0),
            settled(tickets[2], Sent::Failed, 0),
        ])
        .unwrap();
    drop(first);
    let mut second = open(&directory);
    let taken = second.take(all()).unwrap();
    let states: Vec<(i64, Sent)> = taken.iter().map(|t| (t.start, t.sent)).collect();
    // Of the last one the answer was never written down.
    assert_eq!(
        states,
        [(2, Sent::Never), (3, Sent::Failed), (4, Sent::Once)]
    );
    let done: Vec<_> = taken.iter().map(|t| Settled::done(t.ticket)).collect();
    second.settle(&done).unwrap();
    assert!(files(&directory).is_empty());
    assert_eq!(second.bytes(), 0);
}

/// However often the process dies with a profile on its way: the second time is the last, and is counted.
#[test]
fn nothing_is_sent_three_times() {
    let directory = tempfile::tempdir().unwrap();
    drop(spool(&directory, [1]));
    let mut sent = 0;
    let mut unknown = 0;
    for _ in 0..5 {
        let mut spool = open(&directory);
        unknown += spool.losses().unknown;
        sent += take(&mut spool, all()).len();
    }
    assert_eq!((sent, unknown), (2, 1));
    assert!(files(&directory).is_empty());
}

/// What is put there in flight is not taken until it is settled, and counts as sent after a restart.
#[test]
fn in_flight_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(&directory);
    let flying = Entrusted {
        sent: Sent::Once,
        is_on_its_way: true,
        ..profile(1)
    };
    let tickets = first.append(&[flying, profile(2)]).unwrap();
    assert_eq!(take(&mut first, all()), [2]);
    drop(first);
    let mut second = open(&directory);
    assert_eq!(second.take(all()).unwrap()[0].sent, Sent::Once);
    second
        .settle(&[settled(tickets[0], Sent::Once, 0)])
        .unwrap();
    assert_eq!(second.waiting(), 1);
}

fn provisional(start: i64) -> Entrusted {
    Entrusted {
        sent: Sent::Provisional,
        ..profile(start)
    }
}

/// What is provisional is not taken; after a restart it is what there is, and stays so whatever comes then.
#[test]
fn provisional_ones_are_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = spool(&directory, [1]);
    first.append(&[profile(2), provisional(3)]).unwrap();
    assert_eq!(take(&mut first, all()), [1, 2]);
    assert_eq!(first.waiting(), 0);
    drop(first);
    let mut second = open(&directory);
    second.append(&[profile(4)]).unwrap();
    drop(second);
    assert_eq!(take(&mut open(&directory), all()), [1, 2, 3, 4]);
}

/// Each file takes the place of what is provisional before it, whenever the process dies: before that is marked, too, and when the new file
/// has gone.
#[test]
fn provisional_ones_are_replaced() {
    for dies_before_marks in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut first = open(&directory);
        first.append(&[profile(1), provisional(2)]).unwrap();
        let path = &files(&directory)[0];
        let before = fs::read(path).unwrap();
        let tickets = first.append(&[profile(3), provisional(4)]).unwrap();
        if dies_before_marks {
            fs::write(path, before).unwrap();
            drop(first);
            assert_eq!(take(&mut open(&directory), all()), [1, 3, 4]);
            continue;
        }
        let done: Vec<_> = tickets.into_iter().map(Settled::done).collect();
        first.settle(&done).unwrap();
        assert_eq!(files(&directory).len(), 1);
        drop(first);
        assert_eq!(take(&mut open(&directory), all()), [1]);
    }
}

/// The oldest make room, and are counted; what is larger than all of it is refused.
#[test]
fn bounded_in_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let large = |start| Entrusted {
        payload: vec![7; 1000],
        ..profile(start)
    };
    let mut spool = Spool::open(&path, 5000).unwrap();
    for start in 0..20 {
        spool.append(&[large(start)]).unwrap();
        let on_disk: u64 = files(&directory)
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum();
        assert!(on_disk <= 5000 && on_disk == spool.bytes());
    }
    assert_eq!((spool.waiting(), spool.losses().spool_full), (4, 16));
    let all: Vec<Entrusted> = (0..5).map(large).collect();
    assert!(spool.append(&all).is_err());
    assert_eq!(spool.waiting(), 4);
    // A smaller bound counts from the next start on.
    drop(spool);
    let mut spool = Spool::open(&path, 2500).unwrap();
    assert_eq!((spool.waiting(), spool.losses().spool_full), (2, 2));
}

/// What is too old goes without being read, by the time of each profile; a clock that was wrong blocks nothing.
#[test]
fn bounded_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [i64::MIN, 99, 100, i64::MAX]);
    let wanted = Wanted {
        oldest: 100,
        ..all()
    };
    assert_eq!(take(&mut spool, wanted), [i64::MAX, 100]);
    assert_eq!(spool.losses().too_old, 2);
    assert_eq!(files(&directory).len(), 2);
}

/// In an outage what has been tried least comes first, else the oldest; what is taken at once is bounded.
#[test]
fn what_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [1, 2, 3]);
    let one = Wanted {
        profiles: 1,
        ..all()
    };
    let ordered = |order| Wanted { order, ..one };
    let first = spool.take(one).unwrap()[0].ticket;
    spool.settle(&[settled(first, Sent::Never, 1)]).unwrap();
    assert_eq!(take(&mut spool, ordered(Order::LeastTried)), [2]);
    assert_eq!(take(&mut spool, one), [1]);
    spool.settle(&[settled(first, Sent::Never, 2)]).unwrap();
    assert_eq!(take(&mut spool, ordered(Order::Untried)), [3]);
    assert!(take(&mut spool, ordered(Order::Untried)).is_empty());
    assert_eq!(take(&mut spool, ordered(Order::LeastTried)), [1]);
    spool.append(&[profile(3)]).unwrap();
    let bytes = Wanted { bytes: 1, ..all() };
    spool.append(&[profile(4)]).unwrap();
    assert_eq!(take(&mut spool, bytes), [3]);
}

/// What is live comes before what is older, and can be had alone.
#[test]
fn live_ones_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [1, 2, 8, 9, 3]);
    let some = |order, profiles| Wanted {
        live: 8,
        profiles,
        order,
        ..all()
    };
    assert_eq!(take(&mut spool, some(Order::LiveFirst, 1)), [8]);
    assert_eq!(take(&mut spool, some(Order::Live, 9)), [9]);
    assert!(take(&mut spool, some(Order::Live, 9)).is_empty());
    assert_eq!(take(&mut spool, some(Order::LiveFirst, 9)), [1, 2, 3]);
}

/// What is to wait is not taken before its time, in whatever order, and stands in nobody's way.
#[test]
fn waits_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(&directory, [1, 2]);
    let first = spool
        .take(Wanted {
            profiles: 1,
            ..all()
        })
        .unwrap();
    let later = all().now + std::time::Duration::from_secs(60);
    let waits = Settled {
        not_before: Some(later),
        ..settled(first[0].ticket, Sent::Never, 1)
    };
    spool.settle(&[waits]).unwrap();
    assert_eq!(take(&mut spool, all()), [2]);
    for order in [Order::LiveFirst, Order::Untried, Order::LeastTried] {
        assert!(take(&mut spool, Wanted { order, ..all() }).is_empty());
    }
    assert_eq!(spool.waiting(), 1);
    let then = Wanted {
        now: later,
        ..all()
    };
    assert_eq!(take(&mut spool, then), [1]);
}

/// A second agent on one directory, a directory of others, and a link in its place are refused in a sentence.
#[test]
fn foreign_directories_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let first = Spool::open(&path, 1 << 20).unwrap();
    let refused = |path: &Path| Spool::open(path, 1 << 20).unwrap_err().to_string();
    assert!(refused(&path).contains("another agent"));
    drop(first);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(refused(&path).contains("chmod 700"));
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    refused(&link);
}
