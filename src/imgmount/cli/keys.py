"""Keys from the user: ``--key``, ``--keys`` and ``$IMGMOUNT_KEYS``.

Shapes are checked here, never what a key opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from imgmount.cli.parser import UsageError
from imgmount.errors import MountError

KEY_SIZES: Final = (16, 32)  # AES-128 and AES-256; a key of another length is given with --key
MAX_KEY_FILE: Final = 1 << 20
VARIABLE: Final = "IMGMOUNT_KEYS"
_COMMENTS: Final = ("#", ";")


class UserKeys:
    """Keys by name, and ``spare`` ones without, which are tried for any.

    Raises ``MountError`` and ``UsageError``.
    """

    def __init__(self, pairs: Iterable[str], sources: Iterable[str], variable: str) -> None:
        self.named: dict[str, bytes] = {}
        self.spare: list[bytes] = []
        for word in variable.split():
            self._line(word, f"${VARIABLE}: a word")
        for source in sources:
            self._source(Path(source))
        for pair in pairs:
            name, equals, digits = pair.partition("=")
            if not (name.strip() and equals):
                raise UsageError("--key: not NAME=HEX")
            try:
                self.named[name.strip()] = bytes.fromhex(digits)
            except ValueError:
                raise UsageError(f"--key: the value of {name.strip()!r} is not hexadecimal") from None

    def _source(self, path: Path) -> None:
        if path.is_dir():
            self.named.update(
                {file.stem: _one_key(file) for file in sorted(path.glob("*.key")) if file.is_file()}
            )
            return
        data = _limited(path)
        if len(data) in KEY_SIZES:
            self.spare.append(data)
            return
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            for mark in _COMMENTS:
                line = line.partition(mark)[0]  # noqa: PLW2901
            if line.strip():
                self._line(line, f"{path}: line {number}")

    def _line(self, line: str, where: str) -> None:
        """``NAME=HEX``, or the digits alone, as in the ``keys.txt`` of Cemu."""
        name, equals, digits = (part.strip() for part in line.rpartition("="))
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if not key or bool(name) != bool(equals) or (not name and len(key) not in KEY_SIZES):
            # the message does not quote the line: it may hold a key
            raise MountError(f"{where} is not NAME=HEX, nor a key in hexadecimal")
        if name:
            self.named[name] = key
        else:
            self.spare.append(key)


def _one_key(path: Path) -> bytes:
    """The only key in a file."""
    from imgmount.sources.keyring import parse_key

    key = parse_key(_limited(path), KEY_SIZES)
    if key is None:
        raise MountError(
            f"{path}: neither {' nor '.join(map(str, KEY_SIZES))} bytes, nor these in hexadecimal"
        )
    return key


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_KEY_FILE + 1)
    if len(data) > MAX_KEY_FILE:
        raise MountError(f"{path}: too long for a file of keys")
    return data
