from __future__ import annotations

import hashlib

import pytest

from conformance import manifest
from helpers import FIXTURES, context, wrong
from imgmount.chain.open import open_image
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.logical_evidence import FORMAT, Ltree

L01 = FIXTURES / "filesystems/ltree/l01/files.L01"
DATA = bytes(range(256)) * 40
TAGS = "n\tp\tls\tbe\tdu\twr\tha"


class Evidence(MemoryDevice):
    """A container with a list."""

    def __init__(
        self, *entries: str, tags: str = TAGS, before: str = "rec\ntb\n10240\n\n", after: str = ""
    ) -> None:
        super().__init__(DATA)
        self.text = f"5\n{before}entry\n{len(entries)}\t1\n{tags}\n" + "\n".join(entries) + f"\n\n{after}"

    def catalog(self) -> bytes:
        return b"\xff\xfe" + self.text.encode("utf-16-le", "surrogatepass")


def opened(*entries: str, **parts: str) -> Ltree:
    return Ltree(Evidence(*entries, **parts), context())


def content(tree: Ltree, name: str) -> bytes:
    node = tree.root.lookup(name)
    assert isinstance(node, File)
    with node.open() as device:
        assert device.size == node.stat().size
        return device.pread(0, device.size)


def test_times_digests_and_checks() -> None:
    with open_image(L01) as found:
        volume = found.whole
        assert volume is not None
        drive = volume.filesystem.root.lookup("C")
        assert isinstance(drive, Directory)
        node = drive.lookup("small.txt")
        assert node.stat()[1:5] == (17, 1700000004 * 10**9, 1700000003 * 10**9, 1700000002 * 10**9)
        assert node.xattrs() == {"user.md5": hashlib.md5(b"Hello, evidence.\n").hexdigest().encode()}
        assert wrong(volume.check()) == []


def test_the_category_may_come_first() -> None:
    tree = opened("0\t1", "", "0\t0", "a\t\t4\t1 10 4", before="", after="srce\n0\t1\np\tn\n0\t0\n\t\n\n")
    assert content(tree, "a") == DATA[16:20]


def test_files_in_pieces() -> None:
    tree = opened(
        "0\t6", "",
        "0\t0", "pieces\t\t300\t2 a 64 400 c8",
        "0\t0", "more than needed\t\t5\t1 10 14",
        "0\t0", "one byte\t\t5000\t1 7 1",
        "0\t0", "copy\t\t100\t1 0 1\t64",
        "0\t0", "none\t\t0\t",
        "0\t0", "line\1tab\3\t\t1\t1 0 1",
    )  # fmt: skip
    assert content(tree, "pieces") == DATA[10:110] + DATA[1024:1224]
    assert content(tree, "more than needed") == DATA[16:21]
    assert content(tree, "one byte") == b"\7" * 5000
    assert content(tree, "none") == b""
    assert content(tree, "line\ntab\t") == DATA[:1]


def test_wrong_digests_are_told() -> None:
    tree = opened(
        "0\t2",
        "",
        "0\t0",
        f"a\t\t4\t1 0 4\t\t\t{'5' * 32}",
        "0\t0",
        f"b\t\t4\t1 0 4\t\t\t{hashlib.md5(DATA[:4]).hexdigest()}",
    )
    (problem,) = wrong(tree.verify())
    assert problem.startswith("MD5 of /a is ")


@pytest.mark.parametrize(
    ("extents", "error"),
    [
        ("1 0 4", FormatError), ("", FormatError), ("1 0", FormatError), ("9 0 64", FormatError), ("1 zz 64", FormatError),
        ("1 ffffffffffffffffffff 64", FormatError), ("1 -5 64", FormatError), ("1 S 0 64", UnsupportedError),
        ("1 3fffffffffffffff 64", ImageError), ("1 27ff 64", ImageError),
    ],
)  # fmt: skip
def test_hostile_extents_cost_their_file(extents: str, error: type[Exception]) -> None:
    tree = opened("0\t2", "", "0\t0", f"bad\t\t100\t{extents}", "0\t0", "good\t\t4\t1 0 4")
    with pytest.raises(error):
        content(tree, "bad")
    assert content(tree, "good") == DATA[:4]


@pytest.mark.parametrize("size", ["-1", "99999999999999999999", "x", "", "\u0663"])
def test_hostile_sizes(size: str) -> None:
    tree = opened("0\t1", "", "0\t0", f"a\t\t{size}\t1 0 4")
    assert tree.root.lookup("a").stat().size in (0, 3)


@pytest.mark.parametrize(
    "entries",
    [
        (), ("0\t1", ""), ("0\t9999999999", "", "0\t0", "a"), ("x", ""), ("0\t-1", ""), ("0\t\u00b2", ""),
        tuple(line for _ in range(3000) for line in ("0\t1", "a")),
    ],
)  # fmt: skip
def test_trees_that_do_not_end(entries: tuple[str, ...]) -> None:
    with pytest.raises(FormatError):
        opened(*entries)


def test_no_entries_and_other_devices() -> None:
    with pytest.raises(FormatError, match="no category"):
        opened("0\t0", "", tags=TAGS).__class__(_Other(), context())
    assert not FORMAT.probe(MemoryDevice(DATA))


class _Other(Evidence):
    def catalog(self) -> bytes:
        return "rec\ntb\n1\n".encode("utf-16-le")


def test_a_damaged_list_is_refused() -> None:
    data = bytearray(L01.read_bytes())
    at = data.index("small.txt".encode("utf-16-le"))
    data[at] ^= 1
    from imgmount.containers.evidence.ewf import open_ewf

    with pytest.raises(FormatError, match="list of files is damaged"):
        open_ewf(MemoryDevice(bytes(data)), context())


def test_a_lone_half_of_a_pair_is_no_obstacle() -> None:
    tree = opened("0\t1", "", "0\t0", "a\ud800b\t\t1\t1 0 1")
    assert list(manifest(tree.root)) == ["a\ufffdb"]
