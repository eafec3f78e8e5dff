#!/usr/bin/env bash
# Builds the fuzz targets and runs them, two at a time: tests/fuzz/run.sh [SECONDS | --runs N] [TARGET...]
#
# Without arguments: every target for 20 seconds. A target starts from `corpus/TARGET` (never written) and from what
# earlier runs found, which is kept in `target/fuzz/found`. Fails on a finding: a panic, a hang or too much memory. The
# input of a finding is kept in `target/fuzz/findings`; the last line says how to run it again. See docs/fuzzing.md.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

limit=-max_total_time=20
case "${1:-}" in
--runs) limit=-runs=${2:?a number of runs}; shift 2 ;;
[0-9]*) limit=-max_total_time=$1; shift ;;
esac
targets=("$@")
[ $# -gt 0 ] || targets=(manifest config endpoint range query grammar content_range)
for target in "${targets[@]}"; do
    [ -f "src/bin/$target.rs" ] || { echo "no target $target" >&2; exit 2; }
done

export CARGO_TARGET_DIR=${FLOTILLA_FUZZ_DIR:-$(cd ../.. && pwd)/target/fuzz}
# The parsers must meet the libraries that the product has: a package of both lock files has one version.
packages() { awk -F'"' '/^name = /{name=$2} /^version = /{print name, $2}' "$1" | sort; }
strangers=$(comm -23 <(packages Cargo.lock) <(packages ../../Cargo.lock) | cut -d' ' -f1 |
    grep -vxE 'flotilla-fuzz|libfuzzer-sys|arbitrary|jobserver')
if [ -n "$strangers" ]; then
    echo "tests/fuzz/Cargo.lock has other versions than Cargo.lock of: $strangers" >&2
    echo "copy Cargo.lock to tests/fuzz and build" >&2
    exit 1
fi
RUSTC_WORKSPACE_WRAPPER=$PWD/rustc.sh cargo build --locked --release --quiet || exit 1

# A finding prints its own message; the stack is for the second run.
export RUST_BACKTRACE=0

# run TARGET: one target until its limit; its log ends in libFuzzer's statistics.
run() {
    local found=$CARGO_TARGET_DIR/found/$1 findings=$CARGO_TARGET_DIR/findings/$1 length=1024
    [ "$1" = manifest ] && length=16384
    mkdir -p "$found" "$findings"
    exec "$CARGO_TARGET_DIR/release/$1" "$limit" -print_final_stats=1 -verbosity=1 -timeout=30 -rss_limit_mb=1024 \
        -max_len=$length -dict="dict/$1" -artifact_prefix="$findings/" "$found" "corpus/$1"
}

logs=$CARGO_TARGET_DIR/logs
mkdir -p "$logs"
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
declare -A pids=()
failed=0

# finish TARGET STATUS: one line of result, and the reason of a failure.
finish() {
    local log=$logs/$1.log runs
    runs=$(awk '/^stat::number_of_executed_units/ {print $2}' "$log")
    if [ "$2" = 0 ] && [ -n "$runs" ]; then
        printf '%-14s %12d executions  %s\n' "$1" "$runs" "$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)"
    else
        failed=1
        printf '%-14s FAILED with status %d after %s executions\n' "$1" "$2" "${runs:-?}"
        grep -A5 -m1 -E 'panicked at|ERROR: libFuzzer' "$log" | cut -c1-1000
        grep -E 'Test unit written' "$log" | sed "s|.*written to |again: $CARGO_TARGET_DIR/release/$1 |"
    fi
}

for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n 2>/dev/null; done
    (run "$target") >"$logs/$target.log" 2>&1 </dev/null &
    pids[$target]=$!
done
for target in "${targets[@]}"; do
    wait "${pids[$target]}"
    finish "$target" $?
done
exit $failed
