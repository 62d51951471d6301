#!/usr/bin/env bash
# The Debian package in a fresh Debian: installed, run, removed, purged; nothing is left. Then the
# systemd units: their words, and what they do in that Debian when its systemd has booted it. Needs
# root, debootstrap and systemd-nspawn.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=.ci/booted.sh
. "$(dirname "$0")/booted.sh"

work="$(mktemp -d)"
root="$work/debian"
balancer=
tidy_up() {
  code=$?
  [ -z "$balancer" ] || kill "$balancer" 2>/dev/null || true
  shut_down
  umount "$root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
  [ "$code" -eq 0 ] || echo "check-package: FAILED" >&2
}
trap tidy_up EXIT
inside() { chroot "$root" "$@"; }

EVENKEEL_BIN="$(program)"
# The quicker compression: it is not what is checked.
export EVENKEEL_BIN DEB_COMPRESSION=gzip
"$ROOT/scripts/package-deb.sh"
package="$(echo "$ROOT"/dist/evenkeel_*_"$(dpkg --print-architecture)".deb)"
first="$(sha256sum <"$package")"
"$ROOT/scripts/package-deb.sh" >/dev/null
[ "$first" = "$(sha256sum <"$package")" ] || die "the package is not reproducible"

dpkg-deb -c "$package" >"$work/listed"
grep -q '^drwxr-xr-x .* \./$' "$work/listed" || die "the package closes the root to others"

# The Debian of this machine, whose libraries the program was linked with.
# shellcheck source=/dev/null
suite="$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")"
mirror="$(grep -rhE '^(deb |URIs:)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 || true)"
debootstrap --variant=minbase --include=systemd-sysv,logrotate "$suite" "$root" "$(echo "${mirror:-http://deb.debian.org/debian}" | tr -d " ")" >"$work/log" 2>&1 ||
  { tail -20 "$work/log" >&2; die "no Debian to install into"; }
mount -t proc proc "$root/proc"
(cd "$root" && find . -xdev -not -path './proc*' | sort) >"$work/before"

cp "$package" "$root/evenkeel.deb"
inside dpkg -i /evenkeel.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it does not install"; }
rm "$root/evenkeel.deb"
inside evenkeel --version
inside evenkeel check -c /etc/evenkeel/evenkeel.yaml
inside getent passwd evenkeel >/dev/null || die "no user"
gzip -t "$root/usr/share/man/man1/evenkeel.1.gz"
gzip -dc "$root/usr/share/doc/evenkeel/THIRD-PARTY-LICENCES.txt.gz" | grep '^rustls ' >/dev/null ||
  die "the licences of what is in the program are not there"
bash -n "$root/usr/share/bash-completion/completions/evenkeel"

# As the unit runs it: that user, that file.
chroot --userspec="$(inside id -u evenkeel):$(inside id -g evenkeel)" "$root" \
  /usr/bin/env EVENKEEL__ADMIN__BIND=127.0.0.1:0 \
  /usr/bin/evenkeel run -c /etc/evenkeel/evenkeel.yaml --listen 127.0.0.1:0 >"$work/run.log" 2>&1 &
balancer=$!
wait_for 20 grep -q '"event":"started"' "$work/run.log" || { cat "$work/run.log" >&2; die "it does not run"; }
kill "$balancer"
wait "$balancer" || true
balancer=

inside dpkg -r evenkeel >/dev/null
[ ! -e "$root/usr/bin/evenkeel" ] || die "the program is still there"
[ -e "$root/etc/evenkeel/evenkeel.yaml" ] || die "a removal took the configuration"
inside dpkg -P evenkeel >"$work/log" 2>&1 || { cat "$work/log" >&2; die "no purge"; }
(cd "$root" && find . -xdev -not -path './proc*' | sort) >"$work/after"
# What dpkg and the user's database keep for themselves.
left="$(comm -13 "$work/before" "$work/after" | grep -vE '^\./(var/(lib/dpkg|cache)|etc/(passwd|group|shadow|gshadow)-|etc/\.pwd\.lock|root/\.|var/log|run/)' || true)"
[ -z "$left" ] || die "left behind: $left"
! inside getent passwd evenkeel >/dev/null || die "the user is still there"
say "package: installs, runs, goes"

# The units, with a program that is there.
for unit in service socket; do
  sed "s#/usr/bin/evenkeel#$EVENKEEL_BIN#" "$ROOT/deployments/systemd/evenkeel.$unit" >"$work/evenkeel.$unit"
done
systemd-analyze verify --man=no "$work/evenkeel.service" "$work/evenkeel.socket" 2>&1 |
  grep -F evenkeel && die "the units have mistakes"
systemd-analyze security --offline=yes --threshold=20 "$work/evenkeel.service" | tail -1

umount "$root/proc"
cp "$package" "$root/root/evenkeel.deb"
cp "$ROOT/.ci/units-inside.sh" "$root/root/"
boot || die "no systemd to run them"
within dpkg -i /root/evenkeel.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it does not install"; }
within timeout 180 bash /root/units-inside.sh
within systemctl start evenkeel
within dpkg -r evenkeel >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it is not removed"; }
! within systemctl is-active --quiet evenkeel || die "it still runs when it is removed"
say "units: hold"
