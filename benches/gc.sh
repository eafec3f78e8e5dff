#!/usr/bin/env bash
# What collection costs: DEAD blobs that nothing names go beside 10,000 and beside 1,000,000 that live.
#
#   benches/gc.sh [--quick] [--check] [--s3] [--dead N] [--live "N N"] [--beside-theirs]
#
# Prints a markdown table: log entries, requests to the store, CPU time, and the ratio of the last row to the first. Every
# figure is what a window of the same length cost with the collection in it, less what it cost without (ticks, checkpoints).
# --quick  2,000 and 20,000 live blobs.   --s3  on a Garage of its own (GARAGE names it), else on a directory.
# --check  fails if log entries or delete requests differ by more than 5 %, CPU by more than 1.6x, or either is above 0.01
#          for each dead blob; on a directory also below 2,000 blobs a second.
# --beside-theirs  then a second table: the same data under Debian's docker-registry and its `garbage-collect`.
# Environment: BIN (target/release), the folder of flotilla, flotillactl, loadgen and seed; TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/.."

dead=2000 lives='10000 1000000' check='' s3='' theirs=''
while [ $# -gt 0 ]; do
  case $1 in
    --quick) lives='2000 20000' ;;
    --check) check=1 ;;
    --s3) s3=1 ;;
    --dead) dead=$2; shift ;;
    --live) lives=$2; shift ;;
    --beside-theirs) theirs=1 ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
