//! Compiles the kernel programs and generates the skeleton.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::path::Path;

const SOURCES: &str = "src/c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    let out = env::var_os("OUT_DIR")
        .unwrap_or_else(|| panic!("OUT_DIR is not set: run this through cargo"));
    if let Err(error) = SkeletonBuilder::new()
        .source(format!("{SOURCES}/thermograph.bpf.c"))
        .clang_args(["-Wall", "-Werror"])
        .build_and_generate(Path::new(&out).join("thermograph.skel.rs"))
    {
        panic!(
            "the kernel programs do not compile (`make build` installs the clang they need): {error:#}"
        );
    }
}
