"""The header that GameCube and Wii discs begin with, in clear also where the rest of the disc is encrypted.

Sources: Yet Another GameCube Documentation, "Disc header"; WiiBrew, "Wii disc". All is big endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.core.fields import text
from imgmount.errors import FormatError

# id, disc number, version, streaming, buffer size, the magics of Wii and GameCube
_HEADER: Final = Struct(">6sBBBB14xII")
HEADER_SIZE: Final = 0x400
TITLE: Final = slice(0x20, 0x400)
WII_MAGIC: Final = 0x5D1C9EA3
GC_MAGIC: Final = 0xC2339F3D
NKIT: Final = 0x200
NKIT_MAGIC: Final = b"NKIT"
DEFAULT_ENCODING: Final = "cp932"  # Shift-JIS, which has ASCII in it
CONSOLES: Final = {True: "Wii", False: "GameCube"}
REGIONS: Final = {
    "D": "Germany", "E": "USA", "F": "France", "I": "Italy", "J": "Japan", "K": "Korea", "P": "Europe",
    "R": "Russia", "S": "Spain", "T": "Taiwan", "U": "Australia", "W": "Taiwan", "X": "Europe", "Y": "Europe",
}  # fmt: skip


class GameDisc(NamedTuple):
    """What identifies a disc.

    ``number`` counts from 0; ``nkit`` is the version of NKit that has compacted it, or empty.
    """

    id: str
    number: int
    version: int
    title: bytes
    is_wii: bool
    nkit: str

    @classmethod
    def parse(cls, raw: bytes, fmt: str) -> Self:
        """The header in the disc's first bytes. Raises ``FormatError`` in the name of ``fmt``."""
        if len(raw) < HEADER_SIZE:
            raise FormatError(fmt, f"a disc header of {len(raw)} bytes", offset=0)
        game, number, version, _, _, wii, gamecube = _HEADER.unpack_from(raw)
        if wii != WII_MAGIC and gamecube != GC_MAGIC:
            raise FormatError(fmt, "no disc header", offset=0x18)
        nkit = text(raw[NKIT + 4 : NKIT + 8]).strip() if raw[NKIT : NKIT + 4] == NKIT_MAGIC else ""
        title = raw[TITLE.start : NKIT if nkit else TITLE.stop]
        return cls(text(game), number, version, title.split(b"\0", 1)[0], wii == WII_MAGIC, nkit)

    def label(self, encoding: str) -> str:
        """The title as text."""
        return self.title.decode(encoding, "surrogateescape").rstrip()

    def facts(self, encoding: str) -> Mapping[str, str]:
        """Facts for ``imgmount info``."""
        facts = {
            "game id": self.id,
            "title": self.label(encoding),
            "region": REGIONS.get(self.id[3:4], ""),
            "maker": self.id[4:6],
            "disc": str(self.number + 1),
            "version": f"1.{self.version:02}",
            "console": CONSOLES[self.is_wii],
        }
        if self.nkit:
            facts["nkit"] = f"{self.nkit}: the files are whole, the raw view is not the original disc"
        return {name: value for name, value in facts.items() if value}
