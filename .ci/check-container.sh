#!/usr/bin/env bash
# The image as it is shipped, run as it should be run. Builds the final stage of the Dockerfile from a
# static program that is built here as its first stage does (which needs a base image from outside),
# then: size, licences, health, balanced requests, read-only root, memory with 500 connections, a backend
# that dies, drain on SIGTERM, and the image with nothing mounted. Where no static program can be built,
# with the release program and its libraries, whatever their size. Starts an engine of its own if none
# runs (needs root).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=.ci/engine.sh
. "$(dirname "$0")/engine.sh"

# 20 MB, whichever way they are counted.
MAX_IMAGE_BYTES="${MAX_IMAGE_BYTES:-20000000}"
MEMORY=45m
program="$(program)"
work="$(mktemp -d)"
name="evenkeel-check-$$"
containers=()

tidy_up() {
  code=$?
  if [ "$code" -ne 0 ]; then
    for id in "${containers[@]}"; do docker logs --tail 5 "$id" >&2 2>&1 || true; done
  fi
  [ "${#containers[@]}" -eq 0 ] || docker rm -f "${containers[@]}" >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
  docker rmi -f "$name" >/dev/null 2>&1 || true
  stop_engine
  rm -rf "$work" 2>/dev/null || true
  [ "$code" -eq 0 ] || echo "check-container: FAILED" >&2
}
trap tidy_up EXIT

# What the image is made of: sets `target` and `shipped`.
build_program() {
  target="$(uname -m)-unknown-linux-musl"
  if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && command -v musl-gcc >/dev/null; then
    (cd "$ROOT" && cargo build --quiet --release --locked --target "$target")
    shipped="$TARGET/$target/release/evenkeel"
    return
  fi
  say "no static program: it needs \`rustup target add $target\`, and musl-tools; the size is not looked at"
  target="$(rustc -vV | sed -n 's/^host: //p')"
  shipped="$program"
  MAX_IMAGE_BYTES=$((64 << 20))
}

# Everything from `FROM scratch` on, with the laid-out root beside it.
build_image() {
  mkdir "$work/context"
  sh "$ROOT/deployments/docker/rootfs.sh" "$shipped" "$target" "$work/context/rootfs"
  sed -n '/^FROM scratch/,$p' "$ROOT/Dockerfile" |
    sed 's#^COPY --from=build /rootfs/#COPY rootfs/#' >"$work/context/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q -t "$name" "$work/context" >/dev/null
  bytes="$(docker image inspect -f '{{.Size}}' "$name")"
  [ "$bytes" -le "$MAX_IMAGE_BYTES" ] || die "the image has $bytes bytes, $MAX_IMAGE_BYTES at most"
  say "image for $target: $bytes bytes"
}

licences() {
  local id
  id="$(docker create "$name")"
  containers+=("$id")
  docker cp -q "$id:/usr/share/doc/evenkeel/." "$work/doc"
  gzip -d "$work/doc/THIRD-PARTY-LICENCES.txt.gz"
  cmp -s "$ROOT/LICENSE" "$work/doc/copyright" || die "the licence is not in the image"
  grep -q '^rustls ' "$work/doc/THIRD-PARTY-LICENCES.txt" || die "licences are not in the image"
  case "$target" in *-musl)
    grep -q '^musl, its C library' "$work/doc/THIRD-PARTY-LICENCES.txt" || die "no licence of musl" ;;
  esac
  say "licences: in the image"
}

# Starts a container as the compose file does: start NAME OPTION… -- WORD…
start() {
  local options=(--network "$name" --network-alias "$1" --name "$name-$1" --read-only
    --cap-drop ALL --security-opt no-new-privileges)
  containers+=("$name-$1")
  shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  docker run -d "${options[@]}" "$name" "$@" >/dev/null
}

