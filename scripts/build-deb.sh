#!/bin/sh
# Builds the Debian package imgmount from this tree into a folder, without a network and without root:
#     build-deb.sh PYTHON FOLDER
# PYTHON has mfusepy installed, which Debian does not have: it goes into the package. Needs `install-system.sh deb`.
set -eu
vendored=$("$1" -c 'import importlib.util as u; print(u.find_spec("mfusepy").origin)')
mkdir -p "$2"
target=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."

PATH=/usr/sbin:/usr/bin:/sbin:/bin # the system's own Python builds it
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/imgmount
mkdir "$tree"
cp -R CHANGELOG.md LICENSE README.md SECURITY.md docs packaging pyproject.toml src systemd "$tree"
find "$tree" -name __pycache__ -prune -exec rm -rf {} +
mv "$tree/packaging/debian" "$tree/debian"
mkdir "$tree/debian/vendored"
cp "$vendored" "$tree/debian/vendored/"

# The version is in src/imgmount/__init__.py only; what comes before a release sorts before it. Times are the last commit's.
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/imgmount/__init__.py | sed 's/\.\?\(dev\|a\|b\|rc\)/~\1/')
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
cat >"$tree/debian/changelog" <<EOF
imgmount ($version-1) unstable; urgency=medium

  * What is new is in /usr/share/doc/imgmount/changelog.gz

 -- $(sed -n 's/^Maintainer: //p' "$tree/debian/control")  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF

cd "$tree"
# what it needs is installed already; the compilers that it asks for besides have nothing to do here
if ! dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
cp "$work/imgmount_$version-1_all.deb" "$target/"
echo "$target/imgmount_$version-1_all.deb"
