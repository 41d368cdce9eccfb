"""Hard links of HFS+: what they lead to is in two private folders. TN1150; xnu ``hfs_link.c``."""

from __future__ import annotations

from typing import Final

from imgmount.errors import FormatError, ImageError
from imgmount.families.apple.btree import BTree
from imgmount.families.apple.names import utf16
from imgmount.filesystems.hfsplus.catalog import (
    FOLDER,
    NAME_AT,
    ROOT,
    Item,
    parse_item,
    record_kind,
    record_name,
)
from imgmount.filesystems.hfsplus.header import NAME

FILES: Final = "\0\0\0\0HFS+ Private Data"
FOLDERS: Final = ".HFS+ Private Directory Data\r"
FILE_LINK: Final = b"hlnkhfs+"
FOLDER_LINK: Final = b"alisMACS"


class Links:
    """The targets of hard links, looked up by number."""

    def __init__(self, catalog: BTree) -> None:
        self._catalog = catalog
        self._private: dict[str, int] | None = None

    def folder_number(self, name: str) -> int:
        """The number of the private folder ``name``. Raises ``FormatError`` where there is none."""
        if self._private is None:
            self._private = self._find_private()
        if name not in self._private:
            raise FormatError(NAME, "a hard link on a volume without a folder for what they lead to")
        return self._private[name]

    def _find_private(self) -> dict[str, int]:
        found = {}
        try:
            for record in self._catalog.records(ROOT):
                if record_kind(record) == FOLDER and (name := record_name(record)) in (FILES, FOLDERS):
                    found[name] = parse_item(record).id
        except ImageError:
            if not found:
                raise
        return found

    def file(self, number: int) -> Item:
        """What the file links with ``number`` lead to. Raises ``ImageError``."""
        return self._find(FILES, f"iNode{number}")

    def folder(self, number: int) -> Item:
        """What the folder links with ``number`` lead to. Raises ``ImageError``."""
        return self._find(FOLDERS, f"dir_{number}")

    def _find(self, folder: str, name: str) -> Item:
        wanted = (self.folder_number(folder), name.lower())
        tree = self._catalog

        def key(raw: bytes, start: int) -> tuple[int, str]:
            length = min(raw[start + 6] << 8 | raw[start + 7], 16)
            return tree.number(raw, start), utf16(raw[start + NAME_AT : start + NAME_AT + 2 * length]).lower()

        found = tree.range(lambda raw, at: key(raw, at) < wanted, lambda raw, at: key(raw, at) > wanted)
        for record in found:
            return parse_item(record)
        raise FormatError(NAME, f"a hard link to {name}, which is missing")
