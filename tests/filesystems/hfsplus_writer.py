"""A writer of HFS+ volumes, for what no tool at hand writes: compressed files, folder links, journals.

It follows TN1150 and shares no code with the reader. Linux, 7-Zip and libfshfs read what it writes, as far as
they know of it.
"""

from __future__ import annotations

import struct
import unicodedata
from dataclasses import dataclass, field

EPOCH = 2_082_844_800  # 1904 to 1970
CREATED, MODIFIED = EPOCH + 1_000_000_000, EPOCH + 1_100_000_000
PRIVATE_FILES = "\0\0\0\0HFS+ Private Data"
PRIVATE_FOLDERS = ".HFS+ Private Directory Data\r"
ROOT, EXTENTS, CATALOG, ALLOCATION, ATTRIBUTES = 2, 3, 4, 6, 8
HAS_ATTRIBUTES = 4  # flag of a record
MAP_ROOM = 256  # bytes of a header node that its map has not

Run = tuple[int, int]


def name_key(name: str) -> tuple[int, ...]:
    """How names sort where case does not count."""
    return tuple(0xFFFF if unit == 0 else unit for unit in struct_units(name.lower()))


def decomposed(name: str) -> str:
    """As Apple stores names: some ranges stay as they are."""
    kept = [range(0x2000, 0x3000), range(0xF900, 0xFB00), range(0x2F800, 0x2FB00)]
    parts = [
        char if any(ord(char) in one for one in kept) else unicodedata.normalize("NFD", char) for char in name
    ]
    return "".join(parts)


def struct_units(name: str) -> tuple[int, ...]:
    raw = name.encode("utf-16-be")
    return struct.unpack(f">{len(raw) // 2}H", raw)


