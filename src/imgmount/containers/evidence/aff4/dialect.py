"""AFF4 as it was written before the standard: recognised by its names, which become those of the standard.

Evimetry 2.0 and 2.1 have a namespace of 2009, winpmem 2.1 has types in lower case; both have other names for
facts.
Source: images by these programs; there is no specification.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from imgmount.containers.evidence.aff4.turtle import RDF_TYPE, Graph

AFF4: Final = "http://aff4.org/Schema#"
EVIMETRY: Final = "http://afflib.org/2009/aff4#"
SYMBOLIC: Final = "http://afflib.org/2012/SymbolicStream#"
_FACTS: Final = {
    "chunk_size": "chunkSize",
    "chunks_in_segment": "chunksInSegment",
    "chunks_per_segment": "chunksInSegment",
    "CompressionMethod": "compressionMethod",
    "compression": "compressionMethod",
}
_TYPES: Final = {"map": "Map", "stream": "ImageStream", "image": "ImageStream"}


class Dialect(Enum):
    """The program that wrote a volume, by its names of facts."""

    STANDARD = "AFF4 Standard v1.0"
    EVIMETRY = "before the standard (Evimetry 2)"
    WINPMEM = "before the standard (winpmem 2)"


def dialect_of(graph: Graph) -> Dialect:
    """The dialect of the names in ``graph``."""
    for facts in graph.values():
        if any(name.startswith(EVIMETRY) for name in facts):
            return Dialect.EVIMETRY
        types = {value for value, _ in facts.get(RDF_TYPE, [])}
        if any(value.startswith(EVIMETRY) for value in types):
            return Dialect.EVIMETRY
        if types & {AFF4 + "map", AFF4 + "image", AFF4 + "stream"}:
            return Dialect.WINPMEM
    return Dialect.STANDARD


def standardised(graph: Graph) -> Graph:
    """The same facts by the standard's names."""
    found: Graph = {}
    for subject, facts in graph.items():
        renamed = found.setdefault(subject, {})
        for name, values in facts.items():
            renamed.setdefault(_fact(name), []).extend(
                [(_value(value, is_type=name == RDF_TYPE), kind) for value, kind in values]
            )
    return found


def standard_stream(urn: str) -> str:
    """The standard's name of a symbolic stream; other names as they are."""
    if urn.startswith(SYMBOLIC):
        return f"{AFF4}SymbolicStream{urn.removeprefix(SYMBOLIC)}"
    if not urn.startswith(EVIMETRY):
        return urn
    name = urn.removeprefix(EVIMETRY)
    return f"{AFF4}SymbolicStream{name}" if name == "FF" else AFF4 + name


def _fact(name: str) -> str:
    for space in (EVIMETRY, AFF4):
        if name.startswith(space):
            local = name.removeprefix(space)
            return AFF4 + _FACTS.get(local, local)
    return name


def _value(value: str, *, is_type: bool) -> str:
    for space in (EVIMETRY, AFF4):
        if value.startswith(space):
            local = value.removeprefix(space)
            return AFF4 + (_TYPES.get(local, local) if is_type else local)
    return value
