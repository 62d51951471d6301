#!/usr/bin/env bash
# Makes dist/evenkeel_VERSION_ARCH.deb from the release program; the same input gives the same file.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

program="$(program)"
from="$ROOT/deployments"
root="$(mktemp -d)"
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT
arch="$(dpkg --print-architecture)"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 0)}"

put() { install -D -m "$1" "$2" "$root/$3"; }
mkdir -p "$root/usr/bin"
"$ROOT/scripts/strip.sh" "$program" "$root/usr/bin/evenkeel"
rm -f "$root/usr/bin/evenkeel.debug"
put 644 "$from/systemd/evenkeel.service" usr/lib/systemd/system/evenkeel.service
put 644 "$from/systemd/evenkeel.socket" usr/lib/systemd/system/evenkeel.socket
put 644 "$from/debian/evenkeel.yaml" etc/evenkeel/evenkeel.yaml
put 644 "$from/debian/logrotate" etc/logrotate.d/evenkeel
put 644 "$ROOT/LICENSE" usr/share/doc/evenkeel/copyright
put 644 "$ROOT/README.md" usr/share/doc/evenkeel/README.md
put 644 "$ROOT/CHANGELOG.md" usr/share/doc/evenkeel/changelog
gzip -9n "$root/usr/share/doc/evenkeel/changelog"
write() { install -D -m 644 /dev/stdin "$root/$1"; }
host="$(rustc -vV | sed -n 's/^host: //p')"
(cd "$ROOT" && python3 scripts/components.py licences "$host") | gzip -9n |
  write usr/share/doc/evenkeel/THIRD-PARTY-LICENCES.txt.gz
"$program" man | gzip -9n | write usr/share/man/man1/evenkeel.1.gz
"$program" completions bash | write usr/share/bash-completion/completions/evenkeel
"$program" completions zsh | write usr/share/zsh/vendor-completions/_evenkeel
"$program" completions fish | write usr/share/fish/vendor_completions.d/evenkeel.fish
"$program" schema | write usr/share/evenkeel/schema.json
for name in load-balancer gobalance gobalancer; do ln -s evenkeel "$root/usr/bin/$name"; done

# The newest glibc that the program asks for.
glibc="$(grep -ao 'GLIBC_2\.[0-9]*' "$program" | sort -Vu | tail -1 | cut -d_ -f2)"
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<END
Package: evenkeel
Version: $(version)
Architecture: $arch
Maintainer: The evenkeel authors <evenkeel@example.invalid>
Section: net
Priority: optional
Depends: libc6 (>= ${glibc:-2.34}), libgcc-s1, adduser
Suggests: logrotate
Installed-Size: $(du -sk "$root/usr" "$root/etc" | awk '{ sum += $1 } END { print sum }')
Description: load balancer for HTTP and TCP
 One program, one readable configuration file; strict about what it forwards,
 and able to say why a request ended as it did.
END
printf '/etc/evenkeel/evenkeel.yaml\n/etc/logrotate.d/evenkeel\n' >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do put 755 "$from/debian/$script" "DEBIAN/$script"; done
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

mkdir -p "$ROOT/dist"
package="$ROOT/dist/evenkeel_$(version)_$arch.deb"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Z"${DEB_COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
say "$package"
