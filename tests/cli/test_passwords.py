"""What is encrypted, opened with the right password, a wrong one and none: three outcomes that a script can tell apart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from fixture import all_fixtures, unpack
from helpers import FIXTURES
from imgmount.cli.main import main

IMAGES = ("encrypted/aes128", "encrypted/aes256", "encrypted/version1", "sparsebundle/encrypted")


def sparse_image(version: int, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sparse image in an encrypted image, as hdiutil writes encrypted sparse images."""
    monkeypatch.syspath_prepend(FIXTURES / "containers")
    writer: Any = importlib.import_module("apple_sparse")
    unpack(FIXTURES / "containers/sparseimage/indexes/disk.sparseimage.xz", scratch / "plain")
    plain = (scratch / "plain").read_bytes()
    if version == 1:
        tail, aes, mac = writer.trailer1(len(plain), 4096)
        data = writer.blocks(plain, aes, mac, 4096) + tail
    else:
        head, aes, mac = writer.header2(len(plain), 128, 4096, 0x1000)
        data = head.ljust(0x1000, b"\0") + writer.blocks(plain, aes, mac, 4096)
    (scratch / "disk.sparseimage").write_bytes(data)
    return scratch / "disk.sparseimage"


def outcomes(
    path: Path, right: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[int], list[str], list[str]]:
    """(codes, outputs, error texts) with the right password, a wrong one, none."""
    found = []
    for password in (right, "wrong", None):
        monkeypatch.delenv("IMGMOUNT_PASSWORD", raising=False)
        if password is not None:
            monkeypatch.setenv("IMGMOUNT_PASSWORD", password)
        found.append((main(["ls", str(path)]), *capsys.readouterr()))
    codes, outputs, errors = map(list, zip(*found, strict=True))
    return codes, outputs, errors


def fixture_image(name: str, scratch: Path) -> Path:
    return next(one for one in all_fixtures() if f"{one.format}/{one.variant}" == name).image_path(scratch)


@pytest.mark.parametrize("name", [*IMAGES, "sparse image 1", "sparse image 2"])
def test_an_encrypted_image_has_three_outcomes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in IMAGES:
        path = fixture_image(name, tmp_path)
    else:
        path = sparse_image(int(name[-1]), tmp_path, monkeypatch)
    codes, outputs, errors = outcomes(path, "correct horse", monkeypatch, capsys)
    assert codes == [0, 2, 2]
    assert outputs == ["disk.raw\n", "", ""]
    assert "the password is wrong" in errors[1]
    assert "needs a password" in errors[2]
    assert [len(error.splitlines()) for error in errors[1:]] == [1, 1]


def test_filevault_has_three_outcomes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The image opens in any case: beside a locked volume there may be others. What is locked is told."""
    path = fixture_image("apfs/encrypted", tmp_path)
    codes, outputs, _ = outcomes(path, "two", monkeypatch, capsys)
    assert codes == [0, 0, 0]
    assert "secret" in outputs[0].split()
    assert outputs[1:] == ["disk.raw\n"] * 2
    wrong, none = caplog.messages
    assert "volume 'Secret' is encrypted: the password is wrong (hint: 'numbers'): raw view" in wrong
    assert "volume 'Secret' is encrypted: its password or recovery key is needed" in none
