#!/usr/bin/env bash
# The PowerShell scripts of automation/, run against a balancer with a migration that goes through and
# one that rolls back. Needs pwsh (the runners of the workflow have it); without it, says so.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

if ! command -v pwsh >/dev/null; then
  say "not run: no pwsh on this machine"
  exit 0
fi
work="$(mktemp -d)"
pids=()
tidy_up() {
  code=$?
  [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  rm -rf "$work"
  [ "$code" -eq 0 ] || echo "check-automation: FAILED" >&2
}
trap tidy_up EXIT
program="$(program)"
admin=http://127.0.0.1:19900
export EVENKEEL_ADMIN="$admin"

start() {
  "$program" "$@" >>"$work/log" 2>&1 &
  pids+=("$!")
}
for n in 1 2 3; do start testserver --listen "127.0.0.1:1900$n" --name "b$n"; done
start testserver --listen 127.0.0.1:19004 --name bad --fail-rate 0.5
cat >"$work/web.yaml" <<'END'
listeners: [{ bind: "127.0.0.1:18080" }]
admin: { bind: "127.0.0.1:19900" }
pools:
  - { name: stable, backends: ["127.0.0.1:19001", "127.0.0.1:19002"] }
  - { name: canary, backends: ["127.0.0.1:19003"] }
  - { name: bad, backends: ["127.0.0.1:19004"], circuit_breaker: { enabled: false } }
routes: [{ name: web, pool: stable }]
END
start run -c "$work/web.yaml"
wait_for 10 "$program" status || die "no balancer: $(cat "$work/log")"
start bench -z 120s -rate 200 -quiet http://127.0.0.1:18080/

# One migration by the script: orchestrate NAME FROM TO; prints what pwsh returns.
orchestrate() {
  cat >"$work/$1.yaml" <<END
{ name: $1, route: web, from: $2, to: $3, cohort: request, interval: 1s, watch: 1s,
  stages: [{ weight: 50, min_duration: 2s, min_requests: 100, max_duration: 30s }, { weight: 100, min_duration: 2s, min_requests: 100, max_duration: 30s }] }
END
  cat >"$work/$1.json" <<END
{ "evenkeel": "$program", "admin": "$admin", "plan": "$1.yaml", "wait": "60s", "report": "$1.md" }
END
  local code=0
  pwsh -NoProfile -File "$ROOT/automation/phase7_scheduler.ps1" -Config "$work/$1.json" >>"$work/log" 2>&1 || code=$?
  echo "$code"
}
[ "$(orchestrate good stable canary)" = 0 ] || die "a good one: $(cat "$work/log")"
grep -q 'State: \*\*done\*\*' "$work/good.md" || die "no report of its end"
[ "$(orchestrate worse canary bad)" = 3 ] || die "a bad one: $(cat "$work/log")"
grep -q 'State: \*\*aborted\*\*' "$work/worse.md" || die "no report of its end"
say "automation: holds"
