#!/usr/bin/env bash
# A pool of real containers: grows from one to two with its requests, shrinks again without an
# error, replaces a container that dies, finds its containers again after a crash of evenkeel (also
# one while the engine is away), and sleeps at zero until a request comes. Starts an engine of its own if none runs (needs root).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=.ci/engine.sh
. "$(dirname "$0")/engine.sh"

program="$(program)"
work="$(mktemp -d)"
image="evenkeel-scaling-$$"
balancer=

ours() { docker ps -q --no-trunc --filter label=evenkeel.pool=app "$@"; }

tidy_up() {
  code=$?
  [ "$code" -eq 0 ] || tail -20 "$work/log" >&2 || true
  [ -z "$balancer" ] || kill -9 "$balancer" 2>/dev/null || true
  # shellcheck disable=SC2046
  docker rm -f $(ours -a) >/dev/null 2>&1 || true
  docker rmi -f "$image" >/dev/null 2>&1 || true
  stop_engine
  rm -rf "$work" 2>/dev/null || true
  [ "$code" -eq 0 ] || echo "check-scaling: FAILED" >&2
}
trap tidy_up EXIT

build_image() {
  mkdir "$work/context"
  local host
  host="$(rustc -vV | sed -n 's/^host: //p')"
  sh "$ROOT/deployments/docker/rootfs.sh" "$program" "$host" "$work/context/rootfs"
  printf 'FROM scratch\nCOPY rootfs/ /\nENTRYPOINT ["/usr/local/bin/evenkeel"]\n' \
    >"$work/context/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q -t "$image" "$work/context" >/dev/null
}

# configure MIN
configure() {
  cat >"$work/config.yaml" <<END
listeners: [{ name: web, bind: "127.0.0.1:0" }]
admin: { bind: "127.0.0.1:0" }
state_dir: $work/state
pools:
  - name: app
    backends: []
    health: { interval: 300ms }
    autoscale:
      min: $1
      max: 2
      interval: 2s
      requests_per_interval: 20
      scale_down: { step: 1, after: 4s, every: 1s, drain_timeout: 5s }
      driver:
        type: docker
        image: "$image"
        port: 8080
        command: ["testserver", "--listen", "0.0.0.0:8080", "--name", "{name}"]
        labels: { team: web }
        socket: $work/engine
END
}

start_balancer() {
  "$program" run --no-watch -c "$work/config.yaml" >"$work/log" 2>&1 &
  balancer=$!
  wait_for 20 grep -q '"event":"started"' "$work/log" || die "evenkeel did not start"
  local started
  started="$(grep '"event":"started"' "$work/log")"
  # shellcheck disable=SC2001
  url="http://$(sed 's/.*"listeners":"web=\([^"]*\)".*/\1/' <<<"$started")/"
  # shellcheck disable=SC2001
  EVENKEEL_ADMIN="http://$(sed 's/.*"admin":"\([^"]*\)".*/\1/' <<<"$started")"
  export EVENKEEL_ADMIN
}

stop_balancer() {
  kill "$balancer"
  wait "$balancer" || die "exit code $? after SIGTERM"
  balancer=
}

count() { [ "$(ours | wc -l)" -eq "$1" ]; }
serving() { [ "$("$program" backend list --json | grep -c '"eligible": true')" -eq "$1" ]; }
load() { "$program" bench "$url" -n "$1" -c 2 -quiet || die "requests failed"; }
busy_until_two() { load 50; serving 2; }

no_errors() {
  local metrics
  metrics="$(curl -fsS "$EVENKEEL_ADMIN/metrics")" || die "$1: no metrics"
  if grep -E '^evenkeel_requests_total\{.*code="5' <<<"$metrics"; then die "$1: errors"; fi
}

start_engine
DOCKER_HOST="${DOCKER_HOST:-unix:///var/run/docker.sock}"
build_image
ln -s "${DOCKER_HOST#unix://}" "$work/engine"
configure 1
start_balancer
wait_for 30 serving 1 || die "there is no first container"
first="$(ours)"
owner="$(docker inspect -f '{{index .Config.Labels "evenkeel.owner"}}' "$first")"
[ "$owner" = "$(uname -n)" ] || die "its owner is $owner"
[ "$(docker inspect -f '{{index .Config.Labels "team"}}' "$first")" = web ] || die "no own label"
load 5
say "min: one container, labelled"

wait_for 60 busy_until_two || die "it did not grow"
count 2 || die "there are not two containers"
say "50 requests in an interval: two containers serve"
wait_for 60 count 1 || die "it did not shrink"
no_errors "growing and shrinking"
say "idle: one container, no error"

survivor="$(ours)"
kill -9 "$balancer"
wait "$balancer" 2>/dev/null || true
[ "$(ours)" = "$survivor" ] || die "the container went with a crash"
start_balancer
curl -fsS -o /dev/null "$url" || die "the first request after a crash was not served"
wait_for 30 serving 1 || die "what a crash has left was not found"
[ "$(ours)" = "$survivor" ] || die "another container was started"
load 5
"$program" autoscale status | tee "$work/status"
# The one from before the crash is remembered.
[ "$(grep -c 'fewer than min' "$work/status")" -eq 1 ] || die "a decision about what was there"
say "after a crash of evenkeel: the same container serves"

kill -9 "$balancer"
wait "$balancer" 2>/dev/null || true
rm "$work/engine"
start_balancer
told() { "$program" autoscale status | grep -q "$work/engine: "; }
wait_for 30 told || die "an engine that is away is not told"
ln -s "${DOCKER_HOST#unix://}" "$work/engine"
wait_for 60 serving 1 || die "what the engine did not tell at first was not found"
[ "$(ours)" = "$survivor" ] || die "another container was started beside it"
say "after a crash while the engine is away: the same container serves"

docker kill "$survivor" >/dev/null
replaced() { [ -n "$(ours)" ] && [ "$(ours)" != "$survivor" ] && serving 1; }
wait_for 60 replaced || die "a container that died was not replaced"
say "a container that died was replaced"
stop_balancer
count 0 || die "containers outlive a clean stop"
[ -z "$(ours -a)" ] || die "ended containers were left"
say "a clean stop ends them"

configure 0
start_balancer
count 0 || die "a container without a request"
load 20
count 1 || die "not one container"
wait_for 60 count 0 || die "it did not fall asleep"
no_errors "asleep"
stop_balancer
say "all holds"
