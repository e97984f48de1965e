//! Files that are read by a worker: what it may do, and what it costs when it hangs, dies or lies.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{C, CPP, RUST, Workshop, file_offset, functions, open, run};
use symbolizer::{FileError, Launch, Module, Options, Symbolizer, WorkerFault, WorkerStats};
use tests::condition::wait_for;
use tests::cpu_time::children;
use tests::fuse::{FileSystem, Mode};

/// Workers are found as the children of this process, so it has one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn launch(program: impl AsRef<Path>, arguments: &[&str]) -> Launch {
    Launch {
        program: program.as_ref().into(),
        arguments: arguments.iter().map(Into::into).collect(),
    }
}

/// Names by the agent's own worker.
fn symbolizer() -> Symbolizer {
    let worker = launch(tests::thermograph::binary(), &["worker"]);
    Symbolizer::in_worker(8 << 20, worker)
}

/// The workers of this process that have not ended.
fn workers() -> Vec<u32> {
    let mut workers = children(std::process::id());
    workers.retain(|&pid| !has_ended(pid));
    workers
}

fn worker() -> u32 {
    let [pid] = workers().try_into().unwrap();
    pid
}

fn has_ended(pid: u32) -> bool {
    // It is no more, or nobody has waited for it.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// The offset of a function's first byte.
fn offset_of(path: &Path, name: &str) -> u64 {
    let image = fs::read(path).unwrap();
    let functions = functions(&image);
    let function = functions.iter().find(|function| function.name == name);
    file_offset(&image, function.unwrap().address)
}

/// The outermost function at an offset, if it has a name.
fn name_at(symbolizer: &mut Symbolizer, module: &Module, offset: u64) -> Option<String> {
    let answer = symbolizer.user(module, &[offset]).remove(0);
    let frame = answer.frames.last().unwrap();
    answer.named.then(|| frame.name.to_string())
}

/// Every byte of every function of programs in three languages is named as this process names it: functions, inlined
/// ones, files, lines.
#[test]
fn answers_are_those_of_this_process() {
    let _alone = alone();
    let workshop = Workshop::new();
    let source = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
    for (compiler, source, arguments) in [
        ("cc", &*source, ["-O2", "-g"].as_slice()),
        ("cc", &*source, &["-O2"]),
        ("c++", CPP, &["-O2", "-g"]),
        ("rustc", RUST, &["-O", "-g"]),
    ] {
        let name = format!("{compiler}{}", arguments.len());
        let program = workshop.compile(compiler, source, &name, arguments);
        let image = fs::read(&program).unwrap();
        let module = open(&program);
        let offsets: Vec<u64> = functions(&image)
            .iter()
            .flat_map(|function| {
                let start = file_offset(&image, function.address);
                start..start + function.size
            })
            .filter(|&offset| module.elf_address(offset).is_some())
            .collect();
        assert!(offsets.len() > 100, "{compiler}: {}", offsets.len());
        let mut here = Symbolizer::new(Options::default());
        let mut there = symbolizer();
        // A window takes 4 MB of one file.
        for offsets in offsets.chunks(5000) {
            there.begin_window(Duration::from_secs(4));
            let (there, here) = (there.user(&module, offsets), here.user(&module, offsets));
            assert!(there == here, "{compiler}");
        }
        assert_eq!(there.take_failures(), here.take_failures());
        assert_eq!(there.worker_stats(), stats(|stats| stats.started = 1));
    }
}

fn stats(change: impl FnOnce(&mut WorkerStats)) -> WorkerStats {
    let mut stats = WorkerStats::default();
    change(&mut stats);
    stats
}

/// It belongs to nobody, has no capability and no way to one, no descriptor that was not meant for it, no network, and
/// none of the secrets in the agent's environment. It cannot write a file or leave a core.
#[test]
fn it_has_nothing_to_lose() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return tests::machine::skip("it_has_nothing_to_lose", "only root has something to lose");
    }
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    // Without the flag that closes it on exec, as a shell may leave one.
    let leaked = File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let mut symbolizer = symbolizer();
    let offset = offset_of(&program, "leaf");
    assert_eq!(
        name_at(&mut symbolizer, &open(&program), offset).as_deref(),
        Some("leaf")
    );

    let worker = worker();
    let of_worker = |name: &str| fs::read_to_string(format!("/proc/{worker}/{name}")).unwrap();
    let status = of_worker("status");
    let status: BTreeMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .collect();
    let nobody = "65534\t65534\t65534\t65534";
    assert_eq!((status["Uid"], status["Gid"]), (nobody, nobody));
    assert_eq!(status["Groups"].trim(), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"], status["Threads"]), ("1", "1"));
    let limits = of_worker("limits");
    for limit in ["Max core file size", "Max file size"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        let values: Vec<&str> = line[limit.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, ["0", "0"], "{limit}");
    }
    assert_eq!(of_worker("environ"), "");
    assert_ne!(
        fs::read_link(format!("/proc/{worker}/ns/net")).unwrap(),
        fs::read_link("/proc/self/ns/net").unwrap()
    );

    let descriptors = fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
    let mut descriptors: BTreeSet<String> = descriptors
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| target.to_str().unwrap().to_owned())
        .collect();
    let socket = descriptors.pop_last().unwrap();
    assert!(socket.starts_with("socket:["), "{socket}");
    let expected = [
        "/dev/null".to_owned(),
        format!("/proc/{worker}/statm"),
        program.to_str().unwrap().to_owned(),
    ];
    assert_eq!(descriptors, BTreeSet::from(expected));
}

