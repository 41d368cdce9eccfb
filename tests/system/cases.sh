#!/bin/bash
# Runs as root under the systemd of a box. "== NAME" begins each case; the test reads the lines below it.
# Set before this: PYTHON, SRC (the folder of the package), UNITS (that of the shipped units), ISO (xz of a disc with a file).

case_() { echo "== $*"; }
eventually() { # COMMAND: until it succeeds
    for _ in {1..300}; do eval "$1" &> /dev/null && return; sleep 0.1; done
    echo "never so: $1"
}
visitor() (
    setpriv --reuid visitor --regid visitor --init-groups env -i HOME=/home/visitor PATH=/usr/bin:/bin XDG_RUNTIME_DIR=/run/user/4242 "$@"
)
visitor_looks() { visitor cat "$1/dir/sub/Case" | sha256sum | cut -c1-8; }
look() { sha256sum < "$1/dir/sub/Case" | cut -c1-8; }
mounted() { grep " $1 .* - fuse.imgmount" /proc/self/mountinfo | cut -d" " -f6,9-; } # findmnt would look, and keep it in use
state() { systemctl show -p ActiveState -p Result --value "$@" | paste -sd' '; }
daemon() { pgrep -f "mount.fuse.imgmount .* $1 "; }
program() { # PATH FUNCTION: what pip makes of an entry point
    mkdir -p "${1%/*}"
    printf '#!%s\nimport sys\nsys.path.insert(0, "%s")\nfrom imgmount.cli.main import %s as run\nsys.exit(run())\n' "$PYTHON" "$SRC" "$2" > "$1"
    chmod 755 "$1"
}

case_ up
useradd --create-home --uid 4242 visitor
for file in "$PYTHON" "$(realpath "$PYTHON")" "$SRC"; do # a visitor can run what lies in root's home, in this copy
    while [ "$file" != / ]; do file=$(dirname "$file"); chmod o+rx "$file" 2> /dev/null; done
done
program /usr/sbin/mount.fuse.imgmount main_helper
program /home/visitor/.local/bin/imgmount main
mkdir -p /srv/images /mnt/{auto,disc,hand,user,theirs}
xz -dc "$ISO" > /srv/images/disc.iso
cp /srv/images/disc.iso "/home/visitor/my disc-1.iso"
chown visitor /mnt/user
cat >> /etc/fstab <<'FSTAB'
/srv/images/disc.iso /mnt/auto fuse.imgmount noauto,x-systemd.automount,x-systemd.idle-timeout=2,allow_other,auto_unmount 0 0
/srv/images/disc.iso /mnt/hand fuse.imgmount noauto,allow_other,uid=visitor,gid=games,umask=077 0 0
/srv/images/disc.iso /mnt/user fuse.imgmount noauto,user 0 0
/srv/images/disc.iso /mnt/theirs fuse.imgmount noauto,user 0 0
FSTAB
cp "$UNITS"/mnt-disc.* /etc/systemd/system/
systemctl daemon-reload
systemctl start user@4242
systemctl --version | head -1

case_ fstab automount
systemctl start mnt-auto.automount
echo "before: $(systemctl is-active mnt-auto.mount)"
echo "first look: $(look /mnt/auto)"
echo "mounted: $(mounted /mnt/auto)"
eventually '[ -z "$(mounted /mnt/auto)" ]'
eventually "! pgrep -f imgmount"
echo "idle: $(state mnt-auto.mount)"
echo "next look: $(look /mnt/auto)"
systemctl stop mnt-auto.automount mnt-auto.mount

case_ shipped pair
systemctl start mnt-disc.automount
echo "a visitor looks: $(visitor_looks /mnt/disc)"
echo "state: $(state mnt-disc.mount)"
grep -E "NoNewPrivs|Seccomp:" "/proc/$(daemon /mnt/disc)/status" | paste -sd' ' | tr '\t' ' '
systemctl stop mnt-disc.mount 2> /dev/null # it says that the automount still waits
echo "stopped: $(state mnt-disc.mount)"

