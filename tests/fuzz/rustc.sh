#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of the fuzz targets: cargo calls it for the crates of this workspace only, so dependencies are
# compiled as ever. The library (targets and parsers) gets what libFuzzer reads: a counter for every edge and a call for
# every comparison, and the checks of a debug build.
set -eu
case " $* " in
*" --crate-name flotilla_fuzz "*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on
    ;;
esac
exec "$@"
