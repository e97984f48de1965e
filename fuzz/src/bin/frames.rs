//! Call frame information in files that are made around it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::FRAMES.check)(input));
