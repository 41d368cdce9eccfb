from __future__ import annotations

import struct
from pathlib import Path

import pytest

from helpers import FIXTURES, context
from imgmount.containers.nintendo.nfs import FORMAT
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, KeyRequiredError

FOLDER = FIXTURES / "containers/nfs/wii"
FILES = {path.name: path.read_bytes() for path in FOLDER.glob("*.nfs")}
FIRST = "hif_000000.nfs"
OVERLAP = struct.pack(">5I", 2, 0, 2, 1, 1)
KEY = (FOLDER / "htk.bin").read_bytes()


def opened(files: dict[str, bytes], **keys: bytes) -> BlockDevice:
    given = context(files, keys=keys)._replace(path=Path(FIRST))
    return FORMAT.open(MemoryDevice(files[FIRST]), given)


def test_the_key_is_needed_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(
        KeyRequiredError, match=r"looked for htk\.bin or nfs\.key beside the image, code/htk\.bin"
    ):
        opened(FILES)
    with pytest.raises(KeyRequiredError, match="is wrong"):
        opened(FILES, nfs=bytes(16))
    assert opened(FILES, nfs=KEY).pread(0, 6) == b"RIMP01"


def test_a_missing_file_costs_its_blocks() -> None:
    device = opened({FIRST: FILES[FIRST]}, nfs=KEY)
    assert device.pread(0, 6) == b"RIMP01"
    with pytest.raises(ImageError):
        device.pread(device.size - 1, 1)


@pytest.mark.parametrize("ranges", [b"\0\0\0\0", b"\0\0\0\x3e", b"\0\0\0\1\xff\xff\xff\xff\0\0\0\1", OVERLAP])
def test_ranges_that_lie(ranges: bytes) -> None:
    data = FILES[FIRST]
    with pytest.raises((FormatError, KeyRequiredError)):
        opened({FIRST: data[:0x10] + ranges + data[0x10 + len(ranges) :]}, nfs=KEY)
