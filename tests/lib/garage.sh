#!/bin/sh
# One Garage node on loopback, with a bucket and a key, for tests of the S3 store.
#   garage.sh start DIR   starts it with all its files under DIR; prints `export NAME=value` lines for the tests
#   garage.sh stop DIR    stops it, by its process id
# GARAGE names the binary (default: garage on PATH, else the newest under ~/.cache/flotilla).
set -eu

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)

find_garage() {
  if [ -n "${GARAGE:-}" ]; then echo "$GARAGE"; return; fi
  if command -v garage; then return; fi
  ls -d "$HOME"/.cache/flotilla/garage-*/bin/garage 2>/dev/null | sort -V | tail -n 1
}

start() {
  garage=$(find_garage)
  [ -n "$garage" ] || { echo "garage.sh: no garage binary" >&2; exit 1; }
  set -- $(python3 -c '
import socket
held = [socket.socket() for _ in range(3)]
for one in held: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))')
  s3=$1 rpc=$2 admin=$3
  cat >"$dir/garage.toml" <<TOML
metadata_dir = "$dir/meta"
data_dir = "$dir/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$rpc"
rpc_public_addr = "127.0.0.1:$rpc"
rpc_secret = "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$s3"
[admin]
api_bind_addr = "127.0.0.1:$admin"
TOML
  RUST_LOG=${RUST_LOG:-garage=warn} "$garage" -c "$dir/garage.toml" server >"$dir/garage.log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  run() { "$garage" -c "$dir/garage.toml" "$@" 2>>"$dir/cli.log"; }
  tries=0
  until node=$(run node id -q) && run status >/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "garage.sh: it does not start; see $dir/garage.log" >&2; stop; exit 1; }
    sleep 0.1
  done
  run layout assign -z one -c 100G "${node%%@*}" >/dev/null
  run layout apply --version 1 >/dev/null
  key=$(run key create tests)
  run bucket create tests >/dev/null
  run bucket allow --read --write --owner tests --key tests >/dev/null
  echo "export FLOTILLA_TEST_S3_ENDPOINT=http://127.0.0.1:$s3"
  echo "export FLOTILLA_TEST_S3_BUCKET=tests"
  echo "export AWS_REGION=garage"
  echo "export AWS_ACCESS_KEY_ID=$(echo "$key" | awk '/^Key ID/ {print $NF}')"
  echo "export AWS_SECRET_ACCESS_KEY=$(echo "$key" | awk '/^Secret key/ {print $NF}')"
}

stop() {
  [ -f "$dir/pid" ] || return 0
  pid=$(cat "$dir/pid")
  kill "$pid" 2>/dev/null || true
  tries=0
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || kill -9 "$pid" 2>/dev/null || true
    sleep 0.1
  done
  rm -f "$dir/pid"
}

case $action in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
