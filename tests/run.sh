#!/usr/bin/env bash
# Runs everything that must pass: tests/run.sh [STAGE...], all stages without arguments.
#
# On a Debian machine as root it installs what it lacks: Debian packages, Garage and cargo-deny by cargo and oras by
# pip into ~/.cache/flotilla. Elsewhere it runs what it can. What was left out is listed at the end, never counted as passed.
#
# Environment: FLOTILLA_CACHE (~/.cache/flotilla), FLOTILLA_NO_INSTALL=1 (install nothing),
# FLOTILLA_LAYER_MIB (layer size of the memory tests; 256 when CI is set, else 1024), FLOTILLA_CHURN_SECONDS (length of the churn
# of collection; 300 when CI is set, else 60; 1800 before a release) and FLOTILLA_CHURN_SEED (of a run that is to be repeated).
# Job control: each stage is a process group of its own, so that all of it can be stopped.
set -muo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

GARAGE_VERSION=2.5.0
DENY_VERSION=0.20.2
ORAS_VERSION=0.2.43
PACKAGES=(docker.io containerd skopeo podman buildah umoci haproxy debootstrap docker-registry apache2-utils wrk iproute2
    iptables jq openssl curl procps libfaketime python3-minimal python3-venv)
STAGES=(install fmt clippy deny doc build unit fuzz integration compare gc)

export FLOTILLA_CACHE=${FLOTILLA_CACHE:-$HOME/.cache/flotilla}
export FLOTILLA_GARAGE=${FLOTILLA_GARAGE:-$FLOTILLA_CACHE/garage-$GARAGE_VERSION/bin/garage}
export FLOTILLA_ORAS=${FLOTILLA_ORAS:-$FLOTILLA_CACHE/oras-$ORAS_VERSION/bin/python}
export FLOTILLA_LAYER_MIB=${FLOTILLA_LAYER_MIB:-$([ -n "${CI:-}" ] && echo 256 || echo 1024)}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
cargo_deny=$FLOTILLA_CACHE/cargo-deny-$DENY_VERSION/bin/cargo-deny
mkdir -p "$FLOTILLA_CACHE"

scratch=$(mktemp -d)
export FLOTILLA_SKIP_FILE=$scratch/skips
: >"$FLOTILLA_SKIP_FILE"
table=()
failed=()
child=

on_exit() {
    if [ -n "$child" ]; then kill -TERM -- "-$child" 2>/dev/null; wait "$child" 2>/dev/null; fi
    rm -rf "$scratch"
}
trap on_exit EXIT
trap 'exit 130' INT TERM

skip() {
    echo "SKIP $1: $2"
    echo "SKIP $1: $2" >>"$FLOTILLA_SKIP_FILE"
}

# Runs a stage in the background, so that a signal reaches this shell at once; records its time and result.
stage() {
    local name=$1 start=$SECONDS result=ok
    echo
    echo "==> $name"
    "stage_$name" </dev/null &
    child=$!
    wait "$child" || { result=FAILED; failed+=("$name"); }
    child=
    table+=("$(printf '%-12s %6d s  %s' "$name" $((SECONDS - start)) "$result")")
    echo "<== $name: $result in $((SECONDS - start)) s"
}

# cargo_install CRATE VERSION: a tool built once per version into the cache.
cargo_install() {
    local root=$FLOTILLA_CACHE/$1-$2
    [ -x "$root/bin/$1" ] && return 0
    echo "building $1 $2 into $root"
    # From a folder outside the workspace, and with a build that favours compile time: these are tools, not products.
    (cd "$scratch" && CARGO_TARGET_DIR=$scratch/target CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=2 \
        cargo ${toolchain:+"+$toolchain"} install --quiet --locked --root "$root" --version "=$2" "$1")
    local status=$?
    rm -rf "$scratch/target"
    return $status
}

# pip_install PACKAGE VERSION: a Python package in an environment of its own, in the cache.
pip_install() {
    local root=$FLOTILLA_CACHE/$1-$2
    [ -e "$root/installed" ] && return 0
    echo "installing $1 $2 into $root"
    rm -rf "$root"
    python3 -m venv "$root" && "$root/bin/pip" install --quiet --disable-pip-version-check "$1==$2" && touch "$root/installed"
}

