//! Hands [`flotilla_fuzz::endpoint`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::endpoint::check(data));
