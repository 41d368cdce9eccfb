"""What ``verify`` finds: problems, and checksums as they are stored beside those of what is there.

A format yields a line for each problem, a ``Note`` for what is none and should be known, and a ``Seal`` for
each checksum of bytes that it gives: the seals of one device follow each other, and whoever reads that device
compares them on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

from imgmount.core.device import BlockDevice, Buffer
from imgmount.errors import ImageError

MAX_DIGESTED_ZEROS: Final = 1 << 34  # bytes of one hole given to a digest, for which there is no shortcut
_ZEROS: Final = bytes(1 << 20)


class Sum(Protocol):
    """A checksum in the making."""

    def update(self, data: Buffer, /) -> None:
        """Take ``data`` in."""

    def zeros(self, count: int, /) -> None:
        """Take ``count`` zero bytes in. Raises ``ImageError`` where they are too many."""

    def digest(self) -> bytes:
        """The checksum of what was taken in."""


class Digest:
    """A digest of ``hashlib``."""

    def __init__(self, algorithm: str) -> None:
        import hashlib  # which a mount does without

        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self.update = self._hash.update
        self.digest = self._hash.digest

    def zeros(self, count: int, /) -> None:
        if count > MAX_DIGESTED_ZEROS:
            raise ImageError(f"the digest of {count} zeros is not computed")
        for start in range(0, count, len(_ZEROS)):
            self.update(_ZEROS[: count - start])


class Note(NamedTuple):
    """What should be known of an image and is no damage to it."""

    text: str

    def __str__(self) -> str:
        return self.text


class Checked(NamedTuple):
    """A checksum that is stored, and the one of what is there: in hexadecimal."""

    name: str
    stored: str
    computed: str

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return self.stored == self.computed

    def __str__(self) -> str:
        if self.agrees:
            return f"{self.name} {self.computed}, stored and computed"
        return f"{self.name} is {self.computed}, stored is {self.stored}"


def from_hex(text: str) -> bytes:
    """A digest from its digits; empty, which no digest is, where those are no hexadecimal number."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


class Seal(NamedTuple):
    """A checksum that is stored of all of ``content``."""

    name: str
    stored: bytes
    content: BlockDevice
    sum: Callable[[], Sum]

    @classmethod
    def of(cls, name: str, stored: bytes, content: BlockDevice, algorithm: str) -> Seal:
        """A digest, by its name in ``hashlib``."""
        return cls(name, stored, content, partial(Digest, algorithm))

    def against(self, computed: bytes) -> Checked:
        """Beside the one that was ``computed``."""
        return Checked(self.name, self.stored.hex(), computed.hex())


Finding = str | Note | Checked | Seal


def told_of(where: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same, with ``where`` named first."""
    for finding in findings:
        if isinstance(finding, str):
            yield f"{where}: {finding}"
        elif isinstance(finding, Note):
            yield Note(f"{where}: {finding}")
        else:
            yield finding._replace(name=f"{where}: {finding.name}")
