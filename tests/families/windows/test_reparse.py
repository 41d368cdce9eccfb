"""Links of Windows, as they read on POSIX: none leads out."""

from __future__ import annotations

import posixpath
import struct

import pytest

from imgmount.errors import FormatError
from imgmount.families.windows import names, reparse, security
from imgmount.families.windows.attributes import OFFLINE


def symlink(target: str, *, relative: bool = False) -> reparse.Point:
    raw = target.encode("utf-16-le", "surrogatepass")
    return reparse.Point(reparse.SYMLINK, struct.pack("<HHHHI", 0, len(raw), 0, 0, relative) + raw)


def junction(target: str) -> reparse.Point:
    raw = target.encode("utf-16-le")
    return reparse.Point(reparse.MOUNT_POINT, struct.pack("<HHHH", 2, len(raw), 0, 0) + b"\0\0" + raw)


@pytest.mark.parametrize(
    ("point", "inside", "expected"),
    [
        (symlink("..\\file", relative=True), False, "../file"),
        (symlink("sub\\.\\file", relative=True), False, "sub/./file"),
        (symlink("..\\..\\..\\..\\etc", relative=True), True, "../../etc"),
        (symlink("link\\..\\..\\..\\..\\etc", relative=True), True, "../../etc"),
        (symlink("\\dir\\x", relative=True), False, "../../dir/x"),
        (symlink("/etc/passwd", relative=True), False, "../../etc/passwd"),
        (symlink("\\??\\C:\\etc\\passwd"), True, "../../etc/passwd"),
        (symlink("\\??\\C:\\etc\\passwd"), False, "C:/etc/passwd"),
        (symlink("\\??\\C:\\..\\..\\etc"), True, "../../etc"),
        (symlink("\\??\\D:\\..\\..\\etc"), False, "D:/etc"),
        (symlink("C:"), True, "../.."),
        (symlink("\\??\\UNC\\server\\share"), True, "UNC/server/share"),
        (symlink("\\\\server\\share"), True, "UNC/server/share"),
        (symlink("", relative=True), True, "."),
        (symlink("a\0b", relative=True), True, "a\\x00b"),
        (symlink("a\ud800b", relative=True), True, "a\\ud800b"),
        (junction("\\??\\C:\\Users\\"), True, "../../Users"),
        (junction("\\??\\Volume{01-02}\\x"), True, "Volume{01-02}/x"),
        (reparse.Point(reparse.LX_SYMLINK, b"\2\0\0\0../../../etc"), True, "../../etc"),
        (reparse.Point(reparse.LX_SYMLINK, b"\2\0\0\0/etc"), True, "../../etc"),
    ],
)
def test_targets(point: reparse.Point, inside: bool, expected: str) -> None:
    target = reparse.posix_target(point, 2, lambda _: inside, "any")
    assert target == expected
    target.encode("utf-8", "surrogateescape")
    assert not posixpath.normpath(f"/mnt/a/b/{target}").startswith(("/etc", ".."))
    assert posixpath.normpath(posixpath.join("/mnt/a/b", target)).startswith("/mnt")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 7, struct.pack("<HHHH", 0, 9, 0, 0), struct.pack("<HHHHI", 9, 9, 0, 0, 0)]
)
def test_points_that_are_cut(data: bytes) -> None:
    for tag in (reparse.SYMLINK, reparse.MOUNT_POINT):
        with pytest.raises(FormatError):
            reparse.posix_target(reparse.Point(tag, data), 0, lambda _: True, "any")
    with pytest.raises(FormatError):
        reparse.parse(data[:7], "any")


def test_a_target_of_odd_length() -> None:
    point = reparse.Point(reparse.SYMLINK, struct.pack("<HHHHI", 0, 3, 0, 0, 1) + b"a\0b")
    assert reparse.posix_target(point, 0, lambda _: True, "any") == "a"


def test_the_header_and_the_name_of_a_point() -> None:
    assert reparse.parse(struct.pack("<IHH", 7, 2, 0) + b"abc", "any") == (7, b"ab")
    assert reparse.name(reparse.WOF) == "a compressed file, or a pointer into a WIM"
    assert reparse.name(0x9000_301A) == "a cloud file"
    assert reparse.name(0x1234) == "a reparse point 0x00001234"
    assert reparse.is_elsewhere(0x8000_0013, 0)
    assert reparse.is_elsewhere(0x9000_301A, OFFLINE)
    assert not reparse.is_elsewhere(0x9000_301A, 0)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        ("a/b", "a\\x2fb"),
        ("a\0b", "a\\x00b"),
        ("a\\b", "a\\x5cb"),
        (".", "\\x2e"),
        ("..", "\\x2e\\x2e"),
        ("...", "..."),
        ("half \ud83d", "half \\ud83d"),
        ("\udc80", "\\udc80"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert names.shown(name) == shown
    assert names.decode(name.encode("utf-16-le", "surrogatepass")) == name


def test_owners_of_a_security_descriptor() -> None:
    administrators = bytes.fromhex("01020000000000052000000020020000")
    system = bytes.fromhex("010100000000000512000000")
    head = struct.pack("<BBHIIII", 1, 0, 0x8000, 20, 36, 0, 0)
    assert security.owners(head + administrators + system) == ("S-1-5-32-544", "S-1-5-18")
    assert security.owners(head + administrators) == ("S-1-5-32-544", "")
    assert security.owners(head[:19]) == ("", "")
    assert security.owners(struct.pack("<BBHIIII", 1, 0, 0, 0, 0xFFFF_FFFF, 0, 0) + system) == ("", "")
