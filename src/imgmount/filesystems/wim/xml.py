"""The XML of a WIM: what each image is.

It is read by expat piece by piece, for a few known elements, without entities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from imgmount.core.device import BlockDevice
from imgmount.core.read_through import read_through
from imgmount.errors import ImageError
from imgmount.filesystems.wim.header import MAX_IMAGES

MAX_XML: Final = 16 << 20
MAX_DEPTH: Final = 64
MAX_TEXT: Final = 1024  # characters of an element
IMAGE: Final = ("WIM", "IMAGE")
ENCRYPTED: Final = ("WIM", "ESD", "ENCRYPTED")
ARCHITECTURES: Final = {"0": "x86", "5": "ARM", "6": "Itanium", "9": "x64", "12": "ARM64"}
_VERSION: Final = ("MAJOR", "MINOR", "BUILD", "SPBUILD")
_WANTED: Final = {
    *(
        ("NAME",),
        ("DESCRIPTION",),
        ("DISPLAYNAME",),
        ("FLAGS",),
        ("DIRCOUNT",),
        ("FILECOUNT",),
        ("TOTALBYTES",),
    ),
    *(("HARDLINKBYTES",), ("CREATIONTIME", "HIGHPART"), ("CREATIONTIME", "LOWPART")),
    *(("LASTMODIFICATIONTIME", "HIGHPART"), ("LASTMODIFICATIONTIME", "LOWPART")),
    *(("WINDOWS", name) for name in ("ARCH", "PRODUCTNAME", "EDITIONID", "INSTALLATIONTYPE")),
    *(("WINDOWS", "VERSION", name) for name in _VERSION),
    *(("WINDOWS", "LANGUAGES", "DEFAULT"),),
}
Facts = dict[tuple[str, ...], str]  # by path below IMAGE


class _RefusedError(Exception):
    """The XML is not read any further, for this reason."""


class Xml:
    """The facts about each image, by its number.

    ``note`` says why some are missing; ``encrypted`` is whether the files of an ESD are.
    """

    def __init__(self, device: BlockDevice) -> None:
        self.images: dict[int, Facts] = {}
        self.encrypted = False
        self.note = ""
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._image = 0
        if device.size > MAX_XML:
            self.note = f"{device.size} bytes, more than {MAX_XML >> 20} MiB: not read"
            return
        try:
            self._parse(device)
        except (_RefusedError, ImageError) as exc:
            self.note = f"damaged: {exc}"
        except expat.ExpatError as exc:
            self.note = f"damaged: it is not well-formed XML in line {exc.lineno}"
        except (ValueError, LookupError):  # of Python's codecs, which expat asks
            self.note = "damaged: its encoding is not UTF-16, UTF-8 or of one byte a character"

    def _parse(self, device: BlockDevice) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._refuse
        for data in read_through(device):
            parser.Parse(data, False)
        parser.Parse(b"", True)

    @staticmethod
    def _refuse(*_: object) -> None:
        raise _RefusedError("it declares entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= MAX_DEPTH:
            raise _RefusedError(f"elements more than {MAX_DEPTH} deep")
        self._path.append(name)
        path = tuple(self._path)
        if path == IMAGE:
            index = attributes.get("INDEX", "")
            self._image = int(index) if index.isascii() and index.isdecimal() and len(index) < 6 else 0
        wanted = path == ENCRYPTED or (path[:2] == IMAGE and self._image and path[2:] in _WANTED)
        self._text = [] if wanted else None

    def _characters(self, text: str) -> None:
        if self._text is not None and sum(map(len, self._text)) < MAX_TEXT:
            self._text.append(text)

    def _end(self, _: str) -> None:
        path = tuple(self._path)
        self._path.pop()
        if self._text is None:
            return
        value = "".join(self._text).strip()[:MAX_TEXT]
        self._text = None
        if path == ENCRYPTED:
            self.encrypted = value.lower() == "true"
        elif self._image <= MAX_IMAGES:
            self.images.setdefault(self._image, {}).setdefault(path[2:], value)

    def name(self, image: int) -> str:
        """The name of an image, which may be empty."""
        return self.images.get(image, {}).get(("NAME",), "")

    def modified(self, image: int) -> int:
        """When an image was last changed, as FILETIME; 0 if that is unknown."""
        facts = self.images.get(image, {})
        for kind in ("LASTMODIFICATIONTIME", "CREATIONTIME"):
            try:
                high, low = (int(facts[kind, part], 16) for part in ("HIGHPART", "LOWPART"))
            except (KeyError, ValueError):
                continue
            if 0 <= high < 1 << 31 and 0 <= low < 1 << 32:
                return high << 32 | low
        return 0

    def about(self, image: int) -> str:
        """One line about an image."""
        facts = self.images.get(image, {})
        return ", ".join(_about(facts)) or "nothing is told"


def _about(facts: Facts) -> Iterator[str]:
    title = facts.get(("NAME",), "")
    if title:
        yield title
    for path in (("DISPLAYNAME",), ("DESCRIPTION",)):
        if facts.get(path) and facts[path] != title:
            yield facts[path]
    edition = facts.get(("WINDOWS", "EDITIONID")) or facts.get(("FLAGS",))
    if edition:
        yield f"edition {edition}"
    version = [
        facts["WINDOWS", "VERSION", name] for name in _VERSION if ("WINDOWS", "VERSION", name) in facts
    ]
    if version:
        yield f"build {'.'.join(version)}"
    if arch := facts.get(("WINDOWS", "ARCH")):
        yield ARCHITECTURES.get(arch, f"architecture {arch}")
    if language := facts.get(("WINDOWS", "LANGUAGES", "DEFAULT")):
        yield language
    for key, word in (("FILECOUNT", "files"), ("DIRCOUNT", "folders"), ("TOTALBYTES", "bytes")):
        if (key,) in facts:
            yield f"{facts[key,]} {word}"
