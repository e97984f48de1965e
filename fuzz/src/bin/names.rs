//! Symbols and debug information.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::NAMES.check)(input));
