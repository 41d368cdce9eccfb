"""What commands say of deleted files: that some of it is a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fatvolumes import record, small
from imgmount.cli.main import main

GUESS = "the first letter of its name is lost; its clusters follow each other"


@pytest.fixture
def disk(tmp_path: Path) -> str:
    dots = record(b".          ", 0x10, 9) + record(b"..         ", 0x10)
    root = record(b"\xe5LD     TXT", 0, 5, 600) + record(b"\xe5OLDER     ", 0x10, 9)
    path = tmp_path / "disk.img"
    path.write_bytes(small(root, {}, {5: b"old\n" * 150, 9: dots + record(b"INNER      ")}))
    return str(path)


def test_a_guess_is_told(disk: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--deleted", "-l", disk]) == 0
    assert f"_LD.TXT (a guess: {GUESS})" in capfd.readouterr().out
    assert main(["ls", "--deleted", "--json", "-R", disk]) == 0
    found = {entry["path"]: entry.get("guess") for entry in json.loads(capfd.readouterr().out)}
    assert found == {"/_LD.TXT": GUESS, "/_OLDER": None, "/_OLDER/INNER": None}
    assert main(["cat", "--deleted", disk, "/_LD.TXT"]) == 0
    told = capfd.readouterr()
    assert told.out == "old\n" * 150
    assert told.err == f"imgmount: /_LD.TXT: a guess: {GUESS}\n"
    assert main(["extract", "--deleted", disk, "-C", str(tmp_path)]) == 0
    assert f"/_LD.TXT: a guess: {GUESS}" in capfd.readouterr().err
    assert (tmp_path / "_OLDER" / "INNER").read_bytes() == b""
