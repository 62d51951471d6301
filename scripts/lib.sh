# shellcheck shell=bash
# What the scripts here share: the root of the repository, the program, messages.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# What is made here can be read by everybody, whoever makes it.
umask 022
TARGET="${CARGO_TARGET_DIR:-$ROOT/target}"

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The program: $EVENKEEL_BIN, or the release build, which is made if it is not there.
program() {
  local found="${EVENKEEL_BIN:-$TARGET/release/evenkeel}"
  if [ ! -x "$found" ]; then
    [ -z "${EVENKEEL_BIN:-}" ] || die "EVENKEEL_BIN=$found is not a program"
    (cd "$ROOT" && cargo build --release --locked) >&2
  fi
  printf '%s\n' "$found"
}

version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# Waits until a command succeeds: wait_for SECONDS COMMAND…
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# When a process started, in ticks since boot; empty if there is none.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20 || true; }
