"""Archives of files are named, with the program that opens them, and never shown as disks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers import context, tool
from imgmount.cli.main import main
from imgmount.core.format import Match
from imgmount.core.slices import MemoryDevice
from imgmount.errors import NotADiskError
from imgmount.filesystems.archive import FORMAT

CPIO = b"070701" + b"0" * 104
HEADS = {
    "zip": b"PK\3\4",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "rar": b"Rar!\x1a\x07\1\0",
    "cpio": CPIO,
    "deb": b"!<arch>\ndebian-binary   ",
    "ar": b"!<arch>\nx/      ",
    "rpm": b"\xed\xab\xee\xdb\3\0",
    "cabinet": b"MSCF\0\0\0\0",
    "xar": b"xar!\0\x1c\0\1",
    "ACE": bytes(7) + b"**ACE**",
    "StuffIt": b"SIT!\0\1\0\0\0\0rLau",
}


def reason(data: bytes) -> str:
    device = MemoryDevice(data.ljust(1024, b"\0"))
    assert FORMAT.probe(device) is Match.LIKELY
    with pytest.raises(NotADiskError) as caught:
        FORMAT.open(device, context())
    return str(caught.value)


@pytest.mark.parametrize("name", HEADS)
def test_the_name_is_that_which_file_has_for_it(name: str) -> None:
    done = subprocess.run(
        [tool("file"), "--brief", "-"], input=HEADS[name].ljust(1024, b"\0"), capture_output=True, check=True
    )
    theirs = {"7z": "7-zip", "deb": "debian binary package", "rpm": "rpm"}.get(name, name.lower())
    assert theirs in done.stdout.decode().lower()
    assert reason(HEADS[name]).startswith(f"a {name} archive of files, no disk image: ")


@pytest.mark.parametrize("packer", ["cat", "gzip", "xz", "zstd"])
def test_a_packed_tar_is_an_archive_too(
    packer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("text")
    tar = subprocess.run(
        [tool("tar"), "-c", "-C", str(tmp_path), "a"], capture_output=True, check=True
    ).stdout
    path = tmp_path / "a.packed"
    path.write_bytes(subprocess.run([tool(packer)], input=tar, capture_output=True, check=True).stdout)
    assert main(["ls", str(path)]) == 2
    said = f"{path}: a tar archive of files, no disk image: 'tar -xf' unpacks it; --raw shows the bytes as they are"
    assert capsys.readouterr() == ("", f"imgmount: {said}\n")
    assert main(["cat", "--raw", str(path), "disk.raw"]) == 0
    assert len(capsys.readouterr().out) == len(tar)


@pytest.mark.parametrize("data", [b"PK\3", b"-lh5-", b"07070", b"0\0-lh9-", bytes(300)])
def test_what_only_looks_alike_is_none(data: bytes) -> None:
    assert FORMAT.probe(MemoryDevice(data)) is Match.NO


def test_lha_is_known_by_its_method() -> None:
    assert reason(b"\x20\x30-lh5-").startswith("a LHA archive of files")
