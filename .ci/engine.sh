# shellcheck shell=bash
# A container engine for a check: the one that runs, or one of its own below $work.
# shellcheck disable=SC2154

# Its process, if it was started here.
engine=

start_engine() {
  docker info >/dev/null 2>&1 && return
  export DOCKER_HOST="unix://$work/docker.sock"
  dockerd -H "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" \
    --pidfile "$work/docker.pid" >"$work/docker.log" 2>&1 &
  engine=$!
  wait_for 60 docker info || { tail -20 "$work/docker.log" >&2; die "no container engine"; }
}

stop_engine() {
  if [ -n "$engine" ]; then
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
  fi
}
