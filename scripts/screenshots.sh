#!/bin/sh
# Uses imgmount in pcmanfm and thunar on a display that nobody sees: double clicks, thumbnails, eject, failures. Checks what
# happens, and takes the pictures of docs/desktop.md. Nothing outside of a temporary home is touched.
#
# Debian 12: apt install xvfb openbox xdotool x11-utils imagemagick pcmanfm thunar tumbler dbus udisks2 gvfs notification-daemon
#     libfm-modules libnotify-bin xdg-utils desktop-file-utils shared-mime-info adwaita-icon-theme fonts-dejavu-core genisoimage librsvg2-common optipng
#
# usage: screenshots.sh [IMGMOUNT [PICTURES]]
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
imgmount=${1:-$here/.venv/bin/imgmount}
pictures=${2:-$here/docs/screenshots}

if [ -z "${IMGMOUNT_SCREENSHOTS-}" ]; then # outside: a session of its own around this script
    scratch=$(mktemp -d)
    home=$scratch/anna
    mkdir -m 700 "$home" "$scratch/run"
    mkdir -p "$pictures"
    trap 'fusermount3 -uzq "$home/Images/Holiday 2024" || true; rm -rf "$scratch"' EXIT
    code=0
    env -u WAYLAND_DISPLAY -u XDG_CURRENT_DESKTOP -u XDG_DATA_HOME -u XDG_CONFIG_HOME \
        HOME="$home" XDG_RUNTIME_DIR="$scratch/run" LC_ALL=C.UTF-8 IMGMOUNT_SCREENSHOTS=1 \
        xvfb-run -a -s "-screen 0 800x500x24" dbus-run-session -- "$0" "$imgmount" "$pictures" || code=$?
    exit $code
fi

say() { echo "$@" >&2; }
die() { say "FAILED: $*"; exit 1; }

# eventually COMMAND...: until it succeeds, for half a minute at most
eventually() {
    for _ in $(seq 120); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.25
    done
    die "$@"
}

mounted() { grep -q "$HOME.* fuse.imgmount " /proc/self/mounts; }
unmounted() { ! mounted; }
window() { xdotool search --onlyvisible --name "$1"; }
picture() {
    sleep 2 # for thumbnails, and for windows to be drawn
    import -window root "$pictures/$1.png"
    mogrify -colors 128 -strip "$pictures/$1.png"
    optipng -quiet "$pictures/$1.png"
    say "took $1.png"
}
click() { # click X Y [TIMES] [BUTTON]
    xdotool mousemove "$1" "$2"
    sleep 0.3
    xdotool click --repeat "${3:-1}" --delay 120 "${4:-1}"
}
place() { # place WINDOW: where all pictures expect it
    id=$(window "$1" | tail -n 1)
    xdotool windowactivate --sync "$id" windowmove "$id" 10 10 windowsize "$id" 780 470
    sleep 1
}

# the home: three images, of which one is damaged
mkdir -p "$HOME/.config/gtk-3.0" "$HOME/Images" "$HOME/made"
printf '[Settings]\ngtk-icon-theme-name=Adwaita\n' > "$HOME/.config/gtk-3.0/settings.ini"
printf 'gtk-icon-theme-name="Adwaita"\n' > "$HOME/.gtkrc-2.0"
for colour in blue green red; do
    convert -size 320x240 gradient:$colour-black -fill white -pointsize 60 -gravity center -annotate 0 "$colour" "$HOME/made/$colour.png"
done
cp "$here/README.md" "$HOME/made/"
genisoimage -quiet -J -R -V "Holiday 2024" -o "$HOME/Images/pictures.iso" "$HOME/made"
cp "$here/fixtures/containers/wux/plain/game.wux" "$HOME/Images/game.wux"
printf vhdxfile > "$HOME/Images/broken.vhdx"
truncate -s 1M "$HOME/Images/broken.vhdx"
rm -r "$HOME/made"

"$imgmount" --install-desktop
# file managers ask udisks what is mounted; one of our own on our own bus knows nothing else
export DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS"
dbus-update-activation-environment DBUS_SYSTEM_BUS_ADDRESS
/usr/libexec/udisks2/udisksd &
openbox &
/usr/lib/notification-daemon/notification-daemon &

[ -z "${DESK_SHELL-}" ] || exec "$DESK_SHELL"

folder="$HOME/Images/Holiday 2024"

say "== pcmanfm"
xdg-mime default pcmanfm.desktop inode/directory
pcmanfm "$HOME/Images" &
manager=$!
eventually window '^Images$'
place '^Images$'
click 405 135 2 # pictures.iso
eventually mounted
eventually window 'Holiday 2024'
picture pcmanfm
click 148 250 # eject
eventually unmounted
[ ! -e "$folder" ] || die "the mount point is still there"
click 312 135 1 3 # game.wux
picture pcmanfm-menu
xdotool key Escape
click 218 135 2 # broken.vhdx
eventually xdotool search --onlyvisible --class notification-daemon
picture failure
unmounted || die "a damaged image is mounted"
kill $manager

say "== thunar"
xdg-mime default thunar.desktop inode/directory
thunar "$HOME/Images" &
eventually window '^Images - Thunar'
place '^Images - Thunar'
click 414 150 2 # pictures.iso
eventually mounted
eventually window '^Holiday 2024 - Thunar'
place '^Holiday 2024 - Thunar'
picture thunar
"$imgmount" --open --notify "$HOME/Images/pictures.iso" # once more: nothing new is mounted
[ "$(grep -c "$HOME.* fuse.imgmount " /proc/self/mounts)" = 1 ] || die "a second click has mounted again"
place '^Images - Thunar'
click 171 294 # eject
eventually unmounted
[ ! -e "$folder" ] || die "the mount point is still there"
thunar --quit
"$imgmount" --uninstall-desktop
say "all as it should be"
