"""A double click: the image is mounted where file managers show it, its folder opened, a failure told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_programs import FakePrograms
from fixture import unpack
from helpers import FIXTURES, SRC
from imgmount.cli.main import main
from imgmount.fuse import mountpoint

ISO = FIXTURES / "filesystems/iso9660"


class Desktop:
    """A home, and a desktop whose programs note how they are called."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.programs = FakePrograms(folder / "bin")
        self.programs.add("xdg-open", "notify-send")
        self.home.mkdir()
        self.environment = os.environ | {
            "PYTHONPATH": SRC,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home),
            "DISPLAY": ":7",
            "PATH": f"{self.programs.folder}:{os.environ.get('PATH', os.defpath)}",
        }

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "imgmount", *map(str, words)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=self.environment
        )

    def run(self, *words: str | Path) -> tuple[int | None, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    desktop = Desktop(tmp_path)
    yield desktop
    for path in [*desktop.home.iterdir(), *desktop.home.glob("imgmount/*")]:
        if os.path.ismount(path):
            subprocess.run(["fusermount3", "-u", "-z", str(path)], check=True)


@pytest.fixture
def disc(desktop: Desktop) -> Path:
    packed = next(ISO.glob("*/joliet.iso.xz"))
    unpack(packed, desktop.home / "disc.iso")
    return desktop.home / "disc.iso"


def test_a_double_click_mounts_and_the_next_opens_what_is_mounted(desktop: Desktop, disc: Path) -> None:
    code, out, err = desktop.run("--open", "--notify", disc)
    target = Path(out.strip())
    assert (code, err, target.parent) == (0, "", desktop.home)
    assert any(target.iterdir())
    assert desktop.programs.calls() == [["xdg-open", str(target)]]
    assert desktop.run("--open", "--notify", disc) == (0, "", "")
    assert desktop.programs.calls() == [["xdg-open", str(target)]] * 2
    assert desktop.run("-u", "--notify", disc) == (0, "", "")


def test_two_clicks_at_once_mount_once(desktop: Desktop, disc: Path) -> None:
    clicks = [desktop.start("--open", disc) for _ in range(2)]
    outputs = [click.communicate(timeout=60) for click in clicks]
    assert [click.returncode for click in clicks] == [0, 0]
    (target,) = filter(None, (out.strip() for out, _ in outputs))
    assert desktop.programs.calls(2) == [["xdg-open", target]] * 2


def test_another_view_and_another_place_are_new_mounts(desktop: Desktop, disc: Path) -> None:
    assert desktop.run("--open", disc)[0] == 0
    code, out, _ = desktop.run("--open", "--raw", disc)
    assert (code, Path(out.strip()) / "disk.raw") == (0, desktop.home / "disc" / "disk.raw")
    assert desktop.run("--open", disc, desktop.home / "elsewhere") == (0, "", "")
    assert [call[-1] for call in desktop.programs.calls(3)][1:] == [
        str(desktop.home / "disc"), str(desktop.home / "elsewhere"),
    ]  # fmt: skip


def test_the_folder_is_called_after_the_volume_or_the_image(desktop: Desktop, disc: Path) -> None:
    label = subprocess.run(
        ["blkid", "-o", "value", "-s", "LABEL", str(disc)], capture_output=True, text=True, check=True
    )
    assert desktop.run(disc)[1] == f"{desktop.home / label.stdout.strip()}\n"
    assert desktop.run("--raw", disc)[1] == f"{desktop.home / 'disc'}\n"


def test_all_that_the_user_has_mounted_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = [os.getuid(), 4242, os.getuid()]
    table = "".join(
        f"9{number} 22 0:4{number} / /mnt/{number} ro - fuse.imgmount /{number}.iso ro,user_id={owner}\n"
        for number, owner in enumerate(owners)
    )
    (tmp_path / "mountinfo").write_text(table)
    monkeypatch.setattr(mountpoint, "MOUNTINFO", tmp_path / "mountinfo")
    let_go: list[Path] = []
    monkeypatch.setattr(mountpoint, "detach", lambda target, **_: let_go.append(target))
    assert main(["-u", "--all"]) == 0
    assert let_go == [Path("/mnt/2"), Path("/mnt/0")]


def test_a_failure_is_shown(desktop: Desktop) -> None:
    broken = desktop.home / "broken.vhdx"
    broken.write_bytes(b"vhdxfile" + bytes(4096))
    code, out, err = desktop.run("--open", "--notify", broken)
    assert (code, out) == (2, "")
    (call,) = desktop.programs.calls()
    assert call[0] == "notify-send"
    assert call[-2] == "broken.vhdx: failed"
    assert call[-1] in err


def test_what_is_shown_raw_is_explained(desktop: Desktop) -> None:
    unknown = desktop.home / "unknown.img"
    unknown.write_bytes(b"x" * 4096)
    code, out, _ = desktop.run("--open", "--notify", unknown)
    assert code == 0
    assert [path.name for path in Path(out.strip()).iterdir()] == ["disk.raw"]
    told, opened = desktop.programs.calls(2)
    assert told[-2:] == ["unknown.img", "no known filesystem: raw view"]
    assert opened == ["xdg-open", out.strip()]


def test_a_password_is_asked_for_in_a_window(desktop: Desktop) -> None:
    image = next((FIXTURES / "containers/encrypted").glob("*/disk.dmg.xz"))
    unpack(image, desktop.home / "disk.dmg")
    code, _, err = desktop.run("--open", desktop.home / "disk.dmg")
    assert (code, "password" in err) == (2, True)
    desktop.programs.add("zenity", says="wrong\n")
    code, _, err = desktop.run("--open", "--notify", desktop.home / "disk.dmg")
    assert code == 2
    *windows, told = desktop.programs.calls(4)
    titles = [title for program, what, title in windows if (program, what) == ("zenity", "--password")]
    again = "--title=That was wrong. Password of disk.dmg"
    assert titles == ["--title=Password of disk.dmg", again, again]
    assert told[-2] == "disk.dmg: failed"


def test_what_cannot_be_unmounted_is_told(desktop: Desktop, disc: Path) -> None:
    code, _, err = desktop.run("-u", "--notify", disc)
    assert (code, err) == (1, f"imgmount: {disc}: is not mounted by imgmount\n")
    assert desktop.programs.calls()[0][-1] == f"{disc}: is not mounted by imgmount"


def test_it_stays_in_front_or_opens_a_window(desktop: Desktop, disc: Path) -> None:
    code, _, err = desktop.run("--open", "--foreground", disc)
    assert (code, "not allowed with" in err) == (1, True)


def test_nothing_to_unmount_is_a_usage_error(desktop: Desktop) -> None:
    code, _, err = desktop.run("-u")
    assert (code, err) == (1, "imgmount: -u takes mount points or images, or --all\n")
