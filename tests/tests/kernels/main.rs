//! `thermograph` on kernels of other ages, each booted in an emulator: for what a kernel refuses or does otherwise. Nothing
//! is said of time: an emulated CPU loses ticks when the machine is busy.
//!
//! `make test` leaves these out, because they fetch the kernels; `make test-kernels` runs them. ARGS chooses among them by
//! their names: `linux_6_1_` is one kernel, `loads` is whether the verifier takes the programs and no more.

mod apt;
mod guest;
mod kernel;
mod stacks;

use apt::NoSuite;
use kernel::{Kernel, LINUX_5_10, LINUX_6_1, LINUX_6_12};
use tests::machine::say;
use tests::thermograph::binary;

#[test]
#[ignore = "boots a kernel: make test-kernels"]
fn linux_6_1_loads_the_programs() {
    loads_the_programs(&LINUX_6_1);
}

#[test]
#[ignore = "boots a kernel: make test-kernels"]
fn linux_6_12_loads_the_programs() {
    loads_the_programs(&LINUX_6_12);
}

#[test]
#[ignore = "boots a kernel: make test-kernels"]
fn linux_6_1_gives_exact_stacks() {
    stacks::are_exact(&LINUX_6_1);
}

#[test]
#[ignore = "boots a kernel: make test-kernels"]
fn linux_6_12_gives_exact_stacks() {
    stacks::are_exact(&LINUX_6_12);
}

/// A recording that is over at once. At -vv the verifier's own log is in the message of a failure.
fn loading() -> String {
    format!("'{}' record -vv -o - -- true", binary().display())
}

/// The verifier takes every program, and each is attached.
fn loads_the_programs(kernel: &Kernel) {
    guest::run(kernel, "loads_the_programs", &[binary()], &loading())
        .unwrap()
        .succeeded();
}

/// On a kernel that lacks something one sentence says what, and nothing else is said: neither the verifier nor libbpf has
/// been asked.
#[test]
#[ignore = "boots a kernel: make test-kernels"]
fn linux_5_10_is_refused() {
    let finished = match guest::run(&LINUX_5_10, "is_refused", &[binary()], &loading()) {
        // Debian 11 is old enough to leave the mirrors one day.
        Err(NoSuite(why)) => {
            return say(&format!(
                "SKIPPED: linux_5_10_is_refused (1 skipped): {why}"
            ));
        }
        finished => finished.unwrap(),
    };
    assert_eq!(finished.status, 1, "{}", finished.stderr);
    let words = finished.stderr.trim_end();
    let names_it =
        words.starts_with("thermograph: this kernel (5.10.") && words.contains(") lacks ");
    assert!(names_it && !words.contains('\n'), "{words}");
}
