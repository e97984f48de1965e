//! A recording goes where it should, and if it cannot, it is kept elsewhere.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use tests::machine::{Machine, skipped};
use tests::stacks::Stacks;
use tests::thermograph::{Finished, Run};

const SHORT_LOAD: &str = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3";

/// `thermograph record ARGS -- LOAD`, a load that exits with 3.
fn run(arguments: &[&str]) -> Run {
    Run::new(
        ["record"]
            .iter()
            .chain(arguments)
            .chain(&["--", "sh", "-c", SHORT_LOAD]),
    )
}

/// The path behind "kept as" in the message, and the profile in it.
fn kept(finished: &Finished) -> Stacks {
    let (_, path) = finished
        .stderr
        .trim_end()
        .rsplit_once("it is kept as ")
        .unwrap();
    Stacks::read(&fs::read(path).unwrap())
}

/// A path that cannot be opened is known before anything is recorded, or started.
#[test]
fn unwritable_outputs_are_known_before() {
    if skipped("unwritable_outputs_are_known_before") {
        return;
    }
    let _machine = Machine::shared();
    for output in ["/nonexistent/x.pb.gz", ".", "/proc/1/nonexistent"] {
        let finished = Run::new(["record", "-o", output, "--", "touch", "started"]).finish();
        assert_eq!(finished.code(), 1);
        assert!(finished.complaint().contains(output), "{}", finished.stderr);
        assert!(finished.files().is_empty(), "{:?}", finished.files());
    }
}

/// A disk that is full when the recording is over costs an error, but not the recording; nor does it hide how the command
/// has ended.
#[test]
fn what_cannot_be_written_is_kept() {
    if skipped("what_cannot_be_written_is_kept") {
        return;
    }
    let _machine = Machine::shared();
    let finished = run(&["-o", "/dev/full"]).finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    assert!(
        finished.complaint().contains("/dev/full"),
        "{}",
        finished.stderr
    );
    assert!(kept(&finished).samples() > 0);
    let finished = Run::new(["record", "-o", "/dev/full", "-d", "200ms"]).finish();
    assert_eq!(finished.code(), 1, "{}", finished.stderr);
    assert!(
        finished.complaint().contains("it is kept as "),
        "{}",
        finished.stderr
    );
}

/// The same where standard output is full, or a pipe that nobody reads any more.
#[test]
fn what_nobody_takes_is_kept() {
    if skipped("what_nobody_takes_is_kept") {
        return;
    }
    let _machine = Machine::shared();
    let (reader, pipe) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(full), Stdio::from(pipe)] {
        let mut run = run(&["-o", "-"]);
        run.command().stdout(stdout);
        let finished = run.finish();
        assert_eq!(finished.code(), 3, "{}", finished.stderr);
        assert!(
            finished.complaint().contains("standard output"),
            "{}",
            finished.stderr
        );
        assert!(kept(&finished).samples() > 0);
    }
}

/// Keeping a recording elsewhere takes nothing from whoever has a file of that name there, and lets nobody else read it.
#[test]
fn what_is_kept_replaces_nothing() {
    if skipped("what_is_kept_replaces_nothing") {
        return;
    }
    let _machine = Machine::shared();
    let run = run(&["-o", "/dev/full"]);
    let other = run.directory().join("full");
    fs::write(&other, "of somebody else").unwrap();
    let finished = run.finish();
    assert!(kept(&finished).samples() > 0);
    let names = finished.files();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let (_, path) = finished
            .stderr
            .trim_end()
            .rsplit_once("it is kept as ")
            .unwrap();
        if Path::new(path).ends_with(&name) {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
        } else {
            assert_eq!(name, "full");
        }
    }
}

/// Standard output carries the profile and nothing else.
#[test]
fn standard_output_is_the_profile() {
    if skipped("standard_output_is_the_profile") {
        return;
    }
    let _machine = Machine::shared();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut run = run(&["-o", "-"]);
    run.command().stdout(file.reopen().unwrap());
    let finished = run.finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    assert!(Stacks::read(&fs::read(file.path()).unwrap()).samples() > 0);
    assert!(finished.files().is_empty(), "{:?}", finished.files());
}

/// A file that was there before is replaced, to its last byte; one that is there when nothing could be recorded is not.
#[test]
fn files_are_replaced() {
    if skipped("files_are_replaced") {
        return;
    }
    let _machine = Machine::shared();
    let old = vec![b'x'; 1 << 20];
    let again = run(&["-o", "x.pb.gz"]);
    fs::write(again.directory().join("x.pb.gz"), &old).unwrap();
    assert!(again.finish().stacks().samples() > 0);
    let failing = Run::new(["record", "-o", "x.pb.gz", "--", "/nonexistent"]);
    fs::write(failing.directory().join("x.pb.gz"), &old).unwrap();
    let finished = failing.finish();
    assert_eq!(finished.code(), 127, "{}", finished.stderr);
    assert_eq!(fs::read(finished.file()).unwrap(), old);
}