/// A file that nobody but its owner may read is still named, with lines and inlined functions: what counts is the open file. What is said of
/// every byte of its functions is what this process says, which may open it.
#[test]
fn files_that_it_could_not_open_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let _alone = alone();
    let workshop = Workshop::new();
    let c = format!("{C}\nint main(int argc, char **argv) {{ return exported(argc); }}\n");
    // Not Rust: of functions that the linker has made one, each reader names another.
    for (compiler, source) in [("cc", &*c), ("c++", CPP)] {
        let program = workshop.compile(compiler, source, compiler, &["-O2", "-g"]);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let image = fs::read(&program).unwrap();
        let module = open(&program);
        let offsets = functions(&image).into_iter().flat_map(|function| {
            let start = file_offset(&image, function.address);
            start..start + function.size.min(200)
        });
        let offsets: Vec<u64> = offsets
            .filter(|&offset| module.elf_address(offset).is_some())
            .collect();
        let mut there = symbolizer();
        let mut here = Symbolizer::new(Options::default());
        let mut inlined = 0;
        for offsets in offsets.chunks(5000) {
            there.begin_window(Duration::from_secs(4));
            let (there, here) = (there.user(&module, offsets), here.user(&module, offsets));
            for (there, here) in there.iter().zip(&here) {
                assert_eq!(there, here, "{compiler}");
            }
            inlined += here.iter().filter(|answer| answer.frames.len() > 1).count();
        }
        assert!(inlined > 10, "{compiler}: {inlined}");
        assert!(there.take_failures().is_empty());
    }
}

/// The debug file of a stripped program is read by the worker, too, below the root directory that comes with the program. One that a
/// link leads to from there is the one that it leads to below that root, and no other.
#[test]
fn debug_files_come_from_below_the_root() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = workshop.c_program("whole", &["-O2", "-g", "-Wl,--build-id=0x0123456789abcdef"]);
    let leaf = offset_of(&whole, "leaf");
    let root = workshop.path("root");
    let debug = root.join("usr/lib/debug/.build-id/01/23456789abcdef.debug");
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    let program = root.join("program");
    run(Command::new("strip").arg("-o").arg(&program).arg(&whole));
    let outside = workshop.path("outside.debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(&whole)
        .arg(&outside));
    std::os::unix::fs::symlink(&outside, &debug).unwrap();
    let name = || {
        let root = Arc::new(File::open(&root).unwrap().into());
        let module = open(&program).with_roots("/program", [root]);
        name_at(&mut symbolizer(), &module, leaf)
    };
    assert_eq!(name(), None);
    let inside = root.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::copy(&outside, &inside).unwrap();
    assert_eq!(name().as_deref(), Some("leaf"));
}

/// The program stripped, and what was taken from it.
fn split(workshop: &Workshop, whole: &Path, strip: &str) -> (PathBuf, PathBuf) {
    let (program, debug) = (workshop.path("program"), workshop.path("program.debug"));
    run(Command::new("strip")
        .arg(strip)
        .arg("-o")
        .arg(&program)
        .arg(whole));
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(whole)
        .arg(&debug));
    (program, debug)
}

