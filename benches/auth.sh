#!/usr/bin/env bash
# What authentication costs: pulls of a small manifest by tag at a fixed rate, from nodes that differ in `auth` alone.
#
#   benches/auth.sh [--check] [--rate N] [--rounds N] [--seconds N]
#
# Sides: open (no authentication), htpasswd (Basic, bcrypt of cost 10), tokens (a token of the node's own service). Prints the
# CPU time of the server for each pull, every round and the medians, and their ratios to `open`.
# --check  fails if htpasswd costs twice as much as open, or more.
set -euo pipefail
cd "$(dirname "$0")/.."

rate=1000 rounds=5 seconds=5 check=''
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=1 ;;
    --rate) rate=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

target=${CARGO_TARGET_DIR:-target}/release
cargo build --release --locked --workspace >&2
for tool in htpasswd jq curl; do
  command -v "$tool" >/dev/null || { echo "auth.sh: $tool is not installed; nothing measured" >&2; exit 3; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-auth.XXXXXX")
pid=''
stop() {
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=''
}
cleanup() { stop; rm -rf "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

htpasswd -Bbn -C 10 ann secret >"$work/htpasswd"
basic="Basic $(printf 'ann:secret' | base64)"
users="auth: {htpasswd: {realm: r, path: $work/htpasswd}}"

# once SIDE ROUND: prints SIDE ROUND MICROSECONDS PULLS-A-SECOND.
once() {
  local side=$1 port url authorization='' answer
  local -a environment=()
  port=$((20000 + RANDOM % 12000))
  url=http://127.0.0.1:$port
  rm -rf "$work/data"
  {
    printf 'version: 0.1\nhttp: {addr: "127.0.0.1:%s"}\nstorage: {filesystem: {rootdirectory: %s}}\n' "$port" "$work/data"
    case $side in
      htpasswd) echo "$users" ;;
      tokens) printf '%s\naccess: {tokens: {enabled: true, expiration: 1h}}\n' "$users" ;;
    esac
  } >"$work/$side.yml"
  "$target/flotilla" serve "$work/$side.yml" >"$work/$side.log" 2>&1 &
  pid=$!
  case $side in
    htpasswd) authorization=$basic ;;
    tokens)
      answer=$(curl -fsS --retry 50 --retry-all-errors --retry-delay 0 --retry-max-time 20 -H "Authorization: $basic" \
        "$url/auth/token?service=flotilla&scope=repository:bench/load:pull,push")
      authorization="Bearer $(jq -er .token <<<"$answer")"
      ;;
  esac
  [ -z "$authorization" ] || environment=("LOADGEN_AUTHORIZATION=$authorization")
  answer=$(env "${environment[@]}" "$target/loadgen" run --url "$url" --wait 20 --pid "$pid" \
    --scenario manifest-tag --concurrency 8 --rate "$rate" --seconds "$seconds" --warmup 1)
  stop
  jq -r --arg side "$side" --arg round "$2" '"\($side) \($round) \(.cpu_us_per_op) \(.ops_per_second)"' <<<"$answer"
}

for round in $(seq "$rounds"); do
  for side in open htpasswd tokens; do
    once "$side" "$round" | tee -a "$work/results" >&2
  done
done

median() { awk -v side="$1" '$1 == side {print $3}' "$work/results" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
open=$(median open)
echo "| at $rate pulls/s | CPU µs a pull | to open |"
echo "|---|---|---|"
for side in open htpasswd tokens; do
  awk -v side="$side" -v m="$(median "$side")" -v o="$open" 'BEGIN {printf "| %s | %.1f | %.2fx |\n", side, m, m / o}'
done
[ -z "$check" ] || awk -v m="$(median htpasswd)" -v o="$open" 'BEGIN {exit !(m < 2 * o)}' ||
  { echo "auth.sh: htpasswd costs twice as much as open, or more" >&2; exit 1; }
