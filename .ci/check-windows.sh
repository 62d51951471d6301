#!/usr/bin/env bash
# Whether the program compiles for Windows, without a warning, from Linux: with the target of rustup
# (rustup target add x86_64-pc-windows-gnu), or else with Debian's compiler and the standard library
# built from its source. Needs gcc-mingw-w64-x86-64, and then rustc-web and rust-web-src.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

target=x86_64-pc-windows-gnu
words=(--locked --package evenkeel --target "$target")
export CARGO_TARGET_DIR="$TARGET/windows"
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  [ -d /usr/lib/rustlib/src/rust/library ] ||
    die "needs: rustup target add $target; or apt-get install rustc-web rust-web-src"
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  words+=("-Zbuild-std=std,panic_unwind")
fi
command -v x86_64-w64-mingw32-gcc >/dev/null || die "needs: apt-get install gcc-mingw-w64-x86-64"
cd "$ROOT"
RUSTFLAGS="-D warnings" cargo check "${words[@]}"
say "compiles for $target, with $("${RUSTC:-rustc}" --version)"
