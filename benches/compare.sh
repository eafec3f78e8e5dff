#!/usr/bin/env bash
# Our registry beside Debian's docker-registry, each a single node on a directory of its own, in turns.
#
#   benches/compare.sh [--quick] [--check] [--rows REGEX] [--rounds N] [--out FILE]
#
# Prints a markdown table of medians, ratios (ours to theirs) and every round; JSON lines go to --out.
# --check  fails if a limit is broken (benches/src/report.rs).    --quick  one short round, for CI.
# Environment: BIN, a folder of built binaries (without it they are built as they are released);
# OURS and THEIRS, commands that take the path of a configuration file; TMPDIR, where the directories go;
# ACCESSLOG=off switches both access logs off (default: on, as an operator gets it).
# Both get the same configuration file. Only one of the two runs at a time, on an empty directory in each round.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5 seconds=4 warmup=0.5 pushes=24 check='' rows='.' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --quick) rounds=1 seconds=1.5 warmup=0.3 pushes=8 ;;
    --check) check=--check ;;
    --rows) rows=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --out) out=$2; shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

target=${BIN:-${CARGO_TARGET_DIR:-target}/release}
[ -n "${BIN:-}" ] || cargo build --release --locked --workspace >&2
ours=${OURS:-$target/flotilla serve}
theirs=${THEIRS:-docker-registry serve}
if ! command -v "${theirs%% *}" >/dev/null; then
  echo "compare.sh: ${theirs%% *} is not installed (Debian: apt-get install docker-registry); nothing compared" >&2
  exit 3
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-compare.XXXXXX")
out=${out:-$work/results.jsonl}
: >"$out"
pid=''
stop() {
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  # A server that does not stop within 20 s is not waited for any longer.
  for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=''
}
cleanup() { stop; rm -rf "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

disabled=false
[ "${ACCESSLOG:-on}" = on ] || disabled=true

# start SIDE COMMAND: sets pid and url.
start() {
  local port
  port=$(free_port)
  url=http://127.0.0.1:$port
  mkdir -p "$work/data"
  cat >"$work/$1.yml" <<YAML
version: 0.1
log:
  level: info
  formatter: text
  accesslog:
    disabled: $disabled
http:
  addr: 127.0.0.1:$port
storage:
  filesystem:
    rootdirectory: $work/data
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
YAML
  # shellcheck disable=SC2086 # the command may carry arguments
  $2 "$work/$1.yml" >"$work/$1.log" 2>&1 &
  pid=$!
}

# once ROW ROUND SIDE COMMAND LOADGEN-ARGUMENTS...
once() {
  local row=$1 round=$2 side=$3 command=$4
  shift 4
  start "$side" "$command"
  if ! "$target/loadgen" run --url "$url" --wait 20 --pid "$pid" --warmup "$warmup" --seconds "$seconds" \
    --label "row=$row" --label "round=$round" --label "side=$side" "$@" >>"$out"; then
    echo "compare.sh: '$row' failed on $side; its last words:" >&2
    tail -n 20 "$work/$side.log" >&2
    exit 1
  fi
  stop
  # Deleting before the disk has it all, then waiting for the rest, keeps one run's writes out of the next.
  rm -rf "$work/data" "$work/$side.log"
  sync -f "$work"
}

# row NAME LOADGEN-ARGUMENTS...: all rounds, the order of the sides swapped each time.
row() {
  local name=$1 round
  shift
  [[ $name =~ $rows ]] || return 0
  for round in $(seq "$rounds"); do
    echo "compare.sh: $name, round $round of $rounds" >&2
    if [ $((round % 2)) = 1 ]; then
      once "$name" "$round" ours "$ours" "$@"
      once "$name" "$round" theirs "$theirs" "$@"
    else
      once "$name" "$round" theirs "$theirs" "$@"
      once "$name" "$round" ours "$ours" "$@"
    fi
  done
}

KiB=1024 MiB=$((1024 * 1024))
row 'manifest GET by tag' --scenario manifest-tag --concurrency 8
row 'manifest GET by digest' --scenario manifest-digest --concurrency 8
row 'blob GET 4 KiB' --scenario blob-get --size $((4 * KiB)) --concurrency 8
row 'blob GET 64 MiB' --scenario blob-get --size $((64 * MiB)) --objects 2 --concurrency 2
row 'push 4 KiB' --scenario push --size $((4 * KiB)) --concurrency 4
row 'push 1 MiB' --scenario push --size $MiB --concurrency 4 --count $((pushes * 40))
seconds=60 row 'push 64 MiB' --scenario push --size $((64 * MiB)) --concurrency 2 --count "$pushes"
row 'image push and pull' --scenario image --layers 10 --size $MiB --concurrency 2 --count $((pushes * 4))

"$target/loadgen" report $check "$out"
