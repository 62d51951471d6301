# shellcheck shell=bash
# A Debian below $root, booted: its systemd is process 1 of its own namespaces.
# shellcheck disable=SC2154

# The process of systemd-nspawn, if it was booted.
booted=

boot() {
  systemd-nspawn --quiet --directory "$root" --machine "evenkeel-check-$$" --register=no --keep-unit \
    --private-network --link-journal=no --boot >"$work/boot.log" 2>&1 </dev/null &
  booted=$!
  wait_for 60 up || { tail -20 "$work/boot.log" >&2; return 1; }
}

# Runs a command in it.
within() {
  local first
  first="$(pgrep -P "$booted" | head -1)"
  nsenter --target "$first" --mount --uts --ipc --net --pid -- "$@"
}

up() { within systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }

shut_down() {
  if [ -n "$booted" ]; then
    within systemctl --no-block poweroff 2>/dev/null || kill "$booted" 2>/dev/null || true
    wait "$booted" 2>/dev/null || true
    booted=
  fi
}
