//! Perf maps and jitdumps.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::JIT.check)(input));
