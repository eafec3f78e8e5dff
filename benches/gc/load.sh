# shellcheck shell=bash disable=SC2154 # part of gc.sh
# A backlog is seeded that lasts for all windows: what is due is collected at the default rate while collection is not paused.
[ -z "$s3" ] || fail 'load is measured on a directory'
seconds=10 rate=400
[ -z "$quick" ] || seconds=6
found load 'unsafedelays: true, deletedelay: 1s, breaker: off' --live "${lives:-10000}" --dead $((pairs * (seconds + 15) * 1000))

# window SIDE: latencies in µs, p50 and p99.
window() {
  "$tools/loadgen" run --scenario mixed --url "$url" --size 65536 --concurrency 8 --rate $rate --seconds $seconds --warmup 2 \
    --repository "bench/load" >"$work/load.json" || fail "operations failed while collection was $1"
  jq -r '"\(.latency_us.p50) \(.latency_us.p99) \(.ops_per_second)"' "$work/load.json"
}
without() {
  flotillactl gc pause 'a bench'
  # What was given to be deleted goes on to be.
  until [ "$(metric flotilla_gc_deletes_started_total)" = "$(deleted)" ]; do sleep 0.2; done
  window paused
}
with() {
  local began count
  flotillactl gc resume
  count=$(deleted)
  until [ "$(deleted)" -gt "$count" ]; do sleep 0.1; done
  count=$(deleted) began=$(now)
  window on
  [ "$(due)" -gt 0 ] || fail 'the backlog was too small'
  freed=$((($(deleted) - count) * 1000 / (($(now) - began) / 1000000)))
  [ "$freed" -gt 100 ] || fail "only $freed blobs a second were deleted meanwhile"
}

echo "| pair | p50 without (µs) | p50 with | p99 without (µs) | p99 with | blobs deleted a second |"
echo "|---:|---:|---:|---:|---:|---:|"
for pair in $(seq "$pairs"); do
  if [ $((pair % 2)) = 1 ]; then without >"$work/without"; with >"$work/with"; else with >"$work/with"; without >"$work/without"; fi
  read -r p50 p99 _ <"$work/without"
  read -r p50_with p99_with _ <"$work/with"
  printf '| %d | %.0f | %.0f | %.0f | %.0f | %d |\n' "$pair" "$p50" "$p50_with" "$p99" "$p99_with" "$freed"
  echo "$p50 $p50_with $p99 $p99_with" >>"$work/pairs"
done
column() { cut -d' ' -f"$1" "$work/pairs" | median; }
echo "$(column 1) $(column 2) $(column 3) $(column 4)" | awk -v check="$check" '{
  printf "\nmedians: p50 %.0f : %.0f, %.2fx; p99 %.0f : %.0f, %.2fx\n", $1, $2, $2 / $1, $3, $4, $4 / $3
  if ($2 / $1 > 1.1 || $4 / $3 > 1.5) { print "LIMITS BROKEN: p50 1.1x, p99 1.5x"; if (check) exit 1 } }'
gone
