"""What cannot be a disk is not shown as one, unless it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgmount.chain.likeness import why_no_disk
from imgmount.cli.main import main
from imgmount.core.slices import MemoryDevice

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (README.read_bytes()[:4096], "it is text"),
        ("ä\n".encode() * 2048, "it is text"),
        ("aä\n".encode() * 2048, "it is text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "its 1008 bytes are no whole sectors"),
        (b"#!/bin/sh\n" + bytes(502), ""),
        (b"\xff\n" * 256, ""),
        (b"U" * 512, ""),
        (bytes(683 * 256), ""),
    ],
)
def test_why_no_disk(data: bytes, reason: str) -> None:
    assert why_no_disk(MemoryDevice(data)) == reason


def test_a_text_is_no_disk_but_has_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(README)]) == 2
    said = f"{README}: no disk image: it is text; --raw shows the bytes as they are"
    assert capsys.readouterr() == ("", f"imgmount: {said}\n")
    for view in ("raw", "all"):
        assert main(["ls", "--view", view, str(README)]) == 0
        assert capsys.readouterr().out.startswith("disk.raw\n")


def test_noise_of_whole_sectors_may_be_a_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(1024).replace(b"\n", b"\0"))
    assert main(["ls", str(tmp_path / "noise")]) == 0
    assert capsys.readouterr().out == "disk.raw\n"
    assert main(["ls", "--view", "tree", str(tmp_path / "noise")]) == 2
    assert "no known filesystem; --raw shows" in capsys.readouterr().err