def packed_name(name: str) -> bytes:
    raw = name.encode("utf-16-be")
    return struct.pack(">H", len(raw) // 2) + raw


@dataclass
class Fork:
    """Bytes, and how they are cut: a run of ``piece`` blocks, then a gap of one."""

    data: bytes = b""
    piece: int = 0
    runs: list[Run] = field(default_factory=list)
    size: int | None = None  # a lie

    def packed(self) -> bytes:
        blocks = sum(count for _, count in self.runs)
        size = len(self.data) if self.size is None else self.size
        head = struct.pack(">QII", size, 0, blocks)
        return head + b"".join(struct.pack(">II", *run) for run in self.runs[:8]).ljust(64, b"\0")


@dataclass
class FileFacts:
    """What a file's record has, until its forks have a place."""

    parent: int
    name: str
    number: int
    flags: int
    bsd: bytes
    finder: bytes
    forks: list[Fork]


def tree_file(
    records: list[tuple[bytes, bytes]], node: int, max_key: int, attributes: int, compare: int = 0
) -> bytes:
    """A B-tree of sorted (key, data). Without records it is a header alone."""
    nodes: list[tuple[int, int, list[bytes]]] = []  # kind, height, records
    level = [key + data for key, data in records]
    keys = [key for key, _ in records]
    height, depth, root = 1, 0, 0
    first = last = 0
    while level:
        start = 1 + len(nodes)
        groups: list[list[int]] = [[]]
        used = 14 + 2
        for n, record in enumerate(level):
            if groups[-1] and used + len(record) + 2 > node:
                groups.append([])
                used = 14 + 2
            groups[-1].append(n)
            used += len(record) + 2
        nodes += [(-1 if height == 1 else 0, height, [level[n] for n in group]) for group in groups]
        if height == 1:
            first, last = start, len(nodes)
        depth, root = height, start
        if len(groups) == 1:
            break
        keys = [keys[group[0]] for group in groups]
        level = [key + struct.pack(">I", start + n) for n, key in enumerate(keys)]
        height += 1
    total = len(nodes) + 1 + 4
    assert total <= (node - MAP_ROOM) * 8, "map nodes are not written"
    header = struct.pack(
        ">HIIIIHHIIHIBBI",
        depth,
        root,
        len(records),
        first,
        last,
        node,
        max_key,
        total,
        4,
        0,
        node,
        0,
        compare,
        attributes,
    )
    marks = sum(1 << (node - MAP_ROOM) * 8 - 1 - n for n in range(len(nodes) + 1))
    packed_map = marks.to_bytes(node - MAP_ROOM, "big")
    out = [packed_node(node, (0, 0), 1, 0, [header.ljust(106, b"\0"), bytes(128), packed_map])]
    for n, (kind, level_height, body) in enumerate(nodes, 1):
        same = [m for m in (n - 1, n + 1) if 0 < m <= len(nodes) and nodes[m - 1][1] == level_height]
        following, before = n + 1 if n + 1 in same else 0, n - 1 if n - 1 in same else 0
        out.append(packed_node(node, (following, before), kind, level_height, body))
    return b"".join(out) + bytes(4 * node)


def packed_node(size: int, links: tuple[int, int], kind: int, height: int, records: list[bytes]) -> bytes:
    starts = [14]
    for record in records:
        starts.append(starts[-1] + len(record))
    head = struct.pack(">IIbBHH", *links, kind, height, len(records), 0)
    body = head + b"".join(records)
    tail = b"".join(struct.pack(">H", start) for start in reversed(starts))
    assert len(body) + len(tail) <= size, "a node with too much in it"
    return body.ljust(size - len(tail), b"\0") + tail


class Volume:
    """A volume to be: add to it, then take ``image``."""

    def __init__(
        self, *, blocks: int = 1024, block: int = 4096, node: int = 4096, label: str = "Volume",
        hfsx: bool = False, binary: bool = False, catalog_piece: int = 0, journal: int = 0,
    ) -> None:  # fmt: skip
        self.blocks, self.block, self.node = blocks, block, node
        self.hfsx, self.binary = hfsx, binary
        self.catalog_piece = catalog_piece
        self.journal = journal
        self.next_id = 16
        self.files = 0
        self.records: list[tuple[tuple[int, str], bytes]] = []
        self.attributes: list[tuple[tuple[int, str, int], bytes | Fork]] = []
        self.overflow: list[tuple[tuple[int, int, int], bytes]] = []
        self.forks: list[tuple[int, int, Fork]] = []  # id, kind, fork
        self.valence: dict[int, int] = {}
        self.folders: list[tuple[int, int, str, bytes, bytes]] = []
        self.private: dict[str, int] = {}
        self.links: dict[int, int] = {}
        self.pending: list[FileFacts] = []
        self.folder(1, label, number=ROOT)

    def _number(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def folder(
        self,
        parent: int,
        name: str,
        *,
        number: int = 0,
        mode: int = 0o40755,
        finder: bytes = b"",
        special: int = 0,
    ) -> int:
        number = number or self._number()
        bsd = struct.pack(">IIBBHI", 501, 20, 0, 0, mode, special)
        self.folders.append((number, parent, name, bsd, finder.ljust(32, b"\0")))
        self.valence.setdefault(number, 0)
        self.valence[parent] = self.valence.get(parent, 0) + 1
        return number

    def file(
        self, parent: int, name: str, data: bytes = b"", resource: bytes = b"", *, number: int = 0,
        mode: int = 0o100644,
        finder: bytes = b"", special: int = 0, flags: int = 0, owner_flags: int = 0, piece: int = 0,
        attributes: dict[str, bytes] | None = None, sizes: tuple[int | None, int | None] = (None, None),
    ) -> int:  # fmt: skip
        number = number or self._number()
        flags |= HAS_ATTRIBUTES if attributes else 0
        bsd = struct.pack(">IIBBHI", 501, 20, 0, owner_flags, mode, special)
        forks = [Fork(data, piece, size=sizes[0]), Fork(resource, piece, size=sizes[1])]
        self.forks += [(number, 0, forks[0]), (number, 0xFF, forks[1])]
        self.pending.append(FileFacts(parent, name, number, flags, bsd, finder, forks))
        self.valence[parent] = self.valence.get(parent, 0) + 1
        self.files += 1
        for key, value in (attributes or {}).items():
            self.attribute(number, key, value)
        return number

    def attribute(self, number: int, name: str, value: bytes, *, piece: int = 0) -> None:
        """Inline where it fits, else in a fork."""
        if len(value) <= 3000 and not piece:
            body = struct.pack(">III I", 0x10, 0, 0, len(value)) + value
            self.attributes.append(((number, name, 0), body + bytes(len(body) & 1)))
            return
        fork = Fork(value, piece)
        self.forks.append((number, -1, fork))
        self.attributes.append(((number, name, 0), fork))

    def _private(self, name: str) -> int:
        if name not in self.private:
            self.private[name] = self.folder(ROOT, name, finder=bytes(8) + b"\x50\x00")
        return self.private[name]

    def link_target(self, data: bytes, count: int, **more: object) -> int:
        """A file that hard links lead to; the result is what ``link`` takes."""
        folder = self._private(PRIVATE_FILES)
        number = self._number()
        self.file(folder, f"iNode{number}", data, number=number, special=count, **more)  # type: ignore[arg-type]
        return number

    def link(self, parent: int, name: str, target: int) -> None:
        self.file(parent, name, finder=b"hlnkhfs+\x01\x00", special=target, flags=0x22, mode=0o100444)

    def folder_target(self, count: int) -> int:
        folder = self._private(PRIVATE_FOLDERS)
        number = self._number()
        return self.folder(folder, f"dir_{number}", number=number, special=count)

    def folder_link(self, parent: int, name: str, target: int) -> None:
        self.file(parent, name, finder=b"alisMACS\x80\x00", special=target, flags=0x22, mode=0o100444)

    def image(self) -> bytes:
        """The volume."""
        self._taken = bytearray(self.blocks)
        self._data: list[tuple[int, bytes]] = []
        reserved = -(-1536 // self.block)
        tail = -(-1024 // self.block)
        for n in (*range(reserved), *range(self.blocks - tail, self.blocks)):
            self._taken[n] = 1
        bitmap = Fork(bytes(-(-self.blocks // 8)))
        self._place(bitmap)
        journal_block = self._journal() if self.journal else 0
        for number, kind, fork in self.forks:
            self._place(fork)
            self._spill(number, kind, fork)
        self._catalog_records()
        catalog = Fork(self._catalog(), self.catalog_piece)
        self._place(catalog)
        self._spill(CATALOG, 0, catalog)
        attributes = Fork(self._attributes() if self.attributes else b"")
        self._place(attributes)
        extents = Fork(self._extents())
        self._place(extents)
        marks = int("".join(map(str, self._taken)).ljust(8 * len(bitmap.data), "0"), 2)
        self._data[0] = (self._data[0][0], marks.to_bytes(len(bitmap.data), "big"))
        header = self._header(journal_block, [bitmap, extents, catalog, attributes, Fork()])
        disk = bytearray(self.blocks * self.block)
        for at, data in self._data:
            disk[at : at + len(data)] = data
        disk[1024:1536] = disk[-1024:-512] = header
        return bytes(disk)

    def _place(self, fork: Fork) -> None:
        """Give a fork blocks: all in a row, or in pieces with a free block behind each."""
        left = -(-len(fork.data) // self.block)
        at = done = 0
        while left:
            while self._taken[at]:
                at += 1
            want = min(left, fork.piece or left)
            if any(self._taken[at : at + want]) or at + want > self.blocks:
                at += 1
                continue
            self._taken[at : at + want] = b"\1" * want
            fork.runs.append((at, want))
            self._data.append((at * self.block, fork.data[done : done + want * self.block]))
            done += want * self.block
            left -= want
            at += want + (1 if fork.piece else 0)

    def _spill(self, number: int, kind: int, fork: Fork) -> None:
        """Records for the extents past the eighth."""
        block = sum(count for _, count in fork.runs[:8])
        for n in range(8, len(fork.runs), 8):
            runs = fork.runs[n : n + 8]
            body = b"".join(struct.pack(">II", *run) for run in runs).ljust(64, b"\0")
            if kind < 0:
                name = next(key[1] for key, value in self.attributes if value is fork)
                self.attributes.append(((number, name, block), struct.pack(">II", 0x30, 0) + body))
            else:
                self.overflow.append(((number, kind, block), body))
            block += sum(count for _, count in runs)

    def _catalog_records(self) -> None:
        for number, parent, name, bsd, finder in self.folders:
            head = struct.pack(
                ">hHII5I", 1, 0, self.valence[number], number, CREATED, MODIFIED, MODIFIED, MODIFIED, 0
            )
            self.records.append(((parent, name), head + bsd + finder + bytes(8)))
            self._thread(3, number, parent, name)
        times = struct.pack(">5I", CREATED, MODIFIED, MODIFIED, MODIFIED, 0)
        for file in self.pending:
            body = struct.pack(">hHII", 2, file.flags, 0, file.number) + times + file.bsd
            body += file.finder.ljust(32, b"\0") + bytes(8) + b"".join(fork.packed() for fork in file.forks)
            self.records.append(((file.parent, file.name), body))
            self._thread(4, file.number, file.parent, file.name)

    def _thread(self, kind: int, number: int, parent: int, name: str) -> None:
        stored = decomposed(name)
        self.records.append(((number, ""), struct.pack(">hHI", kind, 0, parent) + packed_name(stored)))

    def _catalog(self) -> bytes:
        found = []
        for (parent, name), body in self.records:
            stored = decomposed(name)
            text = packed_name(stored)
            order = struct_units(stored) if self.binary else name_key(stored)
            found.append(((parent, order), struct.pack(">HI", 4 + len(text), parent) + text, body))
        found.sort(key=lambda record: record[0])
        pairs = [(key, body) for _, key, body in found]
        return tree_file(pairs, self.node, 516, 6, (0xBC if self.binary else 0xCF) if self.hfsx else 0)

    def _attributes(self) -> bytes:
        found = []
        order = sorted(self.attributes, key=lambda one: (one[0][0], struct_units(one[0][1]), one[0][2]))
        for (number, name, block), body in order:
            raw = name.encode("utf-16-be")
            key = struct.pack(">HHIIH", 12 + len(raw), 0, number, block, len(raw) // 2) + raw
            packed = struct.pack(">II", 0x20, 0) + body.packed() if isinstance(body, Fork) else body
            found.append((key, packed))
        return tree_file(found, max(self.node, 4096), 266, 6)

    def _extents(self) -> bytes:
        pairs = []
        for (number, kind, block), body in sorted(self.overflow):
            pairs.append((struct.pack(">HBBII", 10, kind, 0, number, block), body))
        return tree_file(pairs, self.node, 10, 2)

    def _header(self, journal_block: int, forks: list[Fork]) -> bytes:
        free = self._taken.count(0)
        attributes = 1 << 8 | (1 << 13 if self.journal else 0)
        head = struct.pack(">2sHI4sI", b"HX" if self.hfsx else b"H+", 5 if self.hfsx else 4, attributes,
                           b"HFSJ" if self.journal else b"10.0", journal_block)  # fmt: skip
        head += struct.pack(">4I", CREATED, MODIFIED, 0, CREATED)
        head += struct.pack(">II", self.files, len(self.folders) - 1)
        head += struct.pack(
            ">IIIIIII", self.block, self.blocks, free, 0, self.block, self.block, self.next_id
        )
        head += struct.pack(">IQ", 1, 1) + bytes(24) + bytes.fromhex("0123456789abcdef")
        return head + b"".join(fork.packed() for fork in forks)

    def _journal(self) -> int:
        """An empty journal of so many bytes; the result is the block of its info."""
        info, log = Fork(bytes(self.block)), Fork(bytes(self.journal))
        self._place(info)
        self._place(log)
        place = log.runs[0][0] * self.block
        at = info.runs[0][0]
        body = struct.pack(">I32xQQ", 1, place, self.journal)
        self._data.append((at * self.block, body))
        self._data.append((place, journal_header(512, 512, self.journal)))
        return at


def checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = ((value << 8) ^ (value + byte)) & 0xFFFFFFFF
    return ~value & 0xFFFFFFFF


def journal_header(start: int, end: int, size: int) -> bytes:
    raw = bytearray(struct.pack("<IIQQQIIII", 0x4A4E4C78, 0x12345678, start, end, size, 4096, 0, 512, 7))
    raw[36:40] = struct.pack("<I", checksum(bytes(raw[:44])))
    return bytes(raw)


def journal_of(
    before: bytes,
    after: bytes,
    size: int,
    start: int = 512,
    *,
    lists: int = 1,
    sequence: int = 7,
    told: int | None = None,
) -> tuple[bytes, int]:
    """(a log of ``size`` bytes that makes ``after`` of ``before``, its end), from ``start`` on.

    A transaction has so many ``lists``. Its header tells of the first ``told`` lists alone.
    """
    changed = [at for at in range(0, len(before), 512) if before[at : at + 512] != after[at : at + 512]]
    runs: list[list[int]] = []
    for at in changed:
        if runs and runs[-1][1] == at and at - runs[-1][0] < 8192:
            runs[-1][1] = at + 512
        else:
            runs.append([at, at + 512])
    room = (4096 - 16) // 16 - 1
    room = min(room, -(-len(runs) // 6))  # six lists
    parts = [runs[n : n + room] for n in range(0, len(runs), room)]
    stream, ends = b"", [0]
    for n, part in enumerate(parts):
        blocks = b"".join(after[first:last] for first, last in part)
        flags = (0 if n % lists else 2) | 1
        entries = struct.pack("<QII", 0, 4096, sequence + n // lists if sequence >= 0 else 0)
        for first, last in part:
            entries += struct.pack("<QII", first // 512, last - first, checksum(after[first:last]))
        head = struct.pack("<HHIII", room + 1, len(part) + 1, 4096 + len(blocks), 0, flags) + entries
        total = checksum(head[:32].ljust(32, b"\0"))
        stream += (head[:8] + struct.pack("<I", total) + head[12:]).ljust(4096, b"\0") + blocks
        ends.append(len(stream))
    span = size - 512
    assert len(stream) < span, f"{len(stream)} bytes in a journal of {size}"
    log = bytearray(size)
    log[start : start + len(stream)] = stream[: size - start]
    rest = stream[size - start :] if start + len(stream) > size else b""
    log[512 : 512 + len(rest)] = rest
    end = 512 + (start - 512 + ends[-1 if told is None else told]) % span
    log[:512] = journal_header(start, end, size).ljust(512, b"\0")
    return bytes(log), end