/// A debug file that comes while the program is being named counts from then on, as far as nothing was said before: places without a name
/// get one, and inlined functions, and lines. What had a name keeps it as it was.
#[test]
fn a_debug_file_that_comes_later_counts() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = workshop.c_program("whole", &["-O2", "-g", "-Wl,--build-id=0x0123456789abcdef"]);
    let leaf = offset_of(&whole, "leaf");
    let expected = symbolizer().user(&open(&whole), &[leaf, leaf + 1]);
    assert!(expected.iter().all(|answer| answer.frames.len() > 1));
    for (strip, had_name) in [("--strip-all", false), ("--strip-debug", true)] {
        let (program, debug) = split(&workshop, &whole, strip);
        let mut symbolizer = symbolizer();
        let module = open(&program);
        assert!(!symbolizer.lacks_debug_info(&module));
        let before = symbolizer.user(&module, &[leaf]).remove(0);
        assert_eq!((before.named, before.frames[0].line), (had_name, 0));
        assert!(symbolizer.lacks_debug_info(&module));
        symbolizer.give_debug_file(&module, File::open(debug).unwrap());
        assert!(!symbolizer.lacks_debug_info(&module));
        let after = symbolizer.user(&module, &[leaf, leaf + 1]);
        if had_name {
            assert_eq!(after[0], before);
        } else {
            assert_eq!(after[0].frames, expected[0].frames);
        }
        assert_eq!(after[1].frames, expected[1].frames);
        assert!(!symbolizer.lacks_debug_info(&module));
        assert!(symbolizer.take_failures().is_empty());
        assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 1));
    }
    assert!({
        let mut symbolizer = symbolizer();
        let module = open(&whole);
        symbolizer.user(&module, &[leaf]);
        !symbolizer.lacks_debug_info(&module)
    });
}

/// A debug file of another program, of one without a build id, or of none says nothing of this one, and that is told.
#[test]
fn a_debug_file_of_another_program_is_refused() {
    let _alone = alone();
    let workshop = Workshop::new();
    let whole = |name: &str, id: &str| {
        workshop.c_program(name, &["-O2", "-g", &format!("-Wl,--build-id={id}")])
    };
    let right = whole("whole", "0x0123456789abcdef");
    let leaf = offset_of(&right, "leaf");
    let garbage = workshop.path("garbage");
    fs::write(&garbage, b"\x7fELF\x02\x01\x01 and so on").unwrap();
    for (debug, said) in [
        (whole("other", "0x0123456789abcdee"), "another build id"),
        (whole("none", "none"), "no build id"),
        (garbage, "the file header is missing or makes no sense"),
    ] {
        let (program, _) = split(&workshop, &right, "--strip-all");
        let mut symbolizer = symbolizer();
        let module = open(&program);
        symbolizer.user(&module, &[leaf]);
        symbolizer.give_debug_file(&module, File::open(debug).unwrap());
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None);
        assert!(symbolizer.lacks_debug_info(&module));
        let failures = symbolizer.take_failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].error.to_string().contains(said), "{failures:?}");
    }
}

/// One that was killed while nobody asked it anything is replaced, and no file is blamed.
#[test]
fn a_killed_worker_comes_back() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let [leaf, f] = ["leaf", "f"].map(|name| offset_of(&program, name));
    let module = open(&program);
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &module, leaf).as_deref(),
        Some("leaf")
    );
    let first = worker();
    signal(first, Signal::KILL);
    wait_for("its end", || has_ended(first).then_some(()));
    assert_eq!(name_at(&mut symbolizer, &module, f).as_deref(), Some("f"));
    assert_ne!(worker(), first);
    assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 2));
    drop(symbolizer);
    // The last one is gone with who asked.
    wait_for("no worker", || workers().is_empty().then_some(()));
}

