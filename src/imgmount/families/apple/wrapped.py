"""Files of the Mac with both forks in one file: MacBinary, AppleSingle, BinHex 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError
from imgmount.families.apple import appledouble, binhex, macbinary
from imgmount.families.apple.forkfiles import Forks, forks_in
from imgmount.families.apple.looks import looks_like_disk


class ForkedSlice(Slice):
    """A data fork that lies in the file as it is."""

    def __init__(self, file: BlockDevice, offset: int, size: int, forks: Forks) -> None:
        super().__init__(file, offset, size)
        self.forks = forks

    def info(self) -> Mapping[str, str]:
        resource = self.forks.resource.size if self.forks.resource is not None else 0
        facts = {"type and creator": self.forks.codes, "resource fork": f"{resource} bytes"}
        return {"form": self.forks.origin, **facts}


class ForkedMemory(MemoryDevice):
    """A data fork that had to be decoded; ``faults`` are checksums that did not agree."""

    def __init__(self, data: bytes, forks: Forks, faults: tuple[str, ...] = ()) -> None:
        super().__init__(data)
        self.forks = forks
        self.faults = faults

    def verify(self) -> Iterator[str]:
        """The checksums of the text, which were compared when it was decoded."""
        yield from self.faults

    def info(self) -> Mapping[str, str]:
        return {"type and creator": self.forks.codes}


Wrapped = ForkedSlice | ForkedMemory


def open_macbinary(file: BlockDevice) -> ForkedSlice:
    """The data fork in a MacBinary file. Raises ``FormatError``."""
    header = macbinary.parse(file)
    if header is None:
        raise FormatError(
            "macbinary", "the header does not agree with itself, or with the size of the file", offset=0
        )
    resource = Slice(file, header.resource_at, header.resource) if header.resource else None
    version = "I" * header.version
    forks = Forks(header.type, header.creator, resource, f"MacBinary {version}")
    return ForkedSlice(file, header.data_at, header.data, forks)


def open_applesingle(file: BlockDevice) -> ForkedSlice:
    """The data fork in an AppleSingle file. Raises ``FormatError``."""
    found = appledouble.entries(file, "applesingle")
    origin = "AppleSingle" if file.pread(0, 4) == appledouble.SINGLE else "AppleDouble"
    return ForkedSlice(file, *found.get(appledouble.DATA, (0, 0)), forks_in(file, found, origin))


def open_binhex(file: BlockDevice) -> ForkedMemory:
    """The data fork in a BinHex file, decoded. Raises ``FormatError``."""
    if file.size > binhex.MAX_TEXT:
        raise FormatError("binhex", f"a text of {file.size} bytes: {binhex.MAX_TEXT} at most are decoded")
    found = binhex.decode(file.pread(0, file.size))
    resource = MemoryDevice(found.resource) if found.resource else None
    return ForkedMemory(found.data, Forks(found.type, found.creator, resource, "BinHex 4"), found.faults)


def unwrap(file: BlockDevice) -> Wrapped | None:
    """The data fork in a file of any of these kinds; None for another. Raises ``FormatError``."""
    head = file.pread(0, len(binhex.MARK))
    if head == binhex.MARK:
        return open_binhex(file)
    if head[:4] in (appledouble.SINGLE, appledouble.DOUBLE):
        return open_applesingle(file)
    return open_macbinary(file) if macbinary.parse(file) is not None else None


def holds_disk(device: Wrapped) -> bool:
    """Whether a data fork is a disk image: by its codes and resources, then by what is in it."""
    forks = device.forks
    if forks.kind is not None or forks.read(b"bcem", 128) is not None:
        return True
    return looks_like_disk(device) or device.pread(0x52, 2) == b"\1\0"
