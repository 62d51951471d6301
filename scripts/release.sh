#!/usr/bin/env bash
# Makes what a release consists of, in dist/: an archive for each target with program, man page,
# completions, schema, licences and SBOM; the Debian package; SHA256SUMS. The same commit gives the
# same files.
#   scripts/release.sh                        for this machine
#   scripts/release.sh TARGET…                for other targets (rustup target add TARGET, and a compiler of C:
#                                             musl-tools, gcc-mingw-w64-x86-64, gcc-aarch64-linux-gnu)
#   scripts/release.sh --dry-run              what would be made, and whether it could
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

ALL_TARGETS=(x86_64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-gnu
  x86_64-pc-windows-gnu x86_64-apple-darwin aarch64-apple-darwin)

host="$(rustc -vV | sed -n 's/^host: //p')"
sysroot="$(rustc --print sysroot)"
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
targets=("$@")
cd "$ROOT"
name() { echo "evenkeel-$(version)-$1"; }
# The compiler of C, which links too, for a target that is not this machine's.
compiler() {
  case "$1" in
    "$host") echo cc ;;
    x86_64-*-musl) echo musl-gcc ;;
    *-windows-gnu) echo x86_64-w64-mingw32-gcc ;;
    aarch64-*-linux-gnu) echo aarch64-linux-gnu-gcc ;;
    *-apple-*) echo xcrun ;;
    *) echo cc ;;
  esac
}
# What is missing for a target; nothing, if it can be built here.
missing() {
  [ -d "$sysroot/lib/rustlib/$1" ] || printf ' rustup target add %s;' "$1"
  command -v "$(compiler "$1")" >/dev/null || printf ' %s;' "$(compiler "$1")"
}
archive() { case "$1" in *windows*) echo "$(name "$1").zip" ;; *) echo "$(name "$1").tar.gz" ;; esac; }

if [ -n "$dry" ]; then
  [ "${#targets[@]}" -gt 0 ] || targets=("${ALL_TARGETS[@]}")
  for target in "${targets[@]}"; do
    needs="$(missing "$target")"
    [ -z "$needs" ] && can="can be built here" || can="needs:${needs%;}"
    echo "dist/$(archive "$target")  $can"
  done
  echo "dist/evenkeel_$(version)_$(dpkg --print-architecture 2>/dev/null || echo ARCH).deb"
  echo "dist/SHA256SUMS"
  exit 0
fi

[ "${#targets[@]}" -gt 0 ] || targets=("$host")
# Before the old files go, and before minutes of work.
for target in "${targets[@]}"; do
  needs="$(missing "$target")"
  [ -z "$needs" ] || die "$target needs:${needs%;}"
done
# Rust asks `cc` for these, which makes programs for this machine alone.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-$(compiler aarch64-unknown-linux-gnu)}"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
rm -rf dist
mkdir -p dist
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Man page and completions come from the program that runs here.
own="$(program)"

# The folder of a target as one file, whose bytes depend on nothing but what is in it and the commit.
pack() {
  case "$1" in
    *windows*)
      find "$work/$(name "$1")" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
      TZ=UTC python3 -c '
import pathlib, sys, zipfile
root, name, file = sys.argv[1:]
with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
    for path in sorted(pathlib.Path(root, name).rglob("*")):
        archive.write(path, path.relative_to(root))' "$work" "$(name "$1")" "dist/$(archive "$1")"
      ;;
    *)
      tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u+rw,go+r -cf - "$(name "$1")" | gzip -9n >"dist/$(archive "$1")"
      ;;
  esac
}

for target in "${targets[@]}"; do
  case "$target" in *windows*) exe=.exe ;; *) exe= ;; esac
  if [ "$target" = "$host" ]; then
    built="$own"
  else
    cargo build --release --locked --target "$target"
    built="$TARGET/$target/release/evenkeel$exe"
  fi
  folder="$work/$(name "$target")"
  mkdir -p "$folder/completions"
  scripts/strip.sh "$built" "$folder/evenkeel$exe"
  cp LICENSE README.md CHANGELOG.md "$folder/"
  cp deployments/debian/evenkeel.yaml "$folder/evenkeel.example.yaml"
  "$own" man >"$folder/evenkeel.1"
  "$own" schema >"$folder/schema.json"
  for shell in bash zsh fish powershell; do
    "$own" completions "$shell" >"$folder/completions/evenkeel.$shell"
  done
  python3 scripts/components.py sbom "$target" >"$folder/sbom.cdx.json"
  python3 scripts/components.py licences "$target" >"$folder/THIRD-PARTY-LICENCES.txt"
  pack "$target"
  say "dist/$(archive "$target")"
done
if command -v dpkg-deb >/dev/null; then scripts/package-deb.sh; fi
(cd dist && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
say "$(wc -l <dist/SHA256SUMS) files in dist/"