/// A worker that stops answering costs the file that it was at, in time; the same window's next file is named by another, and
/// the cache goes on without any.
#[test]
fn a_hanging_worker_costs_one_file() {
    let _alone = alone();
    let workshop = Workshop::new();
    let [one, other] = ["one", "other"].map(|name| workshop.c_program(name, &["-O2", "-g"]));
    let [leaf, f] = ["leaf", "f"].map(|name| offset_of(&one, name));
    let (one, other) = (open(&one), open(&other));
    let mut symbolizer = symbolizer();
    assert_eq!(
        name_at(&mut symbolizer, &one, leaf).as_deref(),
        Some("leaf")
    );
    symbolizer.begin_window(Duration::from_secs(4));
    signal(worker(), Signal::STOP);
    let begin = Instant::now();
    assert_eq!(name_at(&mut symbolizer, &one, f), None);
    assert_eq!(
        name_at(&mut symbolizer, &other, leaf).as_deref(),
        Some("leaf")
    );
    assert!(begin.elapsed() < Duration::from_secs(4));
    // It is left alone now, but what was said of it before stays.
    assert_eq!(name_at(&mut symbolizer, &one, f), None);
    assert_eq!(
        name_at(&mut symbolizer, &one, leaf).as_deref(),
        Some("leaf")
    );
    assert_blamed(&mut symbolizer, &one, WorkerFault::Hung);
    let expected = stats(|stats| {
        stats.started = 2;
        stats.hung = 1;
        stats.late_names = 1;
    });
    assert_eq!(symbolizer.worker_stats(), expected);
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
    let offsets: Vec<u64> = functions(&image)
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    // The moment has to be met.
    for tenths in 0..500 {
        let copy = workshop.path(&format!("copy-{tenths}"));
        fs::write(&copy, &image).unwrap();
        let module = open(&copy);
        let file = File::options().write(true).open(&copy).unwrap();
        let mut symbolizer = symbolizer();
        let cutter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(100 * tenths));
            file.set_len(4096).unwrap();
        });
        let answers = symbolizer.user(&module, &offsets);
        cutter.join().unwrap();
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

/// The one file that something was wrong with.
fn assert_blamed(symbolizer: &mut Symbolizer, module: &Module, fault: WorkerFault) {
    let failures = symbolizer.take_failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(&failures[0].module, module.name());
    assert_eq!(failures[0].error, FileError::Worker(fault));
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

/// A program whose debug information is larger than what is read of any takes as little memory as one without, however much of
/// it is asked about.
#[test]
fn a_large_file_takes_little_memory() {
    let _alone = alone();
    let program = tests::thermograph::binary();
    let image = fs::read(&program).unwrap();
    let offsets: Vec<u64> = functions(&image)
        .iter()
        .map(|function| file_offset(&image, function.address))
        .collect();
    let module = open(&program);
    assert!(module.bytes_of_names() > 48 << 20);
    let mut symbolizer = symbolizer();
    for offsets in offsets.chunks(4096) {
        symbolizer.begin_window(Duration::from_secs(4));
        let answers = symbolizer.user(&module, offsets);
        assert!(answers.iter().all(|answer| answer.named));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", worker())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < 40 << 10, "{peak} kB");
    assert_eq!(symbolizer.worker_stats(), stats(|stats| stats.started = 1));
}

/// A program in the place of the worker that says anything at all names nothing, takes no memory, and is done with.
#[test]
fn lies_are_no_answers() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let leaf = offset_of(&program, "leaf");
    let module = open(&program);
    for (script, fault) in [
        ("printf x >&0; sleep 100", WorkerFault::Lied),
        // Longer than a message.
        (
            "dd if=/dev/zero bs=100000 count=1 status=none >&0; sleep 100",
            WorkerFault::Lied,
        ),
        (
            "while dd if=/dev/urandom bs=1000 count=1 status=none >&0; do :; done",
            WorkerFault::Lied,
        ),
        ("exit 0", WorkerFault::Died),
        ("kill -SEGV $$", WorkerFault::Died),
    ] {
        let mut symbolizer = Symbolizer::in_worker(8 << 20, launch("/bin/sh", &["-c", script]));
        let before = symbolizer.cached_bytes();
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None, "{script}");
        assert_eq!(symbolizer.cached_bytes(), before);
        let failures = symbolizer.take_failures();
        assert_eq!(failures[0].error, FileError::Worker(fault), "{script}");
    }
}

/// Without a worker places are called by their addresses, and it is said once why.
#[test]
fn without_a_worker_nothing_breaks() {
    let _alone = alone();
    let workshop = Workshop::new();
    let program = workshop.c_program("program", &["-O2", "-g"]);
    let leaf = offset_of(&program, "leaf");
    let module = open(&program);
    let mut symbolizer = Symbolizer::in_worker(8 << 20, launch("/nowhere/at/all", &[]));
    for _ in 0..3 {
        symbolizer.begin_window(Duration::from_secs(4));
        assert_eq!(name_at(&mut symbolizer, &module, leaf), None);
    }
    assert!(symbolizer.take_start_error().is_some());
    assert!(symbolizer.take_start_error().is_none());
    assert_eq!(
        symbolizer.worker_stats(),
        stats(|stats| stats.not_started = 1)
    );
}

/// Started by a person it says what it is, and does nothing.
#[test]
fn it_is_not_for_people() {
    let mut command = std::process::Command::new(tests::thermograph::binary());
    let output = command
        .arg("worker")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by the agent"));
}
