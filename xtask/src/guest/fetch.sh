#!/bin/sh
# Makes $1/PACKAGE of Debian's newest kernel: vmlinuz, busybox, and base.img, an archive of /bin/busybox and of
# /modules, numbered in the order of loading. The words after $1 name the modules; one that has no file is built in.
set -e
cache=$1
shift
work=$(mktemp -d "$cache/.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# The `cloud` kernel is smaller, but has no 9p.
newest() { apt-cache depends --important linux-image-amd64 | sed -n 's/^ *Depends: //p' | head -n 1; }
package=$(newest)
if [ -z "$package" ]; then
    apt-get update -qq
    package=$(newest)
fi
if [ -z "$package" ]; then
    echo "the package archive has no linux-image-amd64: it must be Debian's" >&2
    exit 1
fi
apt-get download -qq "$package" busybox-static
for archive in *.deb; do dpkg-deb -x "$archive" tree; done

release=${package#linux-image-}
busybox=tree/bin/busybox
[ -e $busybox ] || busybox=tree/usr/bin/busybox
# Debian moves modules below `usr`; busybox knows the older place only.
[ -e tree/lib/modules ] || mv tree/usr/lib/modules tree/lib/
$busybox depmod -b tree "$release"

mkdir -p base/bin base/modules fresh
needs=tree/lib/modules/$release/modules.dep
number=100
# Lines are `file: needed needed…`, the deepest last.
for module in "$@"; do
    awk -F '[: ]+' -v name="/$module.ko" 'index($1, name) { for (i = NF; i; i--) if ($i) print $i }' "$needs"
done | awk '!seen[$0]++' | while read -r file; do
    cp "tree/lib/modules/$release/$file" "base/modules/$number-${file##*/}"
    number=$((number + 1))
done
cp $busybox base/bin/busybox
cp $busybox fresh/busybox
cp "tree/boot/vmlinuz-$release" fresh/vmlinuz
(cd base && find . | ../fresh/busybox cpio -o -H newc -R 0:0 > ../fresh/base.img) 2> /dev/null
# Complete or not at all; if another run was quicker, its folder stays.
mv -T fresh "$cache/$package" 2> /dev/null || [ -e "$cache/$package/base.img" ]
