# shellcheck shell=bash disable=SC2154 # part of gc.sh
# Collection is paused until the dead are due, so that a window holds nothing else; rounds on one node, and their medians.
# Looks cost CPU time, more than collection does: rounds that look often give times, those that look seldom CPU time.
lives=${lives:-10000 1000000} often=0.05 seldom=1
looks="$often $often $often $seldom $seldom $seldom $seldom $seldom"
[ -z "$quick" ] || lives='2000 20000' looks="$often $seldom $seldom"

rows=()
for live in $lives; do
  found "live$live" "$short" --live "$live"
  round=0
  for look in $looks; do
    round=$((round + 1))
    backlog "$look"
    delete_base=0 delete_base=$(delete_ns)
    before=$(figures)
    collect "$look"
    # shellcheck disable=SC2046 # one word a column
    set -- $(less "$before" "$(figures)")
    # The entry that resumes is not one of collection.
    entries=$(($1 - 1)) cpu=$(awk "BEGIN {printf \"%.1f\", $5 - ${idle##* } * $took / $idle_ms}")
    say "$live live, round $round, looks every $look s: $dead dead, $entries entries, $2 deletes, $3 lists, $4 others," \
      "$cpu ms of CPU, $took ms in all, $deleting ms of deletes; idle: $idle in $idle_ms ms"
    echo "$look $entries $2 $4 $cpu $deleting $took" >>"$work/rounds$live"
  done
  # column N [LOOK]: the median of a column, of all rounds or of those that looked so often.
  column() { awk -v column="$1" -v look="${2:-}" 'look == "" || $1 == look {print $column}' "$work/rounds$live" | median; }
  # The sweep of the hours in which the dead were pushed.
  before=$(figures) hours=$(metric flotilla_gc_hours_swept_total)
  until [ "$("$bin/flotillactl" gc status --json --data "$data/node" | jq '[.queues[] | select(.name == "hours") | .waiting] | add')" = 0 ]; do sleep 0.5; done
  # shellcheck disable=SC2046
  set -- $(less "$before" "$(figures)")
  hours=$(($(metric flotilla_gc_hours_swept_total) - hours))
  rows+=("$live $dead $(column 2) $(column 3) $(column 4) $(column 5 $seldom) $(column 6 $often) $(column 7 $often) $3 $hours")
  gone
done

echo "| live | dead | log entries | delete requests | other requests | CPU (ms) | blobs/s | first object to last (ms) | resume to last (ms) | sweep: lists / hours |"
echo "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
printf '%s\n' "${rows[@]}" | awk '{printf "| %d | %d | %g | %g | %g | %g | %d | %g | %g | %d / %d |\n", $1, $2, $3, $4, $5, $6, $2 * 1000 / $7, $7, $8, $9, $10}'
printf '%s\n' "${rows[@]}" | awk -v check="$check" -v quick="$quick" -v directory="$([ -z "$s3" ] && echo 1)" '
  function ratio(a, b) { return a == 0 ? (b == 0 ? 1 : 99) : b / a }
  function within(name, value) { if (value < 0.95 || value > 1.05) bad = bad name " differ\n" }
  NR == 1 { split($0, first) }
  { last = $0
    if ($3 > 0.01 * $2) bad = bad sprintf("%g log entries for %d dead blobs\n", $3, $2)
    if ($4 > 0.01 * $2) bad = bad sprintf("%g delete requests for %d dead blobs\n", $4, $2)
    if (directory && $2 * 1000 / $7 < (quick ? 1000 : 2000)) bad = bad sprintf("%d blobs a second\n", $2 * 1000 / $7) }
  END {
    split(last, l)
    cpu = ratio(first[6], l[6])
    printf "\nratios: log entries %.3f, delete requests %.3f, CPU %.2f\n", ratio(first[3], l[3]), ratio(first[4], l[4]), cpu
    within("log entries", ratio(first[3], l[3]))
    within("delete requests", ratio(first[4], l[4]))
    if (cpu > (quick ? 3 : 1.6)) bad = bad "CPU differs\n"
    if (bad != "") { printf "LIMITS BROKEN:\n%s", bad; if (check) exit 1 }
  }'
