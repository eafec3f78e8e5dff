#!/usr/bin/env bash
# What collection costs.
#
#   benches/gc.sh [cost|load|theirs] [--quick] [--check] [--s3] [--dead N] [--live "N N ..."] [--pairs N]
#
# cost    DEAD blobs (2,000) that nothing names go beside 10,000 and beside 1,000,000 live ones: log entries, requests to the
#         store, CPU time, blobs a second. About nine minutes.
# load    the same load with collection at its default rate and without, in turns: latency, in five pairs. Four minutes.
# theirs  the same data under Debian's docker-registry and its `garbage-collect`, beside ours. Four minutes.
#
# --check  fails if a limit is broken. cost: entries and delete requests of the last row within 5 % of the first, CPU at most
#          1.6x, at most 0.01 entries and 0.01 delete requests for each dead blob, 2,000 blobs a second on a directory.
#          load: p50 at most 1.1x, p99 at most 1.5x, by medians.
# --quick  cost: 2,000 and 20,000 live, fewer rounds; load: three short pairs. For CI: limits on times have room for a busy machine.
# --s3     on a Garage of its own (GARAGE names it), else on a directory. Not for load.
# Environment: BIN (target/release), the folder of flotilla and flotillactl; TOOLS (BIN), that of seed and loadgen; TMPDIR.
#
# Live blobs are written by `seed`, through the state machine. Of their objects only the first 10,000, in the order of keys,
# are in the store: none but the scrub reads objects of live blobs, and here it waits longer than a run takes; a run in which
# it missed one fails. Dead blobs of cost and theirs are pushed.
set -euo pipefail
cd "$(dirname "$0")/.."

what=cost quick='' check='' s3='' dead=2000 lives='' pairs=5
while [ $# -gt 0 ]; do
  case $1 in
    cost | load | theirs) what=$1 ;;
    --quick) quick=1 pairs=3 ;;
    --check) check=1 ;;
    --s3) s3=1 ;;
    --dead) dead=$2; shift ;;
    --live) lives=$2; shift ;;
    --pairs) pairs=$2; shift ;;
    *) sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

