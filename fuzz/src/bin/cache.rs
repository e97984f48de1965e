//! Tables on disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::CACHE.check)(input));
