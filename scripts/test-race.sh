#!/usr/bin/env bash
# Looks for races. With a nightly toolchain and its rust-src, the tests of the crates that have
# threads run under ThreadSanitizer. Without one, the same tests run with many seeds, threads of
# their own included; safe Rust has no data races, so what is looked for is wrong order.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

crates=(-p evenkeel-core -p evenkeel-proxy -p evenkeel-control -p evenkeel-load -p evenkeel-heap)
cd "$ROOT"
host="$(rustc -vV | sed -n 's/^host: //p')"
sources="$(rustc +nightly --print sysroot 2>/dev/null || true)/lib/rustlib/src/rust/library"
if [ -d "$sources" ]; then
  export RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR="$TARGET/tsan"
  exec cargo +nightly test -Zbuild-std --target "$host" --locked "${crates[@]}" "$@"
fi
say "no nightly toolchain with rust-src (rustup toolchain install nightly -c rust-src): many seeds"
EVENKEEL_SEEDS="${EVENKEEL_SEEDS:-200}" exec cargo test --locked "${crates[@]}" "$@"
