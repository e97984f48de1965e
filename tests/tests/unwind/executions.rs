//! Programs that take each other's place, in a process or in a file, and files that nobody finds by their path.

use crate::verdict::{Judged, none, own_of};
use crate::{quoted, record};
use fixtures::Container;
use fixtures::unwind::{Case, SHIM, TWINS, file};
use tests::machine::{Machine, skipped};
use tests::stacks::Stacks;
use tests::thermograph::Run;

/// Two programs with other functions at the same addresses become each other 400 times, every three milliseconds of CPU
/// time: no stack is read with what is known of the other one, and most are whole although each is new.
#[test]
fn a_stale_program_is_never_believed() {
    if skipped("a_stale_program_is_never_believed") {
        return;
    }
    let _machine = Machine::alone();
    let script = format!(
        "WARM {first} {second}; {first} 0.003 200 {second} & {second} 0.003 200 {first} & wait",
        first = quoted("first"),
        second = quoted("second")
    );
    let stacks = record(997, &script);
    for (twin, other) in [(&TWINS[0], &TWINS[1]), (&TWINS[1], &TWINS[0])] {
        let of_twin = in_program(&stacks, twin);
        let stale = of_twin.only(|stack| own_of(other, stack));
        assert_eq!(stale.samples(), 0, "{}", stale.listing());
        let judged = Judged::of(twin, of_twin);
        // 200 times 3 ms each.
        none(&judged.faults(400.0, 0.5));
    }
}

/// The stacks that have a function of the program in them. A process has the name of the last program that it was, and where a
/// program has but milliseconds, its start is a good part of them.
fn in_program(stacks: &Stacks, case: &Case) -> Stacks {
    stacks.only(|stack| own_of(case, stack))
}

/// A program that another becomes, by its path, from memory, and from a file that is deleted; one whose file is replaced by
/// another while it runs, and the one that it is replaced by.
#[test]
fn programs_are_known_however_they_come() {
    if skipped("programs_are_known_however_they_come") {
        return;
    }
    let _machine = Machine::alone();
    let (shim, calls, edges) = (quoted("shim"), quoted("calls"), quoted("edges"));
    let script = format!(
        "WARM {shim} {calls} {edges}; \
         for how in path memory deleted; do {shim} $how 1 {calls} by_$how & done; \
         cp {calls} replaced; ./replaced 1.5 & sleep 0.3; cp {edges} other; mv other replaced; \
         ln -s replaced replacing; ./replacing 1.5 & wait; rm replaced replacing"
    );
    let stacks = record(997, &script);
    let calls = Case::named("calls").unwrap();
    let came = ["by_path", "by_memory", "by_deleted", "replaced"].map(|name| (calls, name));
    for (case, name) in came
        .into_iter()
        .chain([(Case::named("edges").unwrap(), "replacing")])
    {
        let of_program = stacks.only(|stack| stack.comm() == name);
        none(&Judged::of(case, of_program).faults(800.0, 0.99));
    }
    none(&Judged::of(&SHIM, in_program(&stacks, &SHIM)).faults(3.0, 0.5));
}

/// Two containers have other programs under the same path, with other functions at the same addresses.
#[test]
fn containers_have_programs_of_their_own() {
    if skipped("containers_have_programs_of_their_own") {
        return;
    }
    let _machine = Machine::alone();
    let containers =
        TWINS.map(|twin| Container::holding_files([(file(twin.name), "service")]).unwrap());
    let started: Vec<_> = containers
        .iter()
        .map(|container| container.start_file("service", ["1000"]).unwrap())
        .collect();
    let finished = Run::new(["record", "-d", "4s", "-F", "997"])
        .finish()
        .succeeded();
    let stacks = finished.stacks();
    for (twin, (_running, pid)) in TWINS.iter().zip(&started) {
        none(&Judged::of(twin, stacks.of_process(*pid)).faults(1000.0, 0.99));
    }
}
