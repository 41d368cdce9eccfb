"""Keys of the user: given by name, beside the image, or in a folder. None is shipped, none is logged.

The order is: ``--key NAME=HEX``, ``--keys`` and ``$IMGMOUNT_KEYS``; files beside the image; files in
``$XDG_CONFIG_HOME/imgmount/keys/`` (``~/.config`` by default); files below the home folder that other tools
use. A key file holds the bytes themselves or hexadecimal digits. The caller proves each key on what it
decrypts: see ``KeySearch.failure``.
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


class KeySearch:
    """The keys that may be ``name``, the likeliest first; ``failure`` says where wrong ones came from.

    ``beside`` are names of files beside the image, ``paths`` files that are ours to name, ``folder`` names in
    ``imgmount/keys/``, ``home`` in the user's home folder.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        *,
        beside: Sequence[str] = (),
        paths: Sequence[Path] = (),
        folder: Sequence[str] = (),
        home: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._context = context
        self._beside = tuple(dict.fromkeys((*beside, f"{name}.key")))
        at_home = Path(os.path.expanduser("~"))  # noqa: PTH111  Path.home() raises where there is none
        keys = Path(os.environ.get("XDG_CONFIG_HOME") or at_home / ".config") / "imgmount" / "keys"
        own = [keys / file for file in dict.fromkeys((f"{name}.key", *folder))]
        self._paths = [*paths, *own, *(at_home / file for file in home)]
        self.tried: list[str] = []  # where the keys came from that have this name and do not fit
        self._malformed: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        options = self._context.options
        if (given := options.keys.get(self.name)) is not None:
            if len(given) != KEY_SIZE:
                raise KeyRequiredError(f"the key {self.name!r} has {len(given)} bytes: {KEY_SIZE} are needed")
            self.tried.append("what was given")
            yield given
        yield from (key for key in options.spare_keys if len(key) == KEY_SIZE)
        for origin, data in self._files():
            key = parse_key(data, (KEY_SIZE,))
            if key is None:
                self._malformed.append(origin)
                continue
            self.tried.append(origin)
            yield key

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """(where, content) of the key files that there are."""
        siblings = self._context.siblings
        present = {other.lower(): other for other in siblings.names()}
        for file in self._beside:
            if found := present.get(file.lower()):
                try:
                    yield f"{found} beside the image", siblings.open(found).pread(0, MAX_KEY_FILE)
                except ImgMountError:
                    continue
        for path in self._paths:
            try:
                with path.open("rb") as stream:
                    yield str(path), stream.read(MAX_KEY_FILE)
            except OSError:
                continue

    @property
    def places(self) -> str:
        """Everywhere that files are looked for."""
        return ", ".join([f"{' or '.join(self._beside)} beside the image", *map(str, self._paths)])

    def failure(self, instead: str = "") -> KeyRequiredError:
        """The error for a key that is missing, when no key fitted.

        ``instead`` names what the user may give in its place.
        """
        notes = [
            f"{origin} is no key: neither {KEY_SIZE} bytes nor {2 * KEY_SIZE} digits"
            for origin in self._malformed
        ]
        if spare := len(self._context.options.spare_keys):
            notes.append(f"none of the {spare} keys without a name fits")
        if self.tried:
            what = (
                f"is wrong: what it decrypts is not what the image should hold; tried {', '.join(self.tried)}"
            )
        else:
            how = f"give --keys FILE or --key {self.name}=HEX; looked for {self.places}"
            what = f"is needed{instead and f' ({instead})'}: {how}"
        return KeyRequiredError("; ".join((f"the key {self.name!r} {what}", *notes)))


def parse_key(data: bytes, sizes: Sequence[int]) -> bytes | None:
    """The key, of one of ``sizes``, in the content of a key file, None where it has another shape."""
    try:
        decoded = bytes.fromhex(data.decode("ascii"))
    except ValueError:
        decoded = b""
    # 32 digits are a key of 16 bytes, not one of 32
    return next((key for key in (decoded, data) if len(key) in sizes), None)
