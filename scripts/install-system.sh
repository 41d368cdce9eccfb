#!/bin/sh
# Installs the Debian or Ubuntu packages of a group that are missing: `base` is what imgmount needs to run, `deb` builds its
# Debian package, `oracles` are the independent programs that tests compare with, `peers` those that benchmarks compare with and make
# images with. Needs root or sudo only if something is missing.
set -eu

case $1 in
base) packages="fuse3 python3-venv libwim15" ;; # the last one decodes ESD, and WIM fast
deb) packages="debhelper dh-python pybuild-plugin-pyproject python3-hatchling" ;;
oracles) packages="$(sed 's/#.*//' "$(dirname "$0")/oracles.txt")" ;;
peers)
    packages="archivemount bindfs dolphin-emu e2fsprogs ewf-tools fuse2fs fuseiso genisoimage libqcow-utils libvhdi-utils
        libvmdk-utils mame-tools ntfs-3g qemu-system-common qemu-utils squashfs-tools squashfuse wimtools wit xmount xorriso"
    ;;
*) echo "usage: $0 base|deb|oracles|peers" >&2; exit 1 ;;
esac

command -v apt-get >/dev/null || { echo "no apt-get here: install these by hand: $packages" >&2; exit 0; }

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "these packages are missing; root installs them: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
available=
for package in $missing; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        available="$available $package"
    else
        echo "not packaged here, what uses it is left out: $package" >&2
    fi
done
# shellcheck disable=SC2086  # words are wanted
[ -z "$available" ] || $sudo apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 $available >/dev/null
