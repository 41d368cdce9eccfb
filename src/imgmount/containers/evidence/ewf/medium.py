"""What kind of set an EWF is, and what kind of medium it was made of.

Sources: libewf, "Volume section" (EWF-E01, EWF-S01), EWF2 "Case data" and "Device information".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from struct import Struct
from typing import Final

from imgmount.containers.evidence.ewf import facts
from imgmount.containers.evidence.ewf.facts import Media
from imgmount.containers.evidence.ewf.segment import Section, Segment
from imgmount.containers.evidence.ewf.tables import COMPRESSED, Tables
from imgmount.errors import FormatError

_NAMES: Final = {  # (version, logical): name
    (1, False): "EWF-E01 (EnCase)", (1, True): "EWF-L01 (logical evidence)",
    (2, False): "EWF2-Ex01 (EnCase 7)", (2, True): "EWF2-Lx01 (logical evidence)",
}  # fmt: skip
SMART: Final = "EWF (SMART, EnCase 1)"
_VOLUME: Final = Struct("<B35xB15xB")  # media type, flags, compression level
_TYPES: Final = {
    0: "removable disk", 1: "fixed disk", 3: "optical disc", 0x0E: "single files", 0x10: "memory",
}  # fmt: skip
_TYPES2: Final = {"r": "removable disk", "f": "fixed disk", "c": "optical disc", "m": "memory"}
PHYSICAL: Final = 2
LOOKED_AT: Final = 256  # chunks
_LEVELS: Final = {0: "none", 1: "zlib, fast", 2: "zlib, best"}
_METHODS2: Final = {"0": "none", "1": "zlib", "2": "bzip2"}


def describe(segments: Sequence[Segment], media: Media, tables: Tables) -> Mapping[str, str]:
    """The facts for ``imgmount info``, as far as the set states them."""
    first = segments[0]
    found = {"format": _NAMES[first.version, first.logical]}
    with suppress(FormatError):
        if first.version == 2:
            found |= _of_tables(first)
        elif (section := _volume(first)) is not None:
            if section.size >= facts.VOLUME_SIZE:
                found |= _of_volume(first, section)
            else:
                found["format"] = SMART
    if found.get("compression", "none") == "none" and _is_compressed(tables):
        found["compression"] = "zlib, the level is not stated"
    return {**found, "sectors": f"{media.size // media.sector_size} of {media.sector_size} bytes"}


def _is_compressed(tables: Tables) -> bool:
    """Whether one of the first chunks is: FTK Imager and SMART state no compression, and compress."""
    with suppress(FormatError):
        return any(tables[index].flags & COMPRESSED for index in range(min(LOOKED_AT, tables.count)))
    return False


def _volume(segment: Segment) -> Section | None:
    return next((one for one in segment.sections if one.kind in ("volume", "disk")), None)


def _of_volume(segment: Segment, section: Section) -> dict[str, str]:
    kind, flags, level = _VOLUME.unpack(segment.file.read_exactly(section.offset, _VOLUME.size, "ewf"))
    whole = "physical" if flags & PHYSICAL else "logical"
    return {
        "medium": f"{_TYPES.get(kind, f'type {kind:#x}')}, {whole}",
        "compression": _LEVELS.get(level, f"level {level}"),
    }


def _of_tables(segment: Segment) -> dict[str, str]:
    device, case = (facts.table_of(facts.text_of(segment, kind)) for kind in ("device", "case"))
    found = {}
    if "dt" in device:
        whole = "physical" if device.get("ph") == "1" else "logical"
        found["medium"] = f"{_TYPES2.get(device['dt'], 'type ' + device['dt'])}, {whole}"
    if "cp" in case:
        found["compression"] = _METHODS2.get(case["cp"], f"method {case['cp']}")
    return found