stage_install() {
    local package missing=() toolchain
    toolchain=$(command -v rustup >/dev/null && rustup show active-toolchain 2>/dev/null | cut -d' ' -f1)
    if [ "${FLOTILLA_NO_INSTALL:-}" = 1 ]; then
        echo "nothing is installed: FLOTILLA_NO_INSTALL=1"
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        for package in "${PACKAGES[@]}"; do
            dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
        done
        if [ ${#missing[@]} -gt 0 ]; then
            echo "installing ${missing[*]}"
            # Services of these packages must not start here: a policy that says no, for this installation only.
            local policy=/usr/sbin/policy-rc.d
            [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && local ours=1; }
            apt-get update -qq &&
                DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
            local status=$?
            [ -n "${ours:-}" ] && rm -f $policy
            [ $status = 0 ] || return $status
        fi
    else
        skip packages "not root on a Debian machine: tests whose programs are missing are skipped"
    fi
    cargo_install garage "$GARAGE_VERSION" || skip garage "it could not be built: tests on S3 are skipped"
    pip_install oras "$ORAS_VERSION" || skip oras "it could not be installed: its test is skipped"
    cargo_install cargo-deny "$DENY_VERSION" || skip cargo-deny "it could not be built"
}

stage_fmt() { cargo fmt --all --check && cargo fmt --manifest-path tests/fuzz/Cargo.toml --check; }

# The profile is the one of all other stages, so that dependencies are compiled (and checked) once.
stage_clippy() {
    cargo clippy --locked --release --workspace --all-targets -- -D warnings &&
        cargo clippy --locked --release --workspace --test it -- -D warnings && # `test = false` hides it above
        CARGO_TARGET_DIR=target/fuzz cargo clippy --locked --release --manifest-path tests/fuzz/Cargo.toml -- -D warnings
}

stage_deny() {
    if [ ! -x "$cargo_deny" ]; then
        skip deny "cargo-deny is not installed"
        return 0
    fi
    "$cargo_deny" --locked check bans licenses sources || return 1
    # The advisory database is a git repository; without a network there is none, and that is not our fault.
    if "$cargo_deny" fetch db >"$scratch/db" 2>&1; then
        "$cargo_deny" --locked check --disable-fetch advisories
    else
        skip deny-advisories "the advisory database cannot be fetched"
    fi
}

stage_doc() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --release --workspace --no-deps --quiet; }

stage_build() { cargo build --locked --release --workspace --all-targets; }

# Always the whole workspace: a part of it would select other features, and compile dependencies again.
# The contract suite of the S3 store runs when it is told of a store: a Garage for this stage.
stage_unit() {
    if [ -x "$FLOTILLA_GARAGE" ] && [ -f tests/lib/garage.sh ]; then
        eval "$(GARAGE=$FLOTILLA_GARAGE sh tests/lib/garage.sh start "$scratch/garage")"
        trap 'sh tests/lib/garage.sh stop "$scratch/garage"' EXIT
    else
        skip unit-s3 "Garage is not installed: the contract suite of the S3 store did not run"
    fi
    cargo test --locked --release --workspace
}

# A workspace of its own, in target/fuzz: see docs/fuzzing.md. A longer run is `tests/fuzz/run.sh --runs 10000000`.
stage_fuzz() {
    if ! command -v c++ >/dev/null; then
        skip fuzz "there is no C++ compiler to build libFuzzer with"
        return 0
    fi
    bash tests/fuzz/run.sh 20
}

# One process, one test at a time: each starts a cluster and measures it, on few cores. Not part of a bare `cargo test`.
stage_integration() { cargo test --locked --release --workspace --test it -- --test-threads=1; }

# With the binaries of the tests: those of a release differ in features, and their dependencies would be compiled again.
stage_compare() {
    if [ ! -f benches/compare.sh ]; then
        skip compare "benches/compare.sh is not there"
    elif ! command -v docker-registry >/dev/null; then
        skip compare "Debian's docker-registry is not installed"
    else
        BIN=${CARGO_TARGET_DIR:-target}/release bash benches/compare.sh --quick
    fi
}

# What collection costs beside ten times as many live blobs; the full tables are made by hand (docs/benchmarks.md).
stage_gc() {
    if ! command -v jq >/dev/null || ! command -v curl >/dev/null; then
        skip gc "jq or curl is not installed"
    else
        BIN=${CARGO_TARGET_DIR:-target}/release bash benches/gc.sh cost --quick --check
    fi
}

[ $# -gt 0 ] && STAGES=("$@")
for name in "${STAGES[@]}"; do
    declare -F "stage_$name" >/dev/null || { echo "no stage $name" >&2; exit 2; }
done
for name in "${STAGES[@]}"; do
    stage "$name"
    # Nothing runs without a build.
    if [ "$name" = build ] && [ ${#failed[@]} -gt 0 ] && [ "${failed[-1]}" = build ]; then break; fi
done

echo
echo "stage          time    result"
printf '%s\n' "${table[@]}"
echo "all          $(printf '%6d' $SECONDS) s"
if [ -s "$FLOTILLA_SKIP_FILE" ]; then
    echo
    echo "skipped:"
    sort -u "$FLOTILLA_SKIP_FILE"
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo
    echo "FAILED: ${failed[*]}"
    exit 1
fi
