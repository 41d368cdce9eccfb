"""The sizes and places of what goes over the line, against what linux/fuse.h says."""

from __future__ import annotations

import stat
import struct

from imgmount.core.node import Stat
from imgmount.fuse import protocol as p

FACTS = Stat(stat.S_IFREG | 0o640, 5000, 2 * p.NS + 3, 4 * p.NS + 5, -p.NS // 2, 7, 8, 9, 10, 600)
US = (1000, 1001)


def attributes(facts: Stat, **owner: int) -> p.Attributes:
    wanted = {"uid": None, "gid": None, "umask": None, **owner}
    return p.Owner(**wanted, ours=US).attributes(facts, 77)


def test_structures_have_the_sizes_of_the_kernels() -> None:
    sizes = {
        p.IN_HEADER: 40, p.OUT_HEADER: 16, p.INIT_OUT: 64, p.OPEN_OUT: 16, p.STATFS_OUT: 80, p.XATTR_OUT: 8
    }  # fmt: skip
    assert {layout: layout.size for layout in sizes} == sizes
    assert len(p.attr_out(attributes(FACTS))) == 104
    assert len(p.entry_out(1, attributes(FACTS))) == len(p.NO_ENTRY) == p.ENTRY_SIZE == 128
    for length, size in ((1, 32), (8, 32), (9, 40)):
        assert len(p.bare_direntplus(b"x" * length, 1, 1)) == 128 + size
        assert len(p.direntplus(b"x" * length, 1, 1, attributes(FACTS))) == 128 + size


def test_attributes_in_the_order_of_struct_fuse_attr() -> None:
    ino, size, blocks, atime, mtime, ctime, *rest = attributes(FACTS)
    assert (ino, size, blocks) == (77, 5000, 2)
    assert (atime, mtime) == (4, 2)
    assert struct.pack("=Q", ctime) == struct.pack("=q", -1)  # before 1970
    assert rest == [5, 3, p.NS // 2, stat.S_IFREG | 0o640, 9, 7, 8, 10, 4096, 0]


def test_times_that_are_not_known() -> None:
    written = Stat(stat.S_IFREG, mtime_ns=5 * p.NS + 1)
    assert attributes(written)[3:9] == (5, 5, 5, 1, 1, 1)
    born = written._replace(birth_ns=3 * p.NS + 2)
    assert attributes(born)[3:9] == (5, 5, 3, 1, 1, 2)


def test_statx_in_the_order_of_struct_fuse_statx() -> None:
    known = p.statx_out(attributes(FACTS), birth_ns=6 * p.NS + 7)
    assert len(known) == 32 + 256
    mask, blksize, _, nlink, uid, gid, mode = struct.unpack_from("=IIQIIIH", known, 32)
    assert (mask, blksize, nlink, uid, gid, mode) == (0xFFF, 4096, 9, 7, 8, stat.S_IFREG | 0o640)
    assert struct.unpack_from("=QQQ", known, 64) == (77, 5000, 2)
    times = [struct.unpack_from("=qI", known, place) for place in range(96, 160, 16)]
    assert times == [(4, 5), (6, 7), (-1, p.NS // 2), (2, 3)]
    assert struct.unpack_from("=II", known, 160) == (0, 10)
    assert struct.unpack_from("=I", p.statx_out(attributes(FACTS), None), 32) == (0x7FF,)


def test_whose_files_are() -> None:
    unknown = Stat(0o100666)
    assert attributes(unknown)[9:13] == (0o100666, 1, *US)
    assert attributes(unknown._replace(uid=5, gid=6))[9:13] == (0o100666, 1, 5, 6)
    assert attributes(unknown._replace(uid=5), uid=0, gid=3, umask=0o27)[9:13] == (0o100640, 1, 0, 3)


def test_an_entry_of_a_listing() -> None:
    known = p.direntplus(b"name", 3, 9, attributes(FACTS))
    assert known[:128] == p.entry_out(9, attributes(FACTS))
    assert struct.unpack_from("=QQII", known, 128) == (77, 3, 4, stat.S_IFREG >> 12)
    assert known[152:] == b"name\0\0\0\0"
    bare = p.bare_direntplus(b"..", 2, 5, stat.S_IFDIR)
    assert bare[:128] == p.NO_ENTRY
    assert struct.unpack_from("=QQII", bare, 128) == (5, 2, 2, stat.S_IFDIR >> 12)
