#!/bin/bash
# A real systemd as process 1 over a throw-away copy of this machine:
#   boot.sh SCRIPT FOLDER...     runs SCRIPT inside as root, prints what it prints, and the box is gone.
# The FOLDERs are seen inside even if they lie on other file systems. Needs root, systemd-container, /dev/fuse and autofs.
set -eu
script=$(realpath "$1")
shift
exec unshare --mount --propagation private bash -eu -s "$script" "$@" <<'IN'
script=$1
shift
box=$(mktemp -d)
mount -t tmpfs -o size=2G box "$box"
mkdir "$box"/{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" box "$box/root"
mknod -m 666 "$box/fuse" c 10 229
mknod -m 600 "$box/autofs" c 10 235
binds=("--bind=$box/fuse:/dev/fuse" "--bind=$box/autofs:/dev/autofs")
for folder; do
    [ "$(stat -c %d "$folder")" = "$(stat -c %d /)" ] || binds+=("--bind-ro=$folder")
done

cd "$box/root"
systemd-id128 new > etc/machine-id
install -m 755 "$script" root/script
cat > etc/systemd/system/script.service <<UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/root/script > /root/out 2>&1'
ExecStopPost=/bin/systemctl poweroff --no-block
TimeoutStartSec=100
UNIT
mkdir -p etc/systemd/system/multi-user.target.wants
ln -s ../script.service etc/systemd/system/multi-user.target.wants/
for timer in lib/systemd/system/*.timer; do
    ln -sf /dev/null "etc/systemd/system/${timer##*/}"
done
timeout 110 systemd-nspawn --quiet --register=no --keep-unit --directory "$box/root" "${binds[@]}" --console=pipe \
    --capability=all --system-call-filter="mount umount2" --boot < /dev/null > "$box/console" 2>&1 || true
cat root/out 2> /dev/null || { echo "no systemd:"; tail -5 "$box/console"; }
cd /
umount -l "$box/root" "$box"
rmdir "$box"
IN
