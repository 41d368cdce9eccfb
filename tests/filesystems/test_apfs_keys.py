"""FileVault: passwords and recovery keys, what is locked, and keybags that lie."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import Any
from uuid import UUID

import pytest

from conformance import check_device
from filesystems.apfs_containers import (
    BLOCK,
    container,
    find,
    folder,
    item,
    many,
    opened,
    problems,
    read,
    writer,
)
from imgmount.core.node import Directory, File
from imgmount.errors import ChecksumError, FormatError, ImageError, KeyRequiredError, UnsupportedError
from imgmount.filesystems.apfs.keybag import parse_blob

RECOVERY = UUID("EBC6C064-0000-11AA-AA11-00306543ECAC").bytes
KEY = "ABCD-EFGH-1234-5678-ABCD-EFGH"
SECRET = hashlib.sha256(b"secret").digest() * 3000


def volume(name: str = "Secret", **facts: Any) -> Any:
    items = [
        item("secret", SECRET, scatter=3),
        folder("d"),
        item("d/sparse", runs=[(5, SECRET[:5000])], size=40_001),
    ]
    return writer().Volume(name, [*items, *many(200)], **facts)


def test_each_password_and_the_recovery_key_unlock() -> None:
    data = container(
        volume(passwords=[(None, "one"), (None, "zwö"), (RECOVERY, KEY)], hint="numbers")
    ).build()
    for password in ("one", "zwö", KEY, KEY.replace("-", "").lower(), f" {KEY}\t"):
        filesystem = opened(data, (password,))
        assert read(filesystem, "secret") == SECRET
    assert problems(filesystem) == []
    assert len(list(filesystem.root.entries())) == 202
    with pytest.raises(KeyRequiredError, match=r"the password is wrong \(hint: 'numbers'\)"):
        opened(data, ("two",))
    with pytest.raises(
        KeyRequiredError, match=r"its password or recovery key is needed.*\(hint: 'numbers'\)"
    ):
        opened(data)


@pytest.mark.parametrize("skew", [0, 1000])
def test_encrypted_content_however_it_is_read(skew: int) -> None:
    filesystem = opened(container(volume(password="pw", crypto_skew=skew)).build(), ("pw",))
    for path, expected in (
        ("secret", SECRET),
        ("d/sparse", (bytes(5 * BLOCK) + SECRET[:5000]).ljust(40_001, b"\0")),
    ):
        node = find(filesystem, path)
        assert isinstance(node, File)
        content = node.open()
        check_device(content, expected)
    assert [run.device is None for run in content.extents(0, 40_001)] == [True, False, True]


def test_volumes_with_passwords_of_their_own() -> None:
    plain = writer().Volume("Plain", [item("a", b"plain")])
    data = container(plain, volume("One", password="1"), volume("Two", password="2", short=True)).build()
    both = opened(data, ("1", "2"))
    assert read(both, "One/secret") == read(both, "Two/secret") == SECRET
    assert problems(both) == []
    one = opened(data, ("1",))
    assert read(one, "Plain/a") == b"plain"
    assert read(one, "One/secret") == SECRET
    locked = find(one, "Two")
    assert isinstance(locked, Directory)
    for _ in range(2):
        with pytest.raises(KeyRequiredError, match="volume 'Two' is encrypted: the password is wrong"):
            list(locked.entries())
    assert "volume 'Two'" in one.info()["volume 3"]
    assert any("Two" in problem for problem in problems(one))
    none = opened(data)
    assert read(none, "Plain/a") == b"plain"


def test_keys_that_hardware_keeps_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="only the hardware that wrote it has"):
        opened(container(volume(password="pw"), software=False).build(), ("pw",))
    with pytest.raises(UnsupportedError, match="a key for each file"):
        opened(container(volume(password="pw", flags=0)).build(), ("pw",))
    made = container(volume(password="pw"))
    made.keybag = lambda: made.bag([], made.uuid, 0x6B657973)
    with pytest.raises(UnsupportedError, match="the keybag has no key of it"):
        opened(made.build(), ("pw",))


@pytest.mark.parametrize("rounds", [2**32, 2**64, 2**70, 10_000_001])
def test_counts_of_rounds_that_would_take_for_ever(rounds: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"takes {rounds} rounds") as caught:
        opened(container(volume(password="pw", rounds=rounds)).build(), ("pw",) * 3)
    assert "10000000" in str(caught.value)


def test_another_record_may_do_where_one_is_damaged() -> None:
    made = container(volume(passwords=[(None, "one"), (None, "two")]))
    bag = made.bag

    def spoilt(entries: list[Any], key: bytes, kind: int) -> Any:
        if kind == 0x72656373:
            owner, tag, data = entries[0]
            entries = [(owner, tag, data[:-1] + bytes([data[-1] ^ 1])), *entries[1:]]
        return bag(entries, key, kind)

    made.bag = spoilt
    data = made.build()
    assert read(opened(data, ("two",)), "secret") == SECRET
    with pytest.raises(KeyRequiredError):
        opened(data, ("one",))


def wild(head: bytes) -> bytes:
    """A container whose keybag has something else behind its header."""
    made = container(volume(password="pw"))
    whole = writer()

    def bag() -> tuple[int, int]:
        block = int(made.take())
        made.put(block, whole.xts(2 * made.uuid, whole.obj(head, 0, 1, 0x6B657973), block * 8))
        return block, 1

    made.keybag = bag
    return bytes(made.build())


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<HHI8x", 2, 65535, 4000),
        struct.pack("<HHI8x", 2, 1024, 4000),
        struct.pack("<HHI8x", 2, 1, 2**32 - 1),
        struct.pack("<HHI8x", 1, 1, 40),
        struct.pack("<HHI8x", 2, 1, 40) + struct.pack("<16sHH4x", bytes(16), 2, 65535),
        struct.pack("<HHI8x", 2, 200, 4000) + struct.pack("<16sHH4x", bytes(16), 2, 20) * 160,
    ],
)
def test_keybags_of_wild_lengths(head: bytes) -> None:
    with pytest.raises(FormatError, match="keybag"):
        opened(wild(head), ("pw",))


@pytest.mark.parametrize("extent", [(70, 0), (70, 2**63), (2**63, 1), (70, 257), (2**40, 256), (0, 1)])
def test_places_of_keybags_outside_the_image(extent: tuple[int, int]) -> None:
    made = container(volume(password="pw"))
    made.keybag = lambda: extent
    with pytest.raises((FormatError, UnsupportedError)):
        opened(made.build(), ("pw",))


def test_blobs_that_are_cut_or_changed_are_never_taken() -> None:
    whole = writer().blob(writer().der(0xA3, writer().der(0x84, b"\1"), writer().der(0x85, b"salt")))
    assert parse_blob(whole).rounds == 1
    for end in range(len(whole)):
        with pytest.raises(FormatError):
            parse_blob(whole[:end])
    for at in range(len(whole)):
        if at in range(2, 5):  # a version, which nobody reads
            continue
        with pytest.raises(FormatError):
            parse_blob(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    with pytest.raises(FormatError, match="a length of 9 bytes"):
        parse_blob(b"\x30\x89" + bytes(20))


def test_a_damaged_block_of_an_encrypted_tree_is_told_by_its_checksum() -> None:
    data = bytearray(container(volume(password="pw")).build())
    filesystem = opened(data, ("pw",))
    where = filesystem.slots[0].view.volume.objects  # type: ignore[union-attr]
    block = where.find(filesystem.slots[0].super.root_tree, 99).block  # type: ignore[union-attr]
    data[block * BLOCK + os.getpid() % BLOCK] ^= 1
    with pytest.raises(ChecksumError, match="the tree of files"):
        opened(data, ("pw",))


def test_password_files_have_a_password_a_line(tmp_path: Any) -> None:
    from imgmount.cli.main import main

    image, passwords = tmp_path / "image", tmp_path / "passwords"
    image.write_bytes(container(volume("One", password="1"), volume("Two", password="2")).build())
    passwords.write_bytes(b"1\r\n2\r\n\r\n")
    with pytest.raises(ImageError):
        opened(image.read_bytes())
    assert main(["verify", "--password-file", str(passwords), str(image)]) == 0
    passwords.write_bytes(b"2\n")
    assert main(["verify", "--password-file", str(passwords), str(image)]) == 2
