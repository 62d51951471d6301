#!/bin/sh
# Lays out what the image holds: the program, the shared libraries it was linked with, and a user.
#   rootfs.sh PROGRAM FOLDER
set -eu
program="$1" root="$2"
here="$(cd "$(dirname "$0")" && pwd)"

mkdir -p "$root/usr/local/bin" "$root/etc" "$root/app" "$root/var/lib/evenkeel" "$root/tmp"
"$here/../../scripts/strip.sh" "$program" "$root/usr/local/bin/evenkeel"
rm -f "$root/usr/local/bin/evenkeel.debug"
# Older instructions call it by these names.
for name in load-balancer gobalance gobalancer; do
  ln -sf /usr/local/bin/evenkeel "$root/usr/local/bin/$name"
done

# ldd prints a path for each library and for the loader; none for a static program.
for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ )]*'); do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

printf 'root:x:0:0:root:/:/nonexistent\nevenkeel:x:65532:65532:evenkeel:/app:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nevenkeel:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
chown -R 65532:65532 "$root/app" "$root/var/lib/evenkeel"
