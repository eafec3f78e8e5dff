# shellcheck shell=bash disable=SC2154 # part of gc.sh
# Time: theirs is the run of its collector, which needs that nobody writes, so it serves read-only meanwhile, as its manual says
# (the two restarts for that are not counted). Ours is the time from `gc resume`, when all is due, to the last object that is
# gone; most of it is the wait of three workers for their next pass. CPU: theirs of the collector, ours of the node.
# Peak memory: theirs of the collector and of the server, ours of the node. Pushes: one is begun every tenth of a second.
for tool in docker-registry /usr/bin/time; do
  command -v $tool >/dev/null || { echo "gc.sh: $tool is not installed; nothing measured" >&2; exit 3; }
done
lives=${lives:-10000 100000}

# push: begins pushes until killed; a line for each answer.
push() {
  while :; do
    curl -s -o /dev/null -w '%{http_code}\n' -m 10 -X POST "$url/v2/bench/new/blobs/uploads/"
    sleep 0.1
  done
}
pushing() { push >"$work/answers" & pusher=$!; }
pushes_end() {
  kill "$pusher"
  wait "$pusher" 2>/dev/null || true
  pusher=''
  answers=$(awk '{sent++; if ($1 != 202) refused++} END {printf "%d | %d", sent, refused}' "$work/answers")
}
peak_reset() { echo 5 >"/proc/$pid/clear_refs"; }
peak_mib() { awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$pid/status"; }

echo "| registry | live | dead | seconds | CPU (s) | peak memory (MiB) | pushes begun meanwhile | refused |"
echo "|---|---:|---:|---:|---:|---:|---:|---:|"
for live in $lives; do
  root=$work/theirs
  "$tools/seed" layout --root "$root" --live "$live" --dead "$dead" >&2
  port=$(free_port)
  url=http://127.0.0.1:$port
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
  until curl -fs "$url/v2/" >/dev/null; do sleep 0.1; done
  peak_reset
  pushing
  /usr/bin/time -f '%e %U %S %M' -o "$work/time" docker-registry garbage-collect "$work/theirs.yml" >"$work/collect.log" 2>&1
  pushes_end
  left=$(find "$root/docker/registry/v2/blobs" -name data | wc -l)
  [ "$left" = $((live + (live + 99) / 100)) ] || fail "docker-registry left $left blobs"
  read -r seconds user system kib <"$work/time"
  printf '| docker-registry | %d | %d | %.1f | %.1f | %d + %d | %s |\n' "$live" "$dead" "$seconds" "$(awk "BEGIN {print $user + $system}")" \
    $((kib / 1024)) "$(peak_mib)" "$answers"
  stop
  rm -rf "$root"

  found "ours$live" "$short" --live "$live"
  backlog 0.05
  peak_reset
  pushing
  delete_base=0 delete_base=$(delete_ns)
  before=$(cpu_ms)
  collect 0.05
  cpu=$(less "$before" "$(cpu_ms)")
  pushes_end
  awk -v took="$took" -v cpu="$cpu" -v live="$live" -v dead="$dead" -v peak="$(peak_mib)" -v answers="$answers" \
    'BEGIN {printf "| ours | %d | %d | %.1f | %.1f | %d | %s |\n", live, dead, took / 1000, cpu / 1000, peak, answers}'
  gone
done
