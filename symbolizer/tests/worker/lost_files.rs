//! Files that are cut short or go away while a worker reads them.

use crate::support::{RUST, Workshop, file_offset, functions, open};
use crate::{
    alone, assert_blamed, name_at, offset_of, offsets_of, split, stats, symbolizer, workers,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use symbolizer::{Options, Symbolizer, WorkerFault};
use tests::condition::wait_for;
use tests::fuse::{FileSystem, Mode};

/// What `work` gives while a file is cut short, so many tenths of a millisecond after its begin.
fn while_cut<T>(path: &Path, tenths: u64, work: impl FnOnce() -> T) -> T {
    let file = File::options().write(true).open(path).unwrap();
    let cutter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros(100 * tenths));
        file.set_len(4096).unwrap();
    });
    let done = work();
    cutter.join().unwrap();
    done
}

/// A file that is cut short while its debug information is read kills the worker by SIGBUS. What tables of symbols had said
/// by then is kept, the other file of the window is named by another worker.
#[test]
fn a_file_truncated_under_it_costs_itself_only() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.compile("rustc", RUST, "program", &["-g"]);
    let image = fs::read(&program).unwrap();
    let other = workshop.c_program("other", &["-O2", "-g"]);
    let leaf = offset_of(&other, "leaf");
    let other = open(&other);
    let offsets = offsets_of(&image);
    // The moment has to be met.
    for tenths in 0..500 {
        let copy = workshop.path(&format!("copy-{tenths}"));
        fs::write(&copy, &image).unwrap();
        let module = open(&copy);
        let mut symbolizer = symbolizer();
        let ask = || symbolizer.user(&module, &offsets);
        let answers = while_cut(&copy, tenths, ask);
        assert_eq!(answers.len(), offsets.len());
        assert_eq!(
            name_at(&mut symbolizer, &other, leaf).as_deref(),
            Some("leaf")
        );
        fs::remove_file(&copy).unwrap();
        if symbolizer.worker_stats().died == 0 {
            continue;
        }
        assert_blamed(&mut symbolizer, &module, WorkerFault::Died);
        assert!(answers.iter().any(|answer| answer.named));
        let again = symbolizer.user(&module, &offsets);
        let mut named = answers.iter().zip(&again).filter(|(one, _)| one.named);
        assert!(named.all(|(one, again)| **one == **again));
        return;
    }
    panic!("no worker has died");
}

/// The same of its debug file: functions have the names that the file's own symbols give them, and only lines are missing.
#[test]
fn a_debug_file_truncated_under_it_costs_lines_only() {
    let _alone = alone();
    let workshop = Workshop::new();
    let link = "-Clink-arg=-Wl,--build-id=0x0123456789abcdef";
    let whole = workshop.compile("rustc", RUST, "whole", &["-g", link]);
    let (program, debug) = split(&workshop, &whole, "--strip-debug");
    let image = fs::read(&program).unwrap();
    let offsets = offsets_of(&image);
    let root = workshop.path("root");
    let installed = root.join("usr/lib/debug/.build-id/01/23456789abcdef.debug");
    fs::create_dir_all(installed.parent().unwrap()).unwrap();
    let other = workshop.c_program("other", &["-O2", "-g"]);
    let leaf = offset_of(&other, "leaf");
    let other = open(&other);
    // The moment has to be met.
    for tenths in 0..500 {
        fs::copy(&debug, &installed).unwrap();
        let directory = Arc::new(File::open(&root).unwrap().into());
        let module = open(&program).with_roots("/program", [directory]);
        let mut symbolizer = symbolizer();
        let ask = || symbolizer.user(&module, &offsets);
        let answers = while_cut(&installed, tenths, ask);
        assert!(answers.iter().all(|answer| answer.named));
        assert_eq!(
            name_at(&mut symbolizer, &other, leaf).as_deref(),
            Some("leaf")
        );
        fs::remove_file(&installed).unwrap();
        if symbolizer.worker_stats().died == 0 {
            continue;
        }
        assert_blamed(&mut symbolizer, &module, WorkerFault::Died);
        assert!(answers.iter().all(|answer| answer.frames[0].line == 0));
        return;
    }
    panic!("no worker has died");
}

