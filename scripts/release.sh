#!/usr/bin/env bash
# Makes what a release consists of, in dist/: an archive for each target with program, man page,
# completions, schema, licences and SBOM; the Debian package; SHA256SUMS. The same commit gives the
# same files.
#   scripts/release.sh                        for this machine
#   scripts/release.sh TARGET…                for other targets (rustup target add TARGET, and a linker)
#   scripts/release.sh --dry-run              what would be made, and whether it could
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

ALL_TARGETS=(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-apple-darwin
  aarch64-apple-darwin)

host="$(rustc -vV | sed -n 's/^host: //p')"
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
targets=("$@")
cd "$ROOT"
name() { echo "evenkeel-$(version)-$1"; }

if [ -n "$dry" ]; then
  [ "${#targets[@]}" -gt 0 ] || targets=("${ALL_TARGETS[@]}")
  sysroot="$(rustc --print sysroot)"
  for target in "${targets[@]}"; do
    [ -d "$sysroot/lib/rustlib/$target" ] && can="can be built here" || can="needs: rustup target add $target"
    echo "dist/$(name "$target").tar.gz  $can"
  done
  echo "dist/evenkeel_$(version)_$(dpkg --print-architecture 2>/dev/null || echo ARCH).deb"
  echo "dist/SHA256SUMS"
  exit 0
fi

[ "${#targets[@]}" -gt 0 ] || targets=("$host")
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
rm -rf dist
mkdir -p dist
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Man page and completions come from the program that runs here.
own="$(program)"

for target in "${targets[@]}"; do
  if [ "$target" = "$host" ]; then
    built="$own"
  else
    cargo build --release --locked --target "$target"
    built="$TARGET/$target/release/evenkeel"
  fi
  folder="$work/$(name "$target")"
  mkdir -p "$folder/completions"
  scripts/strip.sh "$built" "$folder/evenkeel"
  cp LICENSE README.md CHANGELOG.md "$folder/"
  cp deployments/debian/evenkeel.yaml "$folder/evenkeel.example.yaml"
  "$own" man >"$folder/evenkeel.1"
  "$own" schema >"$folder/schema.json"
  for shell in bash zsh fish powershell; do
    "$own" completions "$shell" >"$folder/completions/evenkeel.$shell"
  done
  python3 scripts/components.py sbom "$target" >"$folder/sbom.cdx.json"
  python3 scripts/components.py licences "$target" >"$folder/THIRD-PARTY-LICENCES.txt"
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=u+rw,go+r -cf - "$(name "$target")" | gzip -9n >"dist/$(name "$target").tar.gz"
  say "dist/$(name "$target")"
done
if command -v dpkg-deb >/dev/null; then scripts/package-deb.sh; fi
(cd dist && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
say "$(wc -l <dist/SHA256SUMS) files in dist/"
