//! Hands [`flotilla_fuzz::query`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::query::check(data));