case_ killed daemon of a mount unit
ls /mnt/disc > /dev/null
kill -9 "$(daemon /mnt/disc)"
eventually '[ "$(systemctl is-active mnt-disc.mount)" != active ]'
echo "the unit: $(state mnt-disc.mount)"
echo "next look: $(look /mnt/disc)"
systemctl stop mnt-disc.automount mnt-disc.mount

case_ mount DIR
mount /mnt/hand
echo "exit $?: $(mounted /mnt/hand)"
stat -c "%U %G %A" /mnt/hand/a

case_ remount
mount -o remount,ro /mnt/hand
echo "exit $?"
mount -o remount,noexec /mnt/hand
echo "exit $?: $(mounted /mnt/hand)"
mount -o remount,frobnicate /mnt/hand
echo "exit $?: $(look /mnt/hand)"
umount /mnt/hand
echo "umount: exit $? $(mounted /mnt/hand)"

case_ subtype
mount -t fuse.imgmount -o subtype=imgmount /srv/images/disc.iso /mnt/hand
echo "exit $?: $(look /mnt/hand)"
umount /mnt/hand

case_ an option without its value
mount -t fuse.imgmount -o snapshot /srv/images/disc.iso /mnt/hand
echo "exit $? $(mounted /mnt/hand)"

case_ user mounts
visitor mount /mnt/user
echo "exit $?: $(visitor_looks /mnt/user)"
mounted /mnt/user
visitor umount /mnt/user
echo "umount: exit $? $(mounted /mnt/user)"
visitor mount /mnt/theirs
echo "exit $?"

case_ a user without systemd
imgmount() { visitor /home/visitor/.local/bin/imgmount "$@"; }
imgmount --idle-timeout 1s "/home/visitor/my disc-1.iso" /home/visitor/idle
echo "exit $?: $(visitor_looks /home/visitor/idle)"
eventually '[ ! -e /home/visitor/idle ]'
sed -i '/^user_allow_other/d' /etc/fuse.conf
imgmount -o allow_other "/home/visitor/my disc-1.iso" /home/visitor/shared
echo "exit $?"
echo user_allow_other >> /etc/fuse.conf
imgmount -o allow_other "/home/visitor/my disc-1.iso" /home/visitor/shared
echo "exit $?: root looks: $(look /home/visitor/shared)"
imgmount -u /home/visitor/shared
echo "exit $?"

case_ user service
install -D -m 644 -o visitor "$UNITS/imgmount@.service" -t /home/visitor/.config/systemd/user
unit="imgmount@$(systemd-escape --path "/home/visitor/my disc-1.iso").service"
place="/run/user/4242/imgmount-$(systemd-escape --path "/home/visitor/my disc-1.iso")"
user() { visitor systemctl --user "$@"; }
facts() { user show -p Type -p ActiveState -p Result -p ExecMainStatus -p NRestarts "${1:-$unit}" | sort | paste -sd' '; }
gone() { visitor ls -d "$place" 2>&1 | grep -o "No such file.*"; }
user daemon-reload
user start "$unit"
echo "start: exit $?: $(facts): $(visitor_looks "$place")"
user stop "$unit"
echo "stop: exit $?: $(facts): $(gone)"

case_ user service unmounted by hand
user start "$unit"
visitor fusermount3 -u "$place"
eventually '[ "$(user is-active "$unit")" = inactive ]'
facts

case_ user service killed
user start "$unit"
kill -9 "$(user show -p MainPID --value "$unit")"
eventually '[ "$(user show -p NRestarts --value "$unit")" = 1 ] && user is-active "$unit"'
echo "$(facts): $(visitor_looks "$place")"
journalctl -q -o cat | grep -o "Main process exited, code=killed, status=9/KILL"
user stop "$unit"
echo "stop: $(facts): $(gone)"

case_ user service of no image
bad="imgmount@$(systemd-escape --path /srv/images/none.iso).service"
user start "$bad" 2> /dev/null
echo "exit $?: $(facts "$bad")"
journalctl -q -o cat -t imgmount | grep none.iso

case_ left behind
pgrep -af imgmount
mounted ".*"
systemctl list-units --failed --no-legend --plain | grep -E "mnt-|imgmount"
journalctl -q -o cat | grep Traceback
