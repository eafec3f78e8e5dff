//! Hands [`flotilla_fuzz::config`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flotilla_fuzz::config_target::check(data));
