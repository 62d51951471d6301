#!/usr/bin/env bash
# Offers a program the load that a profile-guided build is laid out for: short and long answers,
# uploads, new connections, TLS, HTTP/2, on loopback. Usage: scripts/train.sh PROGRAM
# TRAIN_FOR: how long each kind of load is offered (default 3s). Needs openssl.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -eq 1 ] || die "usage: scripts/train.sh PROGRAM"
program="$(realpath "$1")"
seconds="${TRAIN_FOR:-3s}"
work="$(mktemp -d)"
children=()
tidy_up() {
  [ ${#children[@]} -eq 0 ] || kill "${children[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap tidy_up EXIT

read -r first short long plain secure < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(5)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
  -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
cat >"$work/evenkeel.yaml" <<YAML
version: 1
listeners:
  - bind: "127.0.0.1:$plain"
  - bind: "127.0.0.1:$secure"
    tls: { certificates: [{ cert: "$work/cert.pem", key: "$work/key.pem" }] }
routes:
  - { match: { path_prefix: /long }, pool: long }
  - { pool: short }
pools:
  - { name: short, backends: ["127.0.0.1:$first", "127.0.0.1:$short"] }
  - { name: long, backends: ["127.0.0.1:$long"] }
admin: { bind: "127.0.0.1:0" }
logging: { level: error, file: "$work/log.json" }
workers: 1
YAML

serve() {
  LLVM_PROFILE_FILE=/dev/null "$program" testserver --listen "127.0.0.1:$1" "${@:2}" >/dev/null &
  children+=("$!")
}
serve "$first" --body-size 128
serve "$short" --body-size 128
serve "$long" --body-size 65536
"$program" run -c "$work/evenkeel.yaml" >"$work/log" 2>&1 &
trained=$!
children+=("$trained")

offer() {
  LLVM_PROFILE_FILE=/dev/null "$program" bench -quiet -z "$seconds" --insecure "$@" || die "bench $*"
}
wait_for 20 curl -sfo /dev/null "http://127.0.0.1:$plain/" || die "$(cat "$work/log")"
wait_for 20 curl -sfo /dev/null "http://127.0.0.1:$plain/long" || die "$(cat "$work/log")"
head -c 16384 /dev/zero >"$work/body"
browser=(
  -H 'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Safari/537.36'
  -H 'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'
  -H 'Accept-Language: en-US,en;q=0.9,de;q=0.8' -H 'Accept-Encoding: gzip, deflate, br, zstd'
  -H 'Referer: https://www.example.com/some/page?with=query' -H 'Cookie: sid=0123456789abcdef; theme=dark'
)
offer -c 64 "http://127.0.0.1:$plain/"
offer -c 64 "${browser[@]}" "http://127.0.0.1:$plain/page?with=query"
offer -c 500 "http://127.0.0.1:$plain/"
offer -c 32 "http://127.0.0.1:$plain/long"
offer -c 64 -d "@$work/body" "http://127.0.0.1:$plain/"
offer -c 64 --disable-keepalive "http://127.0.0.1:$plain/"
offer -c 64 "https://127.0.0.1:$secure/"
offer -c 32 --disable-keepalive "https://127.0.0.1:$secure/"
offer -c 128 --http2 "https://127.0.0.1:$secure/"
offer -c 128 --http2 "${browser[@]}" "https://127.0.0.1:$secure/page?with=query"
offer -c 32 --http2 "https://127.0.0.1:$secure/long"
offer -c 32 --http2 -d "@$work/body" "https://127.0.0.1:$secure/"

# A profile is written when the program ends by itself.
kill "$trained"
wait "$trained" || die "$(cat "$work/log")"
