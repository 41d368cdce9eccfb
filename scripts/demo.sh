#!/bin/sh
# Mounts three images from fixtures/ both ways, shows what is inside, compares, unmounts, and looks for leftovers.
set -eu
PATH="$1:$PATH"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'umount "$work"/* 2>/dev/null || true; rm -rf "$work"' EXIT

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$@"; }

same() { # FILE HASH
    printf '%s  %s\n' "$2" "$1" | sha256sum --check
}

fact() { # EXPECTED.JSON EXPRESSION
    python3 -c 'import json,sys; facts = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

unpack() { # FILE.XZ
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
}

show() { # IMAGE HASH
    run imgmount info "$1"
    run imgmount --raw "$1" "$work/raw"
    run ls -l "$work/raw"
    same "$work/raw/disk.raw" "$2"
    run umount "$work/raw"
}

browse() { # IMAGE FILE HASH
    run imgmount "$1" "$work/tree"
    run ls -lR "$work/tree"
    run cat "$work/tree/$2"
    same "$work/tree/$2" "$3"
    run umount "$work/tree"
}

echo "1. A Wii U disc image"
folder=fixtures/containers/wux/plain
show $folder/game.wux "$(fact $folder/expected.json 'facts["raw"][1]')"

echo; echo "2. An ISO 9660 disc with Rock Ridge"
folder=fixtures/filesystems/iso9660/rockridge
unpack $folder/rockridge.iso.xz >"$work/disc.iso"
show "$work/disc.iso" "$(sha256sum <"$work/disc.iso" | cut -d" " -f1)"
browse "$work/disc.iso" dir/sub/Case "$(fact $folder/expected.json 'facts["trees"]["disk"]["dir/sub/Case"][1]')"

echo; echo "3. A partitioned disk with two FAT filesystems"
folder=fixtures/partitions/mbr/usb-stick
unpack $folder/stick.img.xz >"$work/stick.img"
show "$work/stick.img" "$(fact $folder/expected.json 'facts["raw"][1]')"
browse "$work/stick.img" p1/readme.txt "$(fact $folder/expected.json 'facts["trees"]["p1"]["readme.txt"][1]')"

rm "$work/disc.iso" "$work/stick.img"
for _ in 1 2 3 4 5 6 7 8 9 10; do # the daemons remove their mount points when the kernel has let go
    [ -n "$(ls -A "$work")" ] || break
    sleep 0.1
done
if [ -n "$(ls -A "$work")" ] || grep -q "$work" /proc/mounts; then
    echo "leftovers in $work" >&2
    exit 1
fi
printf '\nNothing is left behind. All of it was right.\n'
