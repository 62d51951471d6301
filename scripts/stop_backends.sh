#!/usr/bin/env bash
# Ends the backends that scripts/spawn_backends.sh started, and no other process.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

run="${EVENKEEL_RUN_DIR:-$ROOT/build/backends}"
gone() { ! kill -0 "$1" 2>/dev/null; }

shopt -s nullglob
for file in "$run"/*.pid; do
  read -r pid since <"$file"
  port="$(basename "$file" .pid)"
  if [ "$(started_at "$pid")" = "$since" ] && kill "$pid" 2>/dev/null; then
    wait_for 10 gone "$pid" || die "backend-$port (pid $pid) does not end"
    say "stopped backend-$port (pid $pid)"
  else
    say "backend-$port had ended already"
  fi
  rm -f "$file"
done
