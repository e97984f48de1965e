//! A process whose files have other paths than on the host, and whose pid is another inside.

use fixtures::{Container, Program};
use std::collections::BTreeSet;
use std::process::Command;
use tests::machine::{Machine, skipped};
use tests::stacks::{Stack, Stacks};
use tests::thermograph::Run;

/// The stacks of a process of the container, recorded by its pid on the host: its own, and as it knows them.
fn recorded(container: &Container) -> Stacks {
    let (running, pid) = container.start(Program::SharesStatic, ["3"]).unwrap();
    let finished = Run::new(["record", "-F", "499", "-p", &pid.to_string()])
        .finish()
        .succeeded();
    assert!(running.finish().unwrap().status.success());
    let stacks = finished.stacks();
    assert_eq!(stacks.pids(), BTreeSet::from([pid]));
    let truth = Program::SharesStatic.truth();
    let is_true = |stack: &Stack| truth.iter().any(|path| stack.from("main") == path.stack);
    assert!(stacks.share(is_true) >= 0.99, "{}", stacks.listing());
    assert!(stacks.samples() > 500, "{}", stacks.listing());
    stacks
}

/// It is recorded by its pid on the host, and named from its own root directory, although there is no file of that path
/// on the host.
#[test]
fn contained_processes_are_named() {
    if skipped("contained_processes_are_named") {
        return;
    }
    let _machine = Machine::shared();
    let container = Container::holding(&[Program::SharesStatic]).unwrap();
    let stacks = recorded(&container);
    let frames = stacks.stacks.iter().flat_map(|stack| &stack.frames);
    let modules: BTreeSet<&str> = frames
        .filter(|frame| frame.name == "main")
        .map(|frame| &*frame.module)
        .collect();
    assert_eq!(modules, BTreeSet::from(["shares_static"]));
}

/// A program that was stripped is named by the debug file that lies in its own root directory, of which there is nothing on the host.
#[test]
fn debug_files_lie_in_their_root() {
    if skipped("debug_files_lie_in_their_root") {
        return;
    }
    let _machine = Machine::shared();
    let container = Container::holding(&[Program::SharesStatic]).unwrap();
    let objcopy = |arguments: &[&str]| {
        let mut objcopy = Command::new("objcopy");
        objcopy
            .current_dir(container.root().join("app"))
            .args(arguments);
        assert!(objcopy.status().unwrap().success(), "{objcopy:?}");
    };
    objcopy(&["--only-keep-debug", "shares_static", "shares_static.debug"]);
    objcopy(&["--strip-all", "shares_static"]);
    objcopy(&["--add-gnu-debuglink=shares_static.debug", "shares_static"]);
    recorded(&container);
}
