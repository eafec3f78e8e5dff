//! Hands [`flotilla_fuzz::manifest`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::manifest::check(data));
