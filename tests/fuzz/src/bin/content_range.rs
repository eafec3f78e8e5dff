//! Hands [`flotilla_fuzz::content_range`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::content_range::check(data));
