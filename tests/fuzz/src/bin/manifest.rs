//! Hands [`flotilla_fuzz::manifest`] to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: flotilla_fuzz::manifest::the_largest_documents_are_read_in_time(),
    |data: &[u8]| flotilla_fuzz::manifest::check(data)
);
