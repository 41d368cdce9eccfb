"""Where an image is mounted that is given no mount point, and under what name."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from select import select

import pytest

from helpers import SRC
from imgmount.errors import MountError
from imgmount.fuse import mountpoint, places
from imgmount.fuse.places import default_target, folder_name, is_listed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder can be written to: root, who runs many tests, may write anywhere."""
    monkeypatch.setattr("os.access", lambda *_: False)


@pytest.mark.parametrize("listed", [False, True])
def test_the_place_is_beside_the_image(listed: bool, home: Path) -> None:
    assert default_target(home / "game.wux", "", listed=listed) == home / "game"
    assert default_target(home / "disk", "", listed=listed) == home / "disk files"
    assert default_target(home / "game.wux", "A label", listed=listed) == home / "A label"
    (home / "game").mkdir()
    assert default_target(home / "game.wux", "", listed=listed) == home / "game (1)"


@pytest.mark.parametrize("folder", ["elsewhere", "home/.cache"])
def test_where_nobody_would_see_it_a_desktop_gets_another_place(
    folder: str, home: Path, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    image = tmp_path / folder / "game.wux"
    assert default_target(image, "", listed=False) == image.parent / "game"
    assert not (home / "imgmount").exists()
    assert default_target(image, "", listed=True) == home / "imgmount" / "game"
    assert (home / "imgmount").is_dir()


def test_where_the_folder_cannot_be_written_to_the_home_is_next(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != tmp_path)
    assert default_target(tmp_path / "game.wux", "", listed=False) == home / "imgmount" / "game"


@pytest.mark.usefixtures("_nowhere")
def test_where_nothing_can_be_written_to_a_mount_point_is_asked_for(home: Path) -> None:
    with pytest.raises(
        MountError, match=f"give a mount point.* may not write to {home} nor to {home}/imgmount"
    ):
        default_target(home / "game.wux", "", listed=True)


def test_a_place_made_for_mounts_goes_with_the_last_of_them(home: Path) -> None:
    targets = [default_target(Path("/tmp/game.wux"), label, listed=True) for label in ("one", "two")]
    for target in targets:
        mountpoint.prepare(target)
    mountpoint.discard(targets[0])
    assert list(home.iterdir()) == [home / "imgmount"]
    mountpoint.discard(targets[1])
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "listed"),
    [
        ("~", True),
        ("~/Downloads", True),
        ("~/.local", False),
        ("/media/stick", True),
        ("/run/media/me/disc", True),
        ("/tmp", False),
        ("/media/.hidden/x", False),
        ("/mediatheque", False),
    ],
)
def test_the_rule_of_file_managers(place: str, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert is_listed(Path(place).expanduser()) is listed


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Debian 12.2.0 amd64 n", "Debian 12.2.0 amd64 n"),
        ("../../etc", "_.._etc"),
        ("a/b:c\\d*?", "a_b_c_d__"),
        (".hidden", "hidden"),
        ("line\nend\x1b[31m\u202e", "line end_[31m_"),
        ("  blanks \t inside  ", "blanks inside"),
        ("ÄÖÜ 日本語", "ÄÖÜ 日本語"),
        ("undecodable \udcff", "undecodable _"),
        ("x" * 200, "x" * 60),
        ("///", ""),
        ("..", ""),
        ("", ""),
    ],
)
def test_a_label_is_made_the_name_of_a_folder(label: str, name: str) -> None:
    assert folder_name(label) == name


def test_an_image_is_found_where_it_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    lines = [
        f"9{number} 22 0:4{number} / {tmp_path}/{name} ro - fuse.imgmount {source} ro"
        for number, (name, source) in enumerate(
            [("old", "/a.iso"), ("new", "/a.iso"), ("of a dead daemon", "/a.iso"), ("old", "/b.iso")]
        )
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines).replace("of a dead daemon", "dead") + "\n")
    monkeypatch.setattr(mountpoint, "MOUNTINFO", tmp_path / "mountinfo")
    assert places.mounted_at(Path("/a.iso")) == tmp_path / "new"
    assert places.mounted_at(Path("/c.iso")) is None


def test_only_the_same_image_waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    script = "import sys; from pathlib import Path; from imgmount.fuse.places import one_at_a_time\n"
    script += "with one_at_a_time(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": os.environ | {"PYTHONPATH": SRC}}
    with ExitStack() as stack:
        first, other, second = (
            stack.enter_context(subprocess.Popen([*words, image], **pipes))  # type: ignore[call-overload]
            for image in ("/a.iso", "/b.iso", "/a.iso")
        )
        running = [first, second]
        assert other.stdout.readline() == b"in\n"
        ready, _, _ = select([process.stdout for process in running], [], [], 10)
        waiting = next(process for process in running if process.stdout not in ready)
        assert select([waiting.stdout], [], [], 0.2)[0] == []
        next(process for process in running if process is not waiting).stdin.close()
        assert waiting.stdout.readline() == b"in\n"
        for process in (other, waiting):
            process.stdin.close()
