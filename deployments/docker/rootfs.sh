#!/bin/sh
# Lays out what the image holds: the program, the shared libraries it was linked with, if any, the
# licences of everything that is in it, and a user.
#   rootfs.sh PROGRAM TARGET FOLDER      TARGET is what PROGRAM was built for
set -eu
program="$1" target="$2" root="$3"
here="$(cd "$(dirname "$0")" && pwd)"
top="$here/../.."
doc="$root/usr/share/doc/evenkeel"

mkdir -p "$root/usr/local/bin" "$root/etc" "$root/app" "$root/var/lib/evenkeel" "$root/tmp" "$doc"
"$top/scripts/strip.sh" "$program" "$root/usr/local/bin/evenkeel"
rm -f "$root/usr/local/bin/evenkeel.debug"
# Older instructions call it by these names.
for name in load-balancer gobalance gobalancer; do
  ln -sf /usr/local/bin/evenkeel "$root/usr/local/bin/$name"
done
cp "$top/LICENSE" "$doc/copyright"
python3 "$top/scripts/components.py" licences "$target" >"$doc/THIRD-PARTY-LICENCES.txt"
gzip -9n "$doc/THIRD-PARTY-LICENCES.txt"

# ldd prints a path for each library and for the loader; none for a static program.
libraries="$(ldd "$program" 2>/dev/null | grep -o '/[^ )]*' || true)"
for library in $libraries; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
for package in ${libraries:+libc6 libgcc-s1}; do
  mkdir -p "$root/usr/share/doc/$package"
  cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
done

printf 'root:x:0:0:root:/:/nonexistent\nevenkeel:x:65532:65532:evenkeel:/app:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nevenkeel:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
chown -R 65532:65532 "$root/app" "$root/var/lib/evenkeel"