address() { docker port "$name-$1" 8080/tcp | sed 's/0.0.0.0/127.0.0.1/' | head -1; }
health() { docker inspect -f '{{.State.Health.Status}}' "$name-$1"; }
healthy() { [ "$(health "$1")" = healthy ]; }
quick_health=(--health-interval 1s --health-start-period 0s)

balanced() {
  "$program" bench "$url" -n 300 -c 10 -csv "$work/r.csv" -out "$work/s.json" -quiet
  "$program" bench check -csv "$work/r.csv" -expected 300 -tolerance 10% >/dev/null
  [ "$(grep -o '"backend[123]": 1[0-9][0-9]' "$work/s.json" | wc -l)" -eq 3 ] ||
    die "not every backend answered: $(cat "$work/s.json")"
  say "balanced: 300 requests, three backends"
}

many_connections() {
  "$program" bench "$url" -z 4s -c 500 -out "$work/m.json" -quiet
  [ "$(docker inspect -f '{{.State.OOMKilled}}' "$name-evenkeel")" = false ] || die "out of memory"
  docker exec "$name-evenkeel" /usr/local/bin/evenkeel healthcheck >/dev/null
  local used
  used="$(docker stats --no-stream --format '{{.MemUsage}}' "$name-evenkeel")"
  say "500 connections within $MEMORY: $used"
}

dying_backend() {
  "$program" bench "$url" -z 5s -rate 200 -c 20 -out "$work/d.json" -quiet &
  local load=$!
  docker kill "$name-backend1" >/dev/null
  wait "$load" || die "requests were lost with a dying backend: $(cat "$work/d.json")"
  say "a backend was killed under load: nothing lost"
}

drain() {
  "$program" bench "${url}delay/2s" -n 1 -c 1 -quiet &
  local slow=$!
  wait_for 5 in_flight || die "the slow request did not begin"
  docker stop -t 10 "$name-evenkeel" >/dev/null
  wait "$slow" || die "a request was cut off by SIGTERM"
  code="$(docker inspect -f '{{.State.ExitCode}}' "$name-evenkeel")"
  [ "$code" -eq 0 ] || die "exit code $code after SIGTERM"
  say "SIGTERM: the request in flight was answered, exit code 0"
}

# A connection to the published port: the request goes out with it.
in_flight() { [ -n "$(ss -Htn state established "dport = :$(basename "$url" | sed 's/.*://')")" ]; }

without_configuration() {
  start bare -p 127.0.0.1::8080 "${quick_health[@]}" --
  wait_for 20 healthy bare || die "not healthy without a configuration: $(health bare)"
  local answer
  answer="$(curl -si "http://$(address bare)/lb")"
  case "$answer" in "HTTP/1.1 200 "*) ;; *) die "no mock answers: $answer" ;; esac
  grep -qi '^x-demo: 1' <<<"$answer" || die "a mock that does not say so: $answer"
  if docker run --rm -e EVENKEEL_REQUIRE_CONFIG=1 "$name" >"$work/required" 2>&1; then
    die "it runs without the configuration that is required"
  fi
  grep -q 'no configuration file found' "$work/required" || die "$(cat "$work/required")"
  say "without a configuration: healthy, mocks answer; where it is required, an error"
}

build_program
start_engine
build_image
licences
docker network create "$name" >/dev/null
for n in 1 2 3; do
  start "backend$n" -- testserver --listen "0.0.0.0:808$n" --name "backend$n"
done
start evenkeel -p 127.0.0.1::8080 --memory "$MEMORY" --memory-swap "$MEMORY" "${quick_health[@]}" \
  -e EVENKEEL_REQUIRE_CONFIG=1 -v "$ROOT/deployments/docker/config:/app/config:ro" -- run
wait_for 20 healthy evenkeel || die "not healthy: $(health evenkeel)"
url="http://$(address evenkeel)/"
user="$(docker inspect -f '{{.Config.User}}' "$name-evenkeel")"
[ "$user" = 65532:65532 ] || die "runs as $user"
balanced
many_connections
dying_backend
drain
without_configuration
say "all holds"