/// A file on a server that stops answering costs its own names, and the worker that waits for it and cannot even be killed is
/// left and replaced. It goes when the server is given up.
#[test]
fn a_file_on_a_dead_server_costs_itself_only() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return tests::machine::skip("a_file_on_a_dead_server_costs_itself_only", "it mounts");
    }
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2"]);
    let [leaf, f] = ["leaf", "f"].map(|name| offset_of(&program, name));
    let server = FileSystem::mount(fs::read(&program).unwrap(), true);
    let (remote, local) = (open(&server.path()), open(&program));
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &remote, leaf).as_deref(),
        Some("leaf")
    );
    server.set(Mode::Never);
    symbolizer.begin_window(Duration::from_secs(4));
    let begin = Instant::now();
    assert_eq!(name_at(&mut symbolizer, &remote, f), None);
    for (offset, name) in [(leaf, "leaf"), (f, "f")] {
        assert_eq!(
            name_at(&mut symbolizer, &local, offset).as_deref(),
            Some(name)
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert_eq!(
        name_at(&mut symbolizer, &remote, leaf).as_deref(),
        Some("leaf")
    );
    assert_blamed(&mut symbolizer, &remote, WorkerFault::Hung);
    let expected = stats(|stats| {
        stats.started = 2;
        stats.hung = 1;
        stats.stuck = 1;
        stats.late_names = 1;
    });
    assert_eq!(symbolizer.worker_stats(), expected);
    assert_eq!(workers().len(), 2);
    drop(server);
    wait_for("the end of the one that waited", || {
        symbolizer.begin_window(Duration::from_secs(4));
        (symbolizer.worker_stats().stuck == 0).then_some(())
    });
}

/// However many files are on a server that stops answering, it has one worker wait for it; files elsewhere are named, and those on it
/// are once it is given up or answers.
#[test]
fn many_files_on_a_dead_server_cost_one_worker() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        let name = "many_files_on_a_dead_server_cost_one_worker";
        return tests::machine::skip(name, "it mounts");
    }
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2"]);
    let leaf = offset_of(&program, "leaf");
    let server = FileSystem::mount(fs::read(&program).unwrap(), true);
    // What is another file to who asks.
    let remote: Vec<_> = (0..12).map(|_| open(&server.path())).collect();
    server.set(Mode::Never);
    let mut symbolizer = symbolizer();
    for (number, remote) in remote.iter().enumerate() {
        symbolizer.begin_window(Duration::from_secs(4));
        assert_eq!(name_at(&mut symbolizer, remote, leaf), None);
        let local = open(&program);
        let name = name_at(&mut symbolizer, &local, leaf);
        assert_eq!(name.as_deref(), Some("leaf"), "{number}");
    }
    let expected = stats(|stats| {
        stats.started = 2;
        stats.hung = 1;
        stats.stuck = 1;
        stats.late_names = 1;
    });
    assert_eq!(symbolizer.worker_stats(), expected);
    drop(server);
}

/// A server that is lost while debug information is read costs lines: functions are named already. Reading a mapping that
/// fails is a SIGBUS.
#[test]
fn a_lost_server_costs_lines_only() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return tests::machine::skip("a_lost_server_costs_lines_only", "it mounts");
    }
    let workshop = Workshop::new();
    let program = workshop.compile("rustc", RUST, "program", &["-g"]);
    let image = fs::read(&program).unwrap();
    let offsets: BTreeSet<u64> = functions(&image)
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    let offsets: Vec<u64> = offsets.into_iter().collect();
    for (mode, fault) in [
        (Mode::Error, WorkerFault::Died),
        (Mode::Never, WorkerFault::Hung),
    ] {
        let server = FileSystem::mount(image.clone(), false);
        let module = open(&server.path());
        // All that its symbols need is in the page cache now.
        let bare = Options {
            debug_bytes: 0,
            ..Options::default()
        };
        let bare = Symbolizer::new(bare).user(&module, &offsets);
        server.set(mode);
        let mut symbolizer = symbolizer();
        assert!(symbolizer.user(&module, &offsets) == bare);
        assert_blamed(&mut symbolizer, &module, fault);
        let late = symbolizer.worker_stats();
        assert_eq!(
            (late.late_names, late.late_lines),
            (0, offsets.len() as u64)
        );
        // Its other names still come, without lines.
        let next: Vec<u64> = offsets.iter().map(|offset| offset + 1).collect();
        let named = symbolizer.user(&module, &next);
        assert!(named.iter().filter(|answer| answer.named).count() > offsets.len() / 2);
        assert_eq!(symbolizer.worker_stats().started, 2);
    }
}
