#!/usr/bin/env bash
# Starts test backends on a range of ports, each named backend-PORT:
#   scripts/spawn_backends.sh             8081 to 8085
#   scripts/spawn_backends.sh 8091 8095   8091 to 8095
# POST /create-course and every other path is answered with 201. What they print is in
# scripts/backend-PORT.log. scripts/stop_backends.sh ends them.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

first="${1:-8081}" last="${2:-8085}"
[[ "$first" =~ ^[0-9]+$ && "$last" =~ ^[0-9]+$ ]] || die "usage: spawn_backends.sh [FIRST LAST]"
{ [ "$first" -ge 1 ] && [ "$last" -le 65535 ] && [ "$first" -le "$last" ]; } ||
  die "ports are 1 to 65535, the first not above the last"
[ $((last - first)) -lt 100 ] || die "100 backends at most"

program="$(program)"
run="${EVENKEEL_RUN_DIR:-$ROOT/build/backends}"
mkdir -p "$run"
logs="${EVENKEEL_RUN_DIR:-$ROOT/scripts}"

# One that did not start must not leave the others behind.
started=()
undo() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
}

for port in $(seq "$first" "$last"); do
  if "$program" bench "tcp://127.0.0.1:$port" -n 1 -quiet >/dev/null 2>&1; then
    undo
    die "something listens on port $port already"
  fi
  log="$logs/backend-$port.log"
  nohup "$program" testserver --listen "127.0.0.1:$port" --name "backend-$port" \
    --status "${BACKEND_STATUS:-201}" >"$log" 2>&1 </dev/null &
  pid=$!
  started+=("$pid")
  # When it started tells it from another process that gets its number later.
  printf '%s %s\n' "$pid" "$(started_at "$pid")" >"$run/$port.pid"
  if ! wait_for 10 "$program" bench "tcp://127.0.0.1:$port" -n 1 -quiet; then
    undo
    die "no backend on port $port: $(cat "$log")"
  fi
  say "backend-$port on http://127.0.0.1:$port/ (pid $pid)"
done
