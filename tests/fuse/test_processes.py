"""Which process serves a mount, and which ones keep it busy."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import FIXTURES, SRC
from imgmount.cli.main import main
from imgmount.fuse import processes
from imgmount.fuse.mountpoint import mounts
from imgmount.fuse.processes import Process, holders, servers

WUX = FIXTURES / "containers/wux/plain/game.wux"


def imgmount(*words: str, cwd: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "imgmount", *words],
        check=True, capture_output=True, text=True, timeout=30, cwd=cwd, env=os.environ | {"PYTHONPATH": SRC},
    ).stdout  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Holds an image that is mounted twice: in ``a folder``, and where no mount point is named."""
    (tmp_path / "game.wux").write_bytes(WUX.read_bytes())
    (tmp_path / "link").symlink_to(".")
    imgmount("--raw", "game.wux", "link/a folder", cwd=tmp_path)
    imgmount("game.wux", "--view=raw", cwd=tmp_path)
    yield tmp_path
    for mount in mounts():
        if mount.target.parent == tmp_path:
            subprocess.run(["fusermount3", "-u", "-z", str(mount.target)], check=False)


def test_every_daemon_is_known_however_it_was_called(folder: Path) -> None:
    listed = json.loads(imgmount("list", "--json", cwd=folder))
    own = {
        mount["mountpoint"]: mount["pid"] for mount in listed if mount["image"] == str(folder / "game.wux")
    }
    assert own.keys() == {str(folder / "a folder"), str(folder / "game")}
    for target, pid in own.items():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert (b"link/a folder" in words) == target.endswith("a folder")
        assert b"game.wux" in words


def test_who_keeps_a_mount_busy_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "a folder"
    with subprocess.Popen(["sleep", "60"], cwd=target) as sleeper, (target / "disk.raw").open("rb") as file:
        try:
            assert main(["-u", str(target)]) == 1
            said = capsys.readouterr().err
            assert said.startswith(f"imgmount: {target}: ")
            assert f"sleep ({sleeper.pid})" in said
            assert f"({os.getpid()})" in said
            assert said.endswith("; -l detaches it now and ends it when they are done\n")
            mapped = mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ)
        finally:
            sleeper.kill()
    assert [process.pid for process in holders(target)] == [os.getpid()]
    mapped.close()
    assert list(holders(target)) == []
    assert main(["-u", str(target), str(folder / "absent"), str(folder / "game")]) == 1
    assert capsys.readouterr().err == f"imgmount: {folder}/absent: is not mounted by imgmount\n"
    assert not any(mount.target.parent == folder for mount in mounts())


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    return tmp_path


def process(proc: Path, pid: int, name: str, **links: str) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    for place, target in links.items():
        (proc / str(pid) / place.replace("fd", "fd/")).symlink_to(target)


def test_only_paths_in_the_mount_count(proc: Path) -> None:
    process(proc, 1, "inside", cwd="/mnt/x/y")
    process(proc, 2, "there", fd3="/home", fd4="/mnt/x")
    process(proc, 3, "beside", cwd="/mnt/xy", fd3="/mnt", fd4="socket:[1]")
    (proc / "4").mkdir()  # it ends just now
    assert sorted(holders(Path("/mnt/x"))) == [Process(1, "inside"), Process(2, "there")]


def test_a_process_of_another_user_is_no_server(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = proc / "mountinfo"
    line = "40 22 0:51 / /mnt/a ro - fuse.imgmount /image ro,user_id={}\n"
    monkeypatch.setattr("imgmount.fuse.mountpoint.MOUNTINFO", table)
    process(proc, 7, "imgmount:51")
    process(proc, 8, "imgmount:5")
    table.write_text(line.format(os.getuid()))
    assert servers(list(mounts())) == {"0:51": 7}
    table.write_text(line.format(os.getuid() + 1))
    assert servers(list(mounts())) == {}
