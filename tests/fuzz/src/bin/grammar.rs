//! Hands [`flotilla_fuzz::grammar`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::grammar::check(data));
