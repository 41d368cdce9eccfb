"""The state of the log of NTFS: restart pages by the specification, and ntfs-3g's opinion of them."""

from __future__ import annotations

import logging
import struct
import subprocess
from pathlib import Path

import pytest

from filesystems.ntfs_images import load, patched, volume
from helpers import tool
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.check import check
from imgmount.filesystems.ntfs.logfile import State, log_state

PAGE = 4096
NO_CLIENT = 0xFFFF
UNCLEAN = 15  # the exit code of ntfs-3g.probe


def restart_page(size: int, newest: int, *, client: int, flags: int = 0) -> bytes:
    """A restart page of NTFS 3.1 whose log has ``size`` bytes and one client, NTFS."""
    area = struct.pack(
        "<QHHHHIHHQIHHII",
        *(
            newest,
            1,
            NO_CLIENT if client == 0 else 0,
            client,
            flags,
            67 - size.bit_length(),
            0x30 + 160,
            0x30,
        ),
        *(size, 0, 0x30, 0x40, 1, 0),
    )
    name = "NTFS".encode("utf-16-le")
    record = struct.pack("<QQHHH6xI", newest, newest, NO_CLIENT, NO_CLIENT, 0, len(name)) + name.ljust(
        128, b"\0"
    )
    head = struct.pack("<4sHHQIIHHH", b"RSTR", 0x1E, 9, 0, PAGE, PAGE, 0x30, 1, 1)
    page = bytearray((head.ljust(0x30, b"\0") + area + record).ljust(PAGE, b"\0"))
    page[0x1E:0x20] = b"\1\0"
    for stride in range(1, 9):
        page[0x1E + 2 * stride : 0x20 + 2 * stride] = page[512 * stride - 2 : 512 * stride]
        page[512 * stride - 2 : 512 * stride] = b"\1\0"
    return bytes(page)


def with_log(pages: bytes) -> bytes:
    data = load("plain")
    opened = volume(data)
    stream = opened.stream(opened.mft.record(2), records.DATA)
    assert stream is not None
    (run, *_) = opened.content(stream).extents(0, len(pages))
    return patched(data, (run.offset, pages))


def log_size() -> int:
    opened = volume(load("plain"))
    stream = opened.stream(opened.mft.record(2), records.DATA)
    assert stream is not None
    return stream.size


@pytest.mark.parametrize(
    ("clients", "flags", "state", "code"),
    [
        ((NO_CLIENT, NO_CLIENT), 0, State.CLEAN, 0),
        ((0, NO_CLIENT), 0, State.CLEAN, 0),  # the second page is the newer one
        ((NO_CLIENT, 0), 0, State.OPEN, UNCLEAN),
        ((0, 0), 2, State.CLEAN, 0),
    ],
)
def test_the_newer_restart_page_decides(
    clients: tuple[int, int], flags: int, state: State, code: int, tmp_path: Path
) -> None:
    size = log_size()
    pages = b"".join(
        restart_page(size, 0x1000 + number, client=client, flags=flags)
        for number, client in enumerate(clients)
    )
    data = with_log(pages)
    assert volume(data).log_state is state
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    probed = subprocess.run([tool("ntfs-3g.probe"), "--readwrite", disk], check=False, capture_output=True)
    assert probed.returncode == code


def test_a_log_with_entries_is_told(caplog: pytest.LogCaptureFixture) -> None:
    page = restart_page(log_size(), 0x1000, client=0)
    with caplog.at_level(logging.WARNING):
        opened = volume(with_log(page + page))
    assert "what was written last may be missing" in caplog.text
    assert opened.info()["log"] == "has entries that are not replayed"
    assert "the log has entries that are not replayed" in list(check(opened))


def test_a_damaged_log_is_told() -> None:
    assert log_state(MemoryDevice(b"\xff" * 8192)) is State.EMPTY
    assert log_state(MemoryDevice(bytes(8192))) is State.DAMAGED
    page = bytearray(restart_page(1 << 22, 5, client=NO_CLIENT))
    page[1022] ^= 1
    assert log_state(MemoryDevice(bytes(page) * 2)) is State.DAMAGED
    assert log_state(MemoryDevice(bytes(page) + restart_page(1 << 22, 4, client=NO_CLIENT))) is State.CLEAN
    assert log_state(MemoryDevice(b"")) is State.DAMAGED
