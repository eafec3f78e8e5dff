#!/usr/bin/env bash
# Runs the test of every row of docs/spec-coverage.md and prints a line for each: id, result.
#
# Results: ok, FAILED (also when the test did not run), or not applicable. The exit code is 1 if any row failed.
# Rows whose commands differ in the test only share one run of cargo.
# Environment: FLOTILLA_CARGO_FLAGS (such as "--locked --release", to use the build of the other stages).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
document=docs/spec-coverage.md
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# id, test and command of each row; the command without the test is what rows share.
awk -F' *[|] *' '/^[|] [a-z]+-[0-9]+ /{ gsub(/`/, ""); print $2 "\t" $7 "\t" $8 }' "$document" >"$scratch/rows"
if [ ! -s "$scratch/rows" ]; then
    echo "no rows in $document" >&2
    exit 1
fi
awk -F'\t' '$3 != "-" { print substr($3, 1, length($3) - length($2) - 1) }' "$scratch/rows" | sort -u >"$scratch/groups"

read -ra flags <<<"${FLOTILLA_CARGO_FLAGS:-}"
: >"$scratch/ran"
while IFS= read -r group; do
    mapfile -t tests < <(awk -F'\t' -v group="$group" '$3 == group " " $2 { print $2 }' "$scratch/rows" | sort -u)
    # cargo test -p PACKAGE [--test it -- --exact]
    read -ra words <<<"$group"
    target=(--lib)
    options=(--exact)
    if [ "${words[4]:-}" = --test ]; then
        target=(--test "${words[5]}")
        options+=(--test-threads=1) # each starts a cluster
    fi
    echo "$group: ${#tests[@]} tests" >&2
    cargo test -p "${words[3]}" "${flags[@]}" "${target[@]}" -- "${options[@]}" "${tests[@]}" </dev/null \
        >"$scratch/out" 2>&1 || cat "$scratch/out" >&2
    sed -n 's/^test \([^ ]*\)\( - should panic\)\? \.\.\. \(ok\|FAILED\|ignored\)$/\1\t\3/p' "$scratch/out" |
        awk -F'\t' -v group="$group" '{ print group " " $1 "\t" $2 }' >>"$scratch/ran"
done <"$scratch/groups"

awk -F'\t' '
    NR == FNR { result[$1] = $2; next }
    $3 == "-" { print $1, "not applicable"; next }
    result[$3] == "ok" { print $1, "ok"; ok++; next }
    { print $1, "FAILED"; failed++ }
    END { printf "%d ok, %d FAILED\n", ok, failed > "/dev/stderr"; exit failed > 0 }
' "$scratch/ran" "$scratch/rows"
