"""A writer of MFS volumes, as no tool at hand is one. Source: Inside Macintosh II; apart from the reader."""

from __future__ import annotations

import struct

CREATED, MODIFIED = 2_600_000_000, 2_700_000_000  # 1986, 1989
FIRST_SECTOR = 16  # of the allocation blocks
DIRECTORY, SECTORS = 4, 12


def resource_fork(resources: list[tuple[bytes, int, bytes, bytes]]) -> bytes:
    """(type, number, name, data) of each resource; Inside Macintosh, "Resource File Format"."""
    data, names = b"", b""
    references: dict[bytes, list[tuple[int, int, int]]] = {}
    for kind, number, name, body in resources:
        references.setdefault(kind, []).append((number, len(names), len(data)))
        data += struct.pack(">I", len(body)) + body
        names += bytes([len(name)]) + name
    types = struct.pack(">H", len(references) - 1)
    lists = b""
    start = 2 + 8 * len(references)
    for kind, found in references.items():
        types += struct.pack(">4sHH", kind, len(found) - 1, start + len(lists))
        lists += b"".join(struct.pack(">hHII", number, at, place, 0) for number, at, place in found)
    body = bytes(24) + struct.pack(">HH", 28, 28 + len(types) + len(lists)) + types + lists + names
    return struct.pack(">4I", 256, 256 + len(data), len(data), len(body)).ljust(256, b"\0") + data + body


class Volume:
    """A volume to be: add files and folders, then take ``image``."""

    def __init__(self, *, blocks: int = 391, block: int = 1024, name: bytes = b"MFS volume") -> None:
        self.blocks, self.block, self.name = blocks, block, name
        self.map = [0] * blocks
        self.entries: list[bytes] = []
        self.data: dict[int, bytes] = {}
        self.folders: list[tuple[bytes, int, bytes, bytes]] = []
        self.next = 1

    def folder(self, number: int, name: bytes, parent: int = 0) -> None:
        self.folders.append((b"FOBJ", number, name, bytes(12) + struct.pack(">h", parent) + bytes(20)))

    def file(
        self,
        name: bytes,
        data: bytes = b"",
        resource: bytes = b"",
        *,
        folder: int = 0,
        step: int = 1,
        kind: bytes = b"TEXTttxt",
        flags: int = 0x80,
    ) -> None:
        """A file whose blocks are ``step`` apart."""
        forks = [self._fork(one, step) for one in (data, resource)]
        info = kind + bytes(6) + struct.pack(">h", folder)
        head = struct.pack(">BB16sI", flags, 0, info, self.next)
        head += b"".join(struct.pack(">HII", *fork) for fork in forks) + struct.pack(">II", CREATED, MODIFIED)
        entry = head + bytes([len(name)]) + name
        self.entries.append(entry + bytes(len(entry) & 1))
        self.next += 1

    def _fork(self, data: bytes, step: int) -> tuple[int, int, int]:
        count = -(-len(data) // self.block)
        if not count:
            return 0, 0, 0
        free = [n for n in range(self.blocks) if not self.map[n]]
        chosen = free[: count * step : step]
        for n, (one, following) in enumerate(zip(chosen, [*chosen[1:], None], strict=True)):
            self.map[one] = 1 if following is None else following + 2
            self.data[one] = data[n * self.block : (n + 1) * self.block]
        return chosen[0] + 2, len(data), count * self.block

    def image(self) -> bytes:
        if self.folders:
            self.file(b"Desktop", b"", resource_fork(self.folders), kind=b"FNDRERIK")
        disk = bytearray((FIRST_SECTOR * 512) + self.blocks * self.block + 1024)
        head = struct.pack(">2sIIHHHHHIIHIH", b"\xd2\xd7", CREATED, 0, 0, len(self.entries),
                           DIRECTORY, SECTORS, self.blocks, self.block, 8 * self.block, FIRST_SECTOR,
                           self.next, self.map.count(0))  # fmt: skip
        head += bytes([len(self.name)]) + self.name
        packed = "".join(f"{one:03x}" for one in self.map)
        packed += "0" * (len(packed) & 1)
        disk[1024 : 1024 + len(head)] = head
        disk[1024 + 64 : 1024 + 64 + len(packed) // 2] = bytes.fromhex(packed)
        assert 64 + len(packed) // 2 <= 1024
        self._directory(disk)
        for n, data in self.data.items():
            at = FIRST_SECTOR * 512 + n * self.block
            disk[at : at + len(data)] = data
        disk[-1024:-512] = disk[1024:1536]
        return bytes(disk)

    def _directory(self, disk: bytearray) -> None:
        sector, at = DIRECTORY, 0
        for entry in self.entries:
            if at + len(entry) > 512 or at > 460:
                sector, at = sector + 1, 0
            assert sector < DIRECTORY + SECTORS, "a directory with too much in it"
            disk[sector * 512 + at : sector * 512 + at + len(entry)] = entry
            at += len(entry)