[ -n "${BIN:-}" ] || cargo build --release --locked --workspace >&2
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
tools=${TOOLS:-$bin}
for tool in jq curl python3; do
  command -v $tool >/dev/null || { echo "gc.sh: $tool is not installed; nothing measured" >&2; exit 3; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-gc.XXXXXX")
pid='' pusher=''
stop() {
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=''
}
cleanup() {
  [ -z "$pusher" ] || kill "$pusher" 2>/dev/null || true
  stop
  [ -z "$s3" ] || sh tests/lib/garage.sh stop "$work/garage"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
[ -z "$s3" ] || eval "$(sh tests/lib/garage.sh start "$work/garage")"

fail() { echo "gc.sh: $*" >&2; exit 1; }
say() { echo "gc.sh: $*" >&2; }
now() { date +%s%N; }

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# found NAME GC-SECTION SEED-ARGUMENTS...: a node on a data directory of its own, seeded; sets url, ops, data and pid.
found() {
  local name=$1 gc=$2 port cluster
  shift 2
  port=$(free_port) cluster=$(free_port)
  url=http://127.0.0.1:$port
  ops=127.0.0.1:$(free_port)
  data=$work/$name
  mkdir -p "$data"
  {
    cat <<YAML
version: 0.1
log: {level: info, formatter: json}
http: {addr: "127.0.0.1:$port", debug: {addr: "$ops"}}
cluster: {name: bench, datadir: $data/node, addr: "127.0.0.1:$cluster", advertise: "127.0.0.1:$cluster", peers: ["127.0.0.1:$cluster"], bootstrapexpect: 1}
gc: {scrub: 1, recount: off, $gc}
YAML
    if [ -n "$s3" ]; then
      cat <<YAML
storage:
  s3: {bucket: $FLOTILLA_TEST_S3_BUCKET, region: garage, regionendpoint: "$FLOTILLA_TEST_S3_ENDPOINT", accesskey: $AWS_ACCESS_KEY_ID, secretkey: $AWS_SECRET_ACCESS_KEY, rootdirectory: /$name}
  delete: {enabled: true}
YAML
    else
      printf 'storage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\n' "$data/store"
    fi
  } >"$work/node.yml"
  start
  stop
  "$tools/seed" metadata --config "$work/node.yml" "$@" >&2
  start
}

start() {
  "$bin/flotilla" serve "$work/node.yml" >>"$work/node.log" 2>&1 &
  pid=$!
  local tries=0
  until curl -fs "http://$ops/readyz" >/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 1200 ] || ! kill -0 "$pid" 2>/dev/null; then tail -n 20 "$work/node.log" >&2; exit 1; fi
    sleep 0.1
  done
}

# gone: the node ends and its data goes, if the run was sound.
gone() {
  [ "$(metric flotilla_gc_objects_missing_total)" = 0 ] || fail 'the scrub came to objects that were not seeded'
  stop
  rm -rf "$data" "$work/node.log"
}

flotillactl() { "$bin/flotillactl" "$@" --data "$data/node" >/dev/null; }
due() { "$bin/flotillactl" gc status --json --data "$data/node" | jq '.queues[] | select(.name == "links") | .due'; }

# metric REGEX: the sum of the series that it matches; "deleted" and "deleting" are used most.
metric() { curl -fs "http://$ops/metrics" | awk -v re="^$1" '$1 ~ re {sum += $NF} END {printf "%.0f", sum}'; }
deleted() { metric flotilla_gc_objects_deleted_total; }

# figures: ENTRIES DELETES LISTS OTHERS CPU-MS so far. Entries are those that were proposed: no ticks of the clock.
figures() {
  curl -fs "http://$ops/metrics" | awk -v cpu="$(cpu_ms)" '
    /^flotilla_raft_batch_operations_count/ {entries += $NF}
    /^flotilla_gc_hours_swept_total/ {entries -= $NF}
    /^flotilla_blobstore_(operation_seconds_count|retries_total)/ {
      if (/operation="delete"/) deletes += $NF; else if (/operation="list"/) lists += $NF; else others += $NF }
    END {printf "%d %d %d %d %.1f\n", entries, deletes, lists, others, cpu}'
}
# The clock of the process, to a nanosecond: /proc counts in ticks of 10 ms.
cpu_ms() { python3 -c 'import sys, time; print(time.clock_gettime((~int(sys.argv[1]) << 3) | 2) * 1000)' "$pid"; }

# less A B: B - A, field by field.
less() { paste <(tr ' ' '\n' <<<"$1") <(tr ' ' '\n' <<<"$2") | awk '{printf "%s%.7g", sep, $2 - $1; sep = " "}'; }
median() { sort -n | awk '{row[NR] = $1} END {print (row[int((NR + 1) / 2)] + row[int(NR / 2) + 1]) / 2}'; }

# Delays that let a bench wait: the tick of the clock is half a second.
short='unsafedelays: true, grace: 12s, promise: 10s, deletedelay: 100ms, sweepdelay: 30s, rate: 100000, breaker: off'

# backlog LOOK: pauses, pushes DEAD blobs that nothing names and waits until all of them are due; IDLE is what idle_ms of
# looking at the paused node every LOOK seconds cost meanwhile.
backlog() {
  local before began
  flotillactl gc pause 'a bench'
  # Each loop pushes one to warm up.
  "$tools/loadgen" run --scenario push --url "$url" --size 4096 --concurrency 8 --count $((dead - 8)) --seconds 300 --warmup 0 \
    >"$work/push.json"
  before=$(figures) began=$(now)
  while [ $(($(now) - began)) -lt 15000000000 ]; do deleted >/dev/null; sleep "$1"; done
  idle_ms=$((($(now) - began) / 1000000))
  idle=$(less "$before" "$(figures)")
  until [ "$(due)" -ge "$dead" ]; do sleep 0.2; done
  [ "$(due)" = "$dead" ] || fail "$(due) blobs are due, not $dead"
}

# collect LOOK: resumes, and returns when the last object is gone, looking every LOOK seconds. TOOK is the time since then,
# DELETING that since the first request to delete began, both in ms: too long by a look rather than too short.
collect() {
  local began count before=0 first='' looked at
  count=$(deleted)
  began=$(now)
  looked=$began
  flotillactl gc resume
  while :; do
    before=$looked looked=$(now)
    at=$(($(deleted) - count))
    if [ -z "$first" ] && [ "$at" -gt 0 ]; then
      first=$((before - $(delete_ns)))
    fi
    [ "$at" -lt "$dead" ] || break
    [ $((looked - began)) -lt 120000000000 ] || fail "only $at of $dead objects were deleted in two minutes"
    sleep "$1"
  done
  looked=$(now)
  took=$(((looked - began) / 1000000)) deleting=$(((looked - first) / 1000000))
}
# The time of the requests to delete since the last look.
delete_ns() {
  local sum
  sum=$(curl -fs "http://$ops/metrics" | awk '/^flotilla_blobstore_operation_seconds_sum\{operation="delete"/ {sum += $NF} END {printf "%.0f", sum * 1e9}')
  echo $((sum - delete_base))
}

source benches/gc/"$what".sh
