#!/bin/sh
# The program as it is shipped: its table of symbols goes to a file beside it, which profiles and
# backtraces find by its name and need for the names of functions, and nothing else does.
#   strip.sh PROGRAM TO          writes TO and TO.debug
set -eu
program="$1" to="$2"

if command -v objcopy >/dev/null && objcopy --only-keep-debug "$program" "$to.debug" 2>/dev/null; then
  strip -o "$to" "$program"
  (cd "$(dirname "$to")" && objcopy --add-gnu-debuglink="$(basename "$to").debug" "$(basename "$to")")
else
  echo "strip.sh: objcopy cannot read $program; it is shipped with its symbols" >&2
  cp "$program" "$to"
fi
chmod 755 "$to"
