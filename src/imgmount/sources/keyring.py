"""Keys that the user has: given by name, beside the image, or in a folder of theirs. None is shipped, none is logged.

Looked for in this order: ``--key NAME=HEX`` and ``--keys``; files beside the image; ``$XDG_CONFIG_HOME/imgmount/keys/NAME.key``
(``~/.config`` by default); files in ``~/.wiiu/``. A key file has the bytes themselves or hexadecimal digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from imgmount.core.format import Context
from imgmount.errors import ImgMountError, KeyRequiredError

KEY_SIZE: Final = 16  # AES-128
MAX_KEY_FILE: Final = 4096
WIIU_FOLDER: Final = ".wiiu"


class Keyring:
    """Where the keys of one image are looked for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        home = Path(os.path.expanduser("~"))  # noqa: PTH111  Path.home() raises where there is none
        config = os.environ.get("XDG_CONFIG_HOME") or str(home / ".config")
        self._folder = Path(config) / "imgmount" / "keys"
        self._wiiu = home / WIIU_FOLDER

    def candidates(self, name: str, beside: Sequence[str] = (), home: Sequence[str] = ()) -> Iterator[bytes]:
        """Every key that may be ``name``, the likeliest first: also files ``beside`` the image and ``home`` in ``~/.wiiu``."""
        given = self._context.options.keys.get(name)
        if given is not None:
            if len(given) != KEY_SIZE:
                raise KeyRequiredError(f"the key {name!r} has {len(given)} bytes: {KEY_SIZE} are needed")
            yield given
        present = {other.lower(): other for other in self._context.siblings.names()} if beside else {}
        for file in beside:
            if found := present.get(file.lower()):
                try:
                    device = self._context.siblings.open(found)
                    data = device.pread(0, MAX_KEY_FILE)
                except ImgMountError:
                    continue
                yield from _parsed(data)
        for path in (self._folder / f"{name}.key", *(self._wiiu / file for file in home)):
            try:
                with path.open("rb") as stream:
                    yield from _parsed(stream.read(MAX_KEY_FILE))
            except OSError:
                continue

    def required(self, name: str, beside: Sequence[str] = (), home: Sequence[str] = ()) -> KeyRequiredError:
        """The error for a key that nobody has, with the places where it was looked for."""
        places = [f"{file} beside the image" for file in beside]
        places += [str(self._folder / f"{name}.key"), *(str(self._wiiu / file) for file in home)]
        return KeyRequiredError(f"the key {name!r} is needed: give --key {name}=HEX; looked for {', '.join(places)}")


def wrong(name: str) -> KeyRequiredError:
    """The error for a key that was found and does not fit."""
    return KeyRequiredError(f"the key {name!r} is wrong: what it decrypts is not what the image should hold")


def _parsed(data: bytes) -> Iterator[bytes]:
    """The key in the content of a key file, if there is one."""
    if len(data) == KEY_SIZE:
        yield data
        return
    try:
        key = bytes.fromhex(data.decode("ascii"))
    except ValueError:
        return
    if len(key) == KEY_SIZE:
        yield key
