#!/usr/bin/env bash
# Holds a running admin API against its own OpenAPI document with schemathesis: made-up requests, legal
# and illegal ones, and every answer looked at; without tokens, and with them.
#
#     .ci/check-api.sh [ARGUMENTS OF schemathesis run]
#
# EK_BIN names the program. EXAMPLES says how many requests are made up for each operation.
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
binary="${EK_BIN:-${CARGO_TARGET_DIR:-target}/debug/evenkeel}"
venv="${CARGO_TARGET_DIR:-target}/schemathesis-$version"
tool="$venv/bin/schemathesis"
[ -x "$tool" ] || {
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "schemathesis==$version"
}

folder=$(mktemp -d)
pid=
stop() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  pid=
}
trap 'stop; rm -rf "$folder"' EXIT

# The stream of events never ends.
cat >"$folder/schemathesis.toml" <<'TOML'
[[operations]]
include-operation-id = "events"
enabled = false
TOML
# Names that exist, so that more than 404 is seen.
cat >"$folder/named.toml" <<'TOML'
[[operations]]
include-operation-id = "events"
enabled = false

[parameters]
"path.pool" = "web"
"path.name" = "b1"
TOML

# start TOKENS_FILE: a balancer whose only backends are dead; sets `admin`.
start() {
  cat >"$folder/config.yaml" <<YAML
listeners: [{ name: web, bind: "127.0.0.1:0" }]
routes: [{ name: all, pool: web }]
pools:
  - name: web
    backends: [{ name: b1, address: "127.0.0.1:9" }, { name: b2, address: "127.0.0.1:8" }]
    health: { type: none }
admin: { bind: "127.0.0.1:0", tokens_file: "$1" }
logging: { access: { enabled: false } }
YAML
  "$binary" run --no-watch -c "$folder/config.yaml" >"$folder/log" 2>&1 &
  pid=$!
  admin=
  for _ in $(seq 100); do
    admin=$(sed -n 's/.*"event":"started".*"admin":"\([^"]*\)".*/\1/p' "$folder/log")
    [ -z "$admin" ] || return 0
    sleep 0.1
  done
  cat "$folder/log"
  echo "check-api: it did not start" >&2
  exit 1
}

# ask CONFIG ARGUMENTS...: what schemathesis finds, of a balancer that is still there afterwards.
ask() {
  local config=$1
  shift
  HYPOTHESIS_STORAGE_DIRECTORY="$folder" timeout 200 "$tool" --config-file "$folder/$config" run "http://$admin/openapi.json" \
    --max-examples "${EXAMPLES:-20}" --workers 1 --seed 7 --request-timeout 10 \
    --generation-database none --suppress-health-check all "$@"
  kill -0 "$pid" || { tail -5 "$folder/log"; echo "check-api: the program has ended" >&2; exit 1; }
  stop
}

echo "check-api: without tokens"
start ""
ask schemathesis.toml "$@"
echo "check-api: without tokens, with names that exist"
start ""
ask named.toml --phases examples,coverage,fuzzing "$@"
echo "check-api: with tokens"
token=check-api
printf 'tokens: [{ name: check, role: admin, sha256: "%s" }]\n' \
  "$(printf %s "$token" | sha256sum | cut -d' ' -f1)" >"$folder/tokens.yaml"
start "$folder/tokens.yaml"
# Wrong tokens shut their address out for a while, the right one too: they come in a run of their own.
ask schemathesis.toml --header "Authorization: Bearer $token" --exclude-checks ignored_auth "$@"
start "$folder/tokens.yaml"
ask schemathesis.toml --header "Authorization: Bearer $token" --checks ignored_auth \
  --phases coverage "$@"
