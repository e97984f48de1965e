//! Compiles the kernel programs that the walk is measured against and generates their skeleton.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::path::Path;

const SOURCE: &str = "src/c/baseline.bpf.c";
/// Where the agent's programs have the kernel's types from.
const TYPES: &str = "-I../bpf/src/c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = env::var_os("OUT_DIR")
        .unwrap_or_else(|| panic!("OUT_DIR is not set: run this through cargo"));
    if let Err(error) = SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args([TYPES, "-Wall", "-Werror"])
        .build_and_generate(Path::new(&out).join("baseline.skel.rs"))
    {
        panic!("{SOURCE} does not compile (`make bench` installs the clang it needs): {error:#}");
    }
}
