"""Images that are recognised and not read: refused by name, so that they are not taken for damaged ones.

Discs in formats that are secret or out of use, and floppies below the level of sectors.
"""

from __future__ import annotations

from typing import Final, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Magic, Match
from imgmount.errors import UnsupportedError

SCP: Final = Magic(0, b"SCP")
KNOWN: Final = (
    (Magic(0, b"BWT5 STREAM SIGN"), "b5t: BlindWrite 5 and 6 images"),
    (Magic(0, b"Adaptec CeQuadrat VirtualCD File"), "c2d: WinOnCD images"),
    (Magic(0, b"Roxio Image File Format 3.0"), "c2d: Roxio images"),
    (Magic(8, b"imag"), "cif: Easy CD Creator images"),
    (Magic(-64, b"bbis"), "uif: MagicISO images"),
    (Magic(0, b"AARUFRMT"), "aaruf: Aaru images"),
    (Magic(0, b"DICMFRMT"), "aaruf: DiscImageChef images"),
    (Magic(0, b"JISO"), "jiso: PSP images in LZO blocks"),
    (Magic(0, b"CAPS"), "ipf: Interchangeable Preservation Format images"),
    (SCP, "scp: SuperCard Pro flux images"),
    (Magic(0, b"Formatted Disk Image file"), "fdi: Formatted Disk Images"),
    (Magic(0, b"HXCPICFE"), "hfe: HxC floppy emulator images"),
    (Magic(0, b"UAE--ADF"), "uae: extended ADF images of the first kind"),
)
# other programs, by the name's first word
READERS: Final = {
    "b5t:": "CDEmu loads them",
    "c2d:": "CDEmu loads them",
    "cif:": "CDEmu loads them",
    "uif:": "uif2iso converts them",
    "aaruf:": "'aaru image convert' converts them",
    "ipf:": "'gw convert' of Greaseweazle converts them",
    "scp:": "'gw convert' of Greaseweazle converts them",
    "hfe:": "'gw convert' of Greaseweazle converts them",
}
SCP_HEADER: Final = 16
SCP_REVOLUTIONS: Final = 5  # where their number is
MAX_REVOLUTIONS: Final = 20


def _known(device: BlockDevice) -> tuple[Magic, str] | None:
    for magic, name in KNOWN:
        place = magic.offset if magic.offset >= 0 else max(0, device.size + magic.offset)
        if device.pread(place, len(magic.data)) == magic.data:
            return magic, name
    return None


def probe(device: BlockDevice) -> Match:
    """CERTAIN, but LIKELY where three letters are all there is."""
    known = _known(device)
    if known is None or known[0] is not SCP:
        return Match.NO if known is None else Match.CERTAIN
    header = device.pread(0, SCP_HEADER)
    return (
        Match.LIKELY
        if len(header) == SCP_HEADER and 0 < header[SCP_REVOLUTIONS] <= MAX_REVOLUTIONS
        else Match.NO
    )


def refuse(device: BlockDevice, _: Context) -> NoReturn:
    """Raise ``UnsupportedError`` with the format's name."""
    known = _known(device)
    name = known[1] if known else "unread: formats that are recognised only"
    error = UnsupportedError(f"{name} are not supported")
    raise error.advise(*(text for start, text in READERS.items() if name.startswith(start)))


FORMAT: Final = ContainerFormat(
    name="unread",
    title="B5T, B6T, C2D, CIF, UIF, JISO, AaruFormat; IPF, SCP, FDI, HFE",
    extensions=(".b5t", ".b6t", ".c2d", ".cif", ".uif", ".jiso", ".aaruf", ".ipf", ".scp", ".fdi", ".hfe"),
    open=refuse,
    probe=probe,
    limits="recognised only, and refused by name",
)
