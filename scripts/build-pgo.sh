#!/usr/bin/env bash
# Builds the release program twice: once to count what it does under load (scripts/train.sh), once
# laid out after those counts (profile-guided optimization). The result is
# target/pgo/release/evenkeel. Needs the component llvm-tools of rustup, openssl and curl.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$ROOT"
host="$(rustc -vV | sed -n 's/^host: //p')"
profdata="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
[ -x "$profdata" ] || die "no $profdata: rustup component add llvm-tools"

build() {
  RUSTFLAGS="$1" CARGO_TARGET_DIR="$ROOT/target/pgo$2" cargo build --release --locked
}
rm -rf target/pgo/counts
build "-Cprofile-generate=$ROOT/target/pgo/counts" /counting
scripts/train.sh target/pgo/counting/release/evenkeel
"$profdata" merge -o target/pgo/evenkeel.profdata target/pgo/counts
build "-Cprofile-use=$ROOT/target/pgo/evenkeel.profdata" ""
target/pgo/release/evenkeel --version
say "built $ROOT/target/pgo/release/evenkeel"