[ -n "${BIN:-}" ] || cargo build --release --locked --workspace >&2
for tool in jq curl; do
  command -v $tool >/dev/null || { echo "gc.sh: $tool is not installed; nothing measured" >&2; exit 3; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-gc.XXXXXX")
pid=''
stop() {
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=''
}
cleanup() {
  stop
  [ -z "$s3" ] || sh tests/lib/garage.sh stop "$work/garage"
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
[ -z "$s3" ] || eval "$(sh tests/lib/garage.sh start "$work/garage")"

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# Seconds: long enough to push the dead before the first of them is due.
grace=60 window=100

# configure NAME: writes NAME.yml; sets url, ops and data.
configure() {
  local port cluster
  port=$(free_port) cluster=$(free_port)
  url=http://127.0.0.1:$port
  ops=127.0.0.1:$(free_port)
  data=$work/$1
  mkdir -p "$data"
  {
    cat <<YAML
version: 0.1
log: {level: info, formatter: json}
http: {addr: "127.0.0.1:$port", debug: {addr: "$ops"}}
cluster: {name: bench, datadir: $data/node, addr: "127.0.0.1:$cluster", advertise: "127.0.0.1:$cluster", peers: ["127.0.0.1:$cluster"], bootstrapexpect: 1}
gc: {unsafedelays: true, grace: ${grace}s, promise: 20s, deletedelay: 5s, sweepdelay: 30s, rate: 100000, breaker: off}
YAML
    if [ -n "$s3" ]; then
      cat <<YAML
storage:
  s3: {bucket: $FLOTILLA_TEST_S3_BUCKET, region: garage, regionendpoint: "$FLOTILLA_TEST_S3_ENDPOINT", accesskey: $AWS_ACCESS_KEY_ID, secretkey: $AWS_SECRET_ACCESS_KEY, rootdirectory: /$1}
  delete: {enabled: true}
YAML
    else
      printf 'storage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\n' "$data/store"
    fi
  } >"$work/$1.yml"
}

# seed NAME LIVE: on S3 the live blobs have no objects, which the scrub will notice after two minutes, at its own slow rate.
seed() {
  local objects=()
  [ -n "$s3" ] || objects=(--objects "$data/store")
  "$bin/seed" metadata --config "$work/$1.yml" --live "$2" "${objects[@]}" >&2
}

start() {
  "$bin/flotilla" serve "$work/$1.yml" >>"$work/$1.log" 2>&1 &
  pid=$!
  local tries=0
  until curl -fs "http://$ops/readyz" >/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 1200 ] || ! kill -0 "$pid" 2>/dev/null; then tail -n 20 "$work/$1.log" >&2; exit 1; fi
    sleep 0.1
  done
}

# figures: ENTRIES DELETES LISTS OTHERS CPU-TICKS so far.
figures() {
  local page
  page=$(curl -fs "http://$ops/metrics")
  sum() { awk -v re="$1" '$1 ~ re {sum += $NF} END {printf "%d", sum}' <<<"$page"; }
  local count='^flotilla_blobstore_operation_seconds_count\{operation="'
  echo "$(sum '^flotilla_raft_applied_index')" "$(sum "${count}delete")" "$(sum "${count}list")" \
    "$(sum "${count}(put|part|create|complete|abort|read|length)")" \
    "$(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')"
}

# less A B: B - A, field by field.
less() { paste <(tr ' ' '\n' <<<"$1") <(tr ' ' '\n' <<<"$2") | awk '{printf "%s%d", sep, $2 - $1; sep = " "}'; }

# count FIELD: entries in the queues that dead blobs go through; uploads and their hours end in their own time.
count() {
  "$bin/flotillactl" gc status --json --data "$data/node" |
    jq --arg field "$1" '[.queues[] | select(.name | IN("sessions", "hours") | not) | .[$field]] | add'
}
waiting() { count waiting; }

table=()
# once LIVE: one row.
once() {
  local live=$1 name=live$1 before after began took idle busy
  configure "$name"
  start "$name" && stop
  seed "$name" "$live"
  start "$name"
  # Warm, and with the seed's own checkpoints behind it.
  until [ "$(waiting)" = 0 ]; do sleep 1; done
  before=$(figures); sleep $window; after=$(figures)
  idle=$(less "$before" "$after")
  "$bin/loadgen" run --scenario push --url "$url" --size 4096 --concurrency 8 --count "$dead" --seconds $((grace - 10)) \
    --warmup 0 >"$work/push.json"
  local pushed
  pushed=$(jq .ops "$work/push.json")
  [ "$pushed" -ge "$dead" ] || { echo "gc.sh: only $pushed blobs were pushed within the grace" >&2; exit 1; }
  before=$(figures) began=$(date +%s%N)
  until [ "$(curl -fs "http://$ops/metrics" | awk '/^flotilla_blobstore_operation_seconds_count\{operation="delete"/ {print 1; exit}')" ]; do
    sleep 0.2
    [ $(($(date +%s%N) - began)) -lt ${window}000000000 ] || { echo "gc.sh: nothing was deleted" >&2; exit 1; }
  done
  took=$(date +%s%N)
  until [ "$(waiting)" = 0 ]; do
    sleep 0.05
    [ $(($(date +%s%N) - began)) -lt ${window}000000000 ] || { echo "gc.sh: not collected in time" >&2; exit 1; }
  done
  took=$((($(date +%s%N) - took) / 1000000))
  sleep $(((window * 1000 - ($(date +%s%N) - began) / 1000000) / 1000 + 1))
  after=$(figures)
  busy=$(less "$before" "$after")
  # shellcheck disable=SC2046 # one word a column
  set -- $(less "$idle" "$busy")
  table+=("$live $pushed $1 $2 $3 $4 $(($5 * 10)) $took")
  stop
  [ -n "$s3" ] || rm -rf "$data"
}

for live in $lives; do once "$live"; done

echo "| live | dead | log entries | deletes | lists | other requests | CPU ms | deleting took ms |"
echo "|---:|---:|---:|---:|---:|---:|---:|---:|"
for row in "${table[@]}"; do echo "| ${row// / | } |"; done
printf '%s\n' "${table[@]}" | awk -v check="$check" -v directory="$([ -z "$s3" ] && echo 1)" '
  function off(a, b) { return a == 0 ? (b == 0 ? 1 : 99) : b / a }
  NR == 1 { split($0, first) }
  { last = $0 }
  { if ($3 > 0.01 * $2 + 2) bad = bad sprintf("%d log entries for %d dead blobs\n", $3, $2)
    if (!directory && $4 > 0.01 * $2) bad = bad sprintf("%d delete requests for %d dead blobs\n", $4, $2)
    if (directory && $8 > 0 && $2 * 1000 / $8 < 2000) bad = bad sprintf("%d blobs a second\n", $2 * 1000 / $8) }
  END {
    split(last, l)
    printf "\nratios: log entries %.3f, deletes %.3f, CPU %.2f\n", off(first[3], l[3]), off(first[4], l[4]), off(first[7], l[7])
    if (off(first[3], l[3]) > 1.05 || off(first[3], l[3]) < 0.95) bad = bad "log entries differ\n"
    if (off(first[4], l[4]) > 1.05 || off(first[4], l[4]) < 0.95) bad = bad "delete requests differ\n"
    if (off(first[7], l[7]) > 1.6) bad = bad "CPU differs\n"
    if (bad != "") { printf "LIMITS BROKEN:\n%s", bad; if (check) exit 1 }
  }'

[ -n "$theirs" ] || exit 0
for tool in docker-registry /usr/bin/time; do
  command -v $tool >/dev/null || { echo "gc.sh: $tool is not installed; no second table" >&2; exit 3; }
done

# The same blobs as files; the collection of docker-registry needs that nobody writes, so it runs read-only meanwhile, as its
# manual says. Requests: pushes at a fixed rate during the collection.
rate=20
echo
echo "| registry | live | dead | seconds | peak MiB | pushes meanwhile | refused |"
echo "|---|---:|---:|---:|---:|---:|---:|"
for live in $lives; do
  root=$work/theirs
  "$bin/seed" layout --root "$root" --live "$live" --dead "$dead" >&2
  port=$(free_port)
  cat >"$work/theirs.yml" <<YAML
version: 0.1
http: {addr: "127.0.0.1:$port"}
storage:
  filesystem: {rootdirectory: $root}
  maintenance: {readonly: {enabled: true}}
  delete: {enabled: true}
YAML
  docker-registry serve "$work/theirs.yml" >"$work/theirs.log" 2>&1 &
  pid=$!
  until curl -fs "http://127.0.0.1:$port/v2/" >/dev/null; do sleep 0.1; done
  /usr/bin/time -f '%e %M' -o "$work/time" docker-registry garbage-collect "$work/theirs.yml" >"$work/collect.log" 2>&1 &
  collect=$!
  sent=0 refused=0
  while kill -0 $collect 2>/dev/null; do
    code=$(curl -s -o /dev/null -w '%{http_code}' -X POST "http://127.0.0.1:$port/v2/seed/new/blobs/uploads/")
    sent=$((sent + 1))
    [ "$code" = 202 ] || refused=$((refused + 1))
    sleep "$(awk "BEGIN {print 1 / $rate}")"
  done
  wait $collect
  read -r seconds kib <"$work/time"
  echo "| docker-registry | $live | $dead | $seconds | $((kib / 1024)) | $sent | $refused |"
  stop
  rm -rf "$root"
done
for live in $lives; do
  name=ours$live
  configure "$name"
  start "$name" && stop
  seed "$name" "$live"
  start "$name"
  "$bin/loadgen" run --scenario push --url "$url" --size 4096 --concurrency 8 --count "$dead" --seconds $((grace - 10)) \
    --warmup 0 >"$work/push.json"
  sent=0 refused=0 began=''
  # From the first blob that is due to the last object that is gone.
  while :; do
    left=$(count waiting) due=$(count due)
    [ -n "$began" ] || [ "$due" = 0 ] || began=$(date +%s%N)
    code=$(curl -s -o /dev/null -w '%{http_code}' -X POST "$url/v2/seed/new/blobs/uploads/")
    sent=$((sent + 1))
    [ "$code" = 202 ] || refused=$((refused + 1))
    [ "$left" != 0 ] || break
    sleep "$(awk "BEGIN {print 1 / $rate}")"
  done
  seconds=$(awk "BEGIN {printf \"%.2f\", ($(date +%s%N) - ${began:-0}) / 1e9}")
  echo "| ours | $live | $dead | $seconds | $(awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$pid/status") | $sent | $refused |"
  stop
  rm -rf "$data"
done
