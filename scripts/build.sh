#!/usr/bin/env bash
# Builds the release program and places it where older instructions look for it:
# build/evenkeel, build/load-balancer, build/gobalance, build/gobalancer. From any directory.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$ROOT"
if [ -z "${EVENKEEL_BIN:-}" ]; then
  cargo build --release --locked
fi
program="$(program)"
mkdir -p build
install -m 755 "$program" build/evenkeel
for name in load-balancer gobalance gobalancer; do
  ln -sf evenkeel "build/$name"
done
build/evenkeel --version
say "built $ROOT/build/evenkeel"
