//! Compiles the kernel programs that the walk is measured by, and generates their skeletons.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::path::Path;

const SOURCES: &str = "src/c";
const PROGRAMS: [&str; 2] = ["alone", "baseline"];
/// The agent's own programs: the walk is theirs.
const WALK: &str = "../bpf/src/c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed={WALK}");
    let out = env::var_os("OUT_DIR")
        .unwrap_or_else(|| panic!("OUT_DIR is not set: run this through cargo"));
    for program in PROGRAMS {
        let source = format!("{SOURCES}/{program}.bpf.c");
        if let Err(error) = SkeletonBuilder::new()
            .source(&source)
            .clang_args([&format!("-I{WALK}"), "-Wall", "-Werror"])
            .build_and_generate(Path::new(&out).join(format!("{program}.skel.rs")))
        {
            panic!(
                "{source} does not compile (`make bench` installs the clang it needs): {error:#}"
            );
        }
    }
}
