"""Encrypted images: the right password, a wrong one, none; hostile headers; the question on a terminal."""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES, context, image
from imgmount.chain.open import open_image
from imgmount.cli.options import add_image_arguments, open_from
from imgmount.containers.apple.encrypted import FORMAT
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, KeyRequiredError, PasswordRequiredError, UnsupportedError

ENCRYPTED = FIXTURES / "containers" / "encrypted"
VARIANTS = ("aes128", "aes256", "version1")
OTHERS = {
    "sparse/openwall__john-samples__testimage.AES-128.64k.header_v1.sparseimage": "vilefault",
    "sparse/openwall__john-samples__testimage.AES-128.64k.header_v2.sparseimage": "vilefault",
    "sparse/openwall__john-samples__testimage.AES-128.64k.header_v1.sparsebundle": "vilefault",
    "sparse/openwall__john-samples__testimage.AES-128.64k.header_v2.sparsebundle": "vilefault",
    "dmg/openwall__john-samples__testimage.AES-128.64k.header_v1.dmg": "vilefault",
    "dmg/openwall__john-samples__HFS+-UDRW-openwall-data.dmg": "openwall",
    "dmg/sparkle-project__Sparkle__SparkleTestCodeSignApp.enc.dmg": "testpass",
}


def fixture(variant: str, scratch: Path) -> Path:
    unpack(ENCRYPTED / variant / "disk.dmg.xz", scratch / "disk.dmg")
    return scratch / "disk.dmg"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_wrong_password_and_none_are_told_apart(variant: str, tmp_path: Path) -> None:
    path = fixture(variant, tmp_path)
    with pytest.raises(PasswordRequiredError, match=r"(?m)needs a password \(AES-\d+\)$"):
        open_image(path)
    with pytest.raises(KeyRequiredError, match="the password is wrong") as caught:
        open_image(path, Options(password="correct Horse"))
    assert not isinstance(caught.value, PasswordRequiredError)


@pytest.mark.parametrize("name", OTHERS)
def test_other_peoples_images_have_three_outcomes(name: str) -> None:
    path = image(name)
    with pytest.raises(PasswordRequiredError):
        open_image(path)
    with pytest.raises(KeyRequiredError, match="the password is wrong"):
        open_image(path, Options(password=OTHERS[name] + "?"))
    with open_image(path, Options(password=OTHERS[name])) as found:
        assert found.table in ("gpt", "apm")


def test_no_wrong_password_is_taken_for_the_right_one(tmp_path: Path) -> None:
    """Padding alone is right once in 256 times."""
    head = fixture("aes128", tmp_path).read_bytes()
    quick = bytearray(head)
    struct.pack_into(">I", quick, 0x108, 1)  # one round
    for number in range(600):
        with pytest.raises(KeyRequiredError, match="the password is wrong"):
            FORMAT.open(MemoryDevice(bytes(quick)), context(password=f"{number}"))


@pytest.mark.parametrize(
    ("offset", "value", "error", "said"),
    [
        (0x108, 0xFFFFFFFF, UnsupportedError, "rounds"),
        (0x108, 0, UnsupportedError, "rounds"),
        (0x100, 99, UnsupportedError, "made by 99"),
        (0x08, 7, UnsupportedError, "version 7"),
        (0x34, 513, FormatError, "block size 513 is not a power of two from 512 to 64 KiB"),
        (0x18, 64, UnsupportedError, "64 bits"),
        (0x48, 0xFFFFFFFF, FormatError, "number of keys .* is not from 0 to 64"),
        (0x48, 1, UnsupportedError, "only certificates"),
        (0x38, 0xFFFFFFFF, FormatError, "size of the data"),
        (0x164, 0xFFFFFFFF, FormatError, "size of a wrapped key"),
        (0x64, 0xFFFFFFFF, FormatError, "the image ends"),
    ],
)
def test_a_header_that_lies(
    offset: int, value: int, error: type[Exception], said: str, tmp_path: Path
) -> None:
    data = bytearray(fixture("aes128", tmp_path).read_bytes())
    struct.pack_into(">I", data, offset, value)
    with pytest.raises(error, match=said):
        FORMAT.open(MemoryDevice(bytes(data)), context(password="x"))


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0x30, 0xFFFFFFFF, UnsupportedError),
        (0x10, 0, FormatError),
        (0x88, 5000, FormatError),
        (0x34, 99, FormatError),
    ],
)
def test_a_trailer_that_lies(offset: int, value: int, error: type[Exception], tmp_path: Path) -> None:
    data = bytearray(fixture("version1", tmp_path).read_bytes())
    struct.pack_into(">I", data, len(data) - 0x4FC + offset, value)
    with pytest.raises(error):
        FORMAT.open(MemoryDevice(bytes(data)), context(password="x"))


def test_every_password_of_a_file_is_tried(tmp_path: Path) -> None:
    path = fixture("aes128", tmp_path)
    with open_image(path, Options(password="of another", spare_passwords=("correct horse",))) as found:
        assert found.disk.pread(0, 14) == b"sector 0000000"


def test_an_image_that_is_cut_gives_what_it_has(tmp_path: Path) -> None:
    path = fixture("aes128", tmp_path)
    with open_image(path, Options(password="correct horse")) as found:
        content = found.disk.pread(0, found.disk.size)
    with path.open("r+b") as file:
        file.truncate(0x1000 + 5 * 4096)
    with open_image(path, Options(password="correct horse")) as found:
        assert found.disk.pread(0, 5 * 4096) == content[: 5 * 4096]
        assert FORMAT.check(found.layers[-1].device)
        with pytest.raises(FormatError):
            found.disk.pread(5 * 4096, 1)


def test_a_password_is_asked_for_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    add_image_arguments(parser)
    monkeypatch.delenv("IMGMOUNT_PASSWORD", raising=False)
    args = parser.parse_args([str(fixture("aes128", tmp_path))])
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "correct horse"

    monkeypatch.setattr("getpass.getpass", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(PasswordRequiredError):
        open_from(args)
    assert not asked
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with open_from(args) as found:
        assert found.disk.pread(0, 14) == b"sector 0000000"
    assert asked == [f"Password of {tmp_path}/disk.dmg: "]
