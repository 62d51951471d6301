#!/usr/bin/env bash
# Holds a running admin API against its own OpenAPI document with schemathesis: made-up requests, legal
# and illegal ones, and every answer looked at. `EK_BIN` names the program.
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
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
cat >"$folder/config.yaml" <<'YAML'
listeners: [{ name: web, bind: "127.0.0.1:0" }]
routes: [{ name: all, pool: web }]
pools:
  - name: web
    backends: [{ name: b1, address: "127.0.0.1:9" }, { name: b2, address: "127.0.0.1:8" }]
    health: { type: none }
admin: { bind: "127.0.0.1:0" }
logging: { access: { enabled: false } }
YAML
"$binary" run --no-watch -c "$folder/config.yaml" >"$folder/log" 2>&1 &
pid=$!
admin=
for _ in $(seq 100); do
  admin=$(sed -n 's/.*"event":"started".*"admin":"\([^"]*\)".*/\1/p' "$folder/log")
  [ -z "$admin" ] || break
  sleep 0.1
done
[ -n "$admin" ] || { cat "$folder/log"; echo "check-api: it did not start" >&2; exit 1; }

# Names that exist, so that more than 404 is seen; the stream of events never ends.
cat >"$folder/schemathesis.toml" <<'TOML'
[[operations]]
include-operation-id = "events"
enabled = false

[parameters]
"path.pool" = "web"
"path.name" = "b1"
TOML
timeout 280 "$tool" --config-file "$folder/schemathesis.toml" run \
  "http://$admin/openapi.json" --max-examples "${EXAMPLES:-20}" --workers 1 --seed 7 \
  --phases examples,coverage,fuzzing --request-timeout 10 --generation-database none \
  --suppress-health-check all "$@"
kill -0 "$pid" || { tail -5 "$folder/log"; echo "check-api: the program has ended" >&2; exit 1; }
