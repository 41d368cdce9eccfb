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

show() { # IMAGE EXPECTED.JSON
    run imgmount info "$1"
    run imgmount --raw "$1" "$work/raw"
    run ls -l "$work/raw"
    same "$work/raw/disk.raw" "$(fact "$2" 'facts["raw"][1]')"
    run umount "$work/raw"
}

browse() { # IMAGE EXPECTED.JSON VOLUME FOLDER FILE
    run imgmount "$1" "$work/tree"
    run ls -lR "$work/tree"
    run cat "$work/tree/$4$5"
    same "$work/tree/$4$5" "$(fact "$2" "facts['trees']['$3']['$5'][1]")"
    run umount "$work/tree"
}

echo "1. A Wii U disc image"
folder=fixtures/containers/wux/plain
show $folder/game.wux $folder/expected.json

echo; echo "2. An ISO 9660 disc"
folder=fixtures/filesystems/iso9660/rockridge
show $folder/disc.iso $folder/expected.json
browse $folder/disc.iso $folder/expected.json disk "" README.txt

echo; echo "3. A partitioned disk with two FAT filesystems"
folder=fixtures/partitions/mbr/usb-stick
xz -dkc $folder/disk.img.xz >"$work/disk.img"
show "$work/disk.img" $folder/expected.json
browse "$work/disk.img" $folder/expected.json p1 p1/ readme.txt

rm "$work/disk.img"
for _ in 1 2 3 4 5 6 7 8 9 10; do # the daemons remove their mount points when the kernel has let go
    [ -n "$(ls -A "$work")" ] || break
    sleep 0.1
done
if [ -n "$(ls -A "$work")" ] || grep -q "$work" /proc/mounts; then
    echo "leftovers in $work" >&2
    exit 1
fi
printf '\nNothing is left behind. All of it was right.\n'
