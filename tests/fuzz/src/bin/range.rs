//! Hands [`flotilla_fuzz::range`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::range::check(data));
