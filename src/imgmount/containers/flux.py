"""Floppy images below the level of sectors, recognised and not read: refused by name, so that nobody thinks them damaged."""

from __future__ import annotations

from typing import Final, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match
from imgmount.errors import UnsupportedError

KNOWN: Final = {
    b"CAPS": "ipf: Interchangeable Preservation Format images",
    b"SCP": "scp: SuperCard Pro flux images",
    b"Formatted Disk Image file": "fdi: Formatted Disk Images",
    b"HXCPICFE": "hfe: HxC floppy emulator images",
    b"UAE--ADF": "uae: extended ADF images of the first kind",
}
LONGEST: Final = max(map(len, KNOWN))
SCP_TRACKS: Final = 0x10  # where the table of tracks of an SCP file begins
SCP_REVOLUTIONS: Final = 5  # where their number is
MAX_REVOLUTIONS: Final = 20


def _subject(device: BlockDevice) -> str:
    start = device.pread(0, LONGEST)
    return next(subject for magic, subject in KNOWN.items() if start.startswith(magic))


def probe(device: BlockDevice) -> Match:
    """LIKELY where three letters are all there is."""
    start = device.pread(0, SCP_TRACKS)
    if not start.startswith(b"SCP"):
        return Match.CERTAIN
    return Match.LIKELY if len(start) == SCP_TRACKS and 0 < start[SCP_REVOLUTIONS] <= MAX_REVOLUTIONS else Match.NO


def refuse(device: BlockDevice, _: Context) -> NoReturn:
    """Raise ``UnsupportedError`` with the format's name."""
    raise UnsupportedError(f"{_subject(device)} are not supported")


FORMAT: Final = Format(
    name="flux",
    title="IPF, SCP, FDI, HFE",
    kind=Kind.CONTAINER,
    open=refuse,
    probe=probe,
    limits="recognised only, and refused by name",
)
