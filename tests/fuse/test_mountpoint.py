"""Folders to mount on."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmount.errors import MountError
from imgmount.fuse import mountpoint


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert mountpoint.prepare(tmp_path / "new") is True
    assert mountpoint.prepare(tmp_path / "new") is False


def test_what_cannot_be_a_mount_point_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target, reason in (
        (tmp_path / "file", "is not a directory"),
        (tmp_path, "is not empty"),
        (tmp_path / "a/b", f"cannot be created: there is no folder {tmp_path}/a"),
    ):
        with pytest.raises(MountError, match=f"{target}.*{reason}"):
            mountpoint.prepare(target)


def test_the_mount_table_is_read_as_the_kernel_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n"
        "90 22 0:43 / /mnt/with\\040blank ro,nosuid,nodev shared:9 - fuse.imgmount /a\\040b\\134c,d.iso ro,user_id=0\n"
        "91 22 0:44 / /mnt/other ro - fuse.sshfs host: rw\n"
    )
    monkeypatch.setattr(mountpoint, "MOUNTINFO", table)
    (mount,) = mountpoint.mounts()
    assert (mount.source, mount.target, mount.device) == ("/a b\\c,d.iso", Path("/mnt/with blank"), "0:43")
    assert mountpoint.find(Path("/mnt/with blank")) == mount
    with pytest.raises(MountError, match="is not mounted"):
        mountpoint.find(Path("/mnt/other"))


@pytest.mark.parametrize(
    ("kinds", "taken"), [(["autofs"], False), (["autofs", "ext4"], True), (["ext4"], True)]
)
def test_an_automount_that_waits_is_no_mount(
    kinds: list[str], taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a b"
    target.mkdir()
    where = str(target).replace(" ", r"\040")
    lines = [f"36 25 0:{n} / {where} rw - {kind} source rw" for n, kind in enumerate(kinds)]
    (tmp_path / "mountinfo").write_text(
        "".join(f"{line}\n" for line in ["1 1 0:1 / / rw - ext4 / rw", *lines])
    )
    monkeypatch.setattr(mountpoint, "MOUNTINFO", tmp_path / "mountinfo")
    monkeypatch.setattr("os.path.ismount", lambda _: True)
    if taken:
        with pytest.raises(MountError, match="something is mounted there already"):
            mountpoint.prepare(target)
    else:
        assert mountpoint.prepare(target) is False
