"""Images that hold one track of a disc, or its pregap as well, with nothing that says so.

The bytes say where they belong.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conformance import check_device, manifest
from discs import content, open_disc, shown
from helpers import tool
from imgmount.chain.open import Image, open_image
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import Session
from imgmount.families.optical.layouts import find_layout
from imgmount.jobs.verify import problems

SECTORS = bytes(150 * 2048)


def volume(folder: Path, *options: str) -> bytes:
    """An ISO 9660 volume of a few files by genisoimage."""
    inside = folder / "tree"
    (inside / "dir").mkdir(parents=True)
    (inside / "a.txt").write_bytes(b"first\n" * 700)
    (inside / "dir" / "b.bin").write_bytes(bytes(range(256)) * 99)
    command = [tool("genisoimage"), "-quiet", "-R", *options, "-o", str(folder / "v.iso"), str(inside)]
    subprocess.run(command, check=True)
    return (folder / "v.iso").read_bytes()


def framed(data: bytes, *, first: int, size: int, mode: int = 1) -> bytes:
    """``data`` in sectors of ``size`` bytes whose headers count from LBA ``first`` on."""
    found = []
    for number in range(len(data) // 2048):
        minutes, rest = divmod(first + number + 150, 75 * 60)
        address = bytes(int(f"{value:02}", 16) for value in (minutes, *divmod(rest, 75)))
        user = bytes(8 * (mode == 2)) + data[number * 2048 : number * 2048 + 2048]
        whole = b"\0" + b"\xff" * 10 + b"\0" + address + bytes([mode]) + user.ljust(2336, b"\0")
        found.append({2352: whole, 2340: whole[12:], 2336: whole[16:], 2448: whole + bytes(96)}[size])
    return b"".join(found)


def tree_of(image: Image) -> dict[str, object]:
    assert image.whole is not None
    return dict(manifest(image.whole.filesystem.root))


def expected(folder: Path) -> dict[str, object]:
    """The same volume as a disc of its own."""
    (folder / "plain").mkdir()
    plain = folder / "plain" / "v.iso"
    plain.write_bytes(volume(folder / "plain"))
    with open_image(plain) as image:
        return tree_of(image)


@pytest.mark.parametrize("start", [11702, 45000])
def test_a_plain_image_of_a_later_session_counts_from_the_start_of_the_disc(
    start: int, tmp_path: Path
) -> None:
    (tmp_path / "track03.iso").write_bytes(volume(tmp_path, "-C", f"0,{start}"))
    with open_image(tmp_path / "track03.iso") as image:
        assert str(image) == "file > rawsectors > tracks[1] > iso9660"
        assert tree_of(image) == expected(tmp_path)
        assert content(image.disk) == (tmp_path / "v.iso").read_bytes()
        assert not list(problems(image, read=True))
    isoinfo = [tool("isoinfo"), "-N", str(start), "-i", str(tmp_path / "track03.iso")]
    listed = subprocess.run([*isoinfo, "-x", "/A.TXT;1"], check=True, capture_output=True).stdout
    assert listed == (tmp_path / "tree" / "a.txt").read_bytes()


def test_boot_images_of_a_later_session_are_found_as_well(tmp_path: Path) -> None:
    boot = bytes(range(256)) * 16
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "boot.bin").write_bytes(boot)
    options = ["-b", "boot.bin", "-no-emul-boot", "-C", "0,11702", "-o", str(tmp_path / "x.iso")]
    subprocess.run([tool("genisoimage"), "-quiet", *options, str(tmp_path / "tree")], check=True)
    with open_image(tmp_path / "x.iso") as image:
        shown_boot = next(volume for volume in image.volumes if volume.partition.kind.startswith("El Torito"))
        assert shown_boot.device.pread(0, 512) == boot[:512]


def test_a_file_of_an_earlier_session_is_an_error_not_other_bytes(tmp_path: Path) -> None:
    first = volume(tmp_path)
    padded = first.ljust(11702 * 2048, b"\0")
    (tmp_path / "first.iso").write_bytes(padded)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.txt").write_bytes(b"later\n")
    options = ["-R", "-C", "0,11702", "-M", str(tmp_path / "first.iso"), "-o", str(tmp_path / "second.iso")]
    subprocess.run([tool("genisoimage"), "-quiet", *options, str(tmp_path / "more")], check=True)
    with open_image(tmp_path / "second.iso") as image:
        assert image.whole is not None
        root = image.whole.filesystem.root
        later, earlier = root.lookup("c.txt").open(), root.lookup("a.txt").open()  # type: ignore[attr-defined]
        assert content(later) == b"later\n"
        with pytest.raises(FormatError, match="lies in no data track"):
            earlier.pread(0, 1)


@pytest.mark.parametrize("size", [2352, 2448])
def test_headers_say_where_a_track_without_a_description_begins(size: int) -> None:
    data = bytes(range(256)) * 8 * 40  # no file system at all
    main = open_disc("rawsectors", framed(data, first=45000, size=size)).main(None)
    assert isinstance(main, Session)
    assert main.base == 45000


@pytest.mark.parametrize(
    ("size", "mode"), [(2352, 1), (2352, 2), (2448, 1), (2448, 2), (2340, 1), (2340, 2), (2336, 2)]
)
def test_sectors_of_every_size_with_and_without_their_pregap(size: int, mode: int, tmp_path: Path) -> None:
    data = volume(tmp_path)
    tree = expected(tmp_path)
    for pregap in (0, 150):
        stored = framed(bytes(pregap * 2048) + data, first=-pregap, size=size, mode=mode)
        (tmp_path / "x.bin").write_bytes(stored)
        with open_image(tmp_path / "x.bin") as image:
            assert str(image) == "file > rawsectors > tracks[1] > iso9660"
            assert tree_of(image) == tree
            assert content(image.disk) == stored
            assert not list(problems(image, read=True))
        check_device(shown(open_disc("rawsectors", stored))["track01.iso"], data)


def test_a_plain_image_with_its_pregap(tmp_path: Path) -> None:
    data = volume(tmp_path)
    (tmp_path / "x.iso").write_bytes(bytes(150 * 2048) + data)
    with open_image(tmp_path / "x.iso") as image:
        assert tree_of(image) == expected(tmp_path)


def test_a_plain_image_that_is_in_its_place_is_no_track(tmp_path: Path) -> None:
    (tmp_path / "x.iso").write_bytes(volume(tmp_path))
    with open_image(tmp_path / "x.iso") as image:
        assert str(image) == "file > iso9660"


def test_a_root_that_is_nowhere_moves_nothing(tmp_path: Path) -> None:
    data = bytearray(volume(tmp_path))
    data[16 * 2048 + 158 : 16 * 2048 + 162] = (12345).to_bytes(4, "little")
    (tmp_path / "x.iso").write_bytes(bytes(data))
    with open_image(tmp_path / "x.iso") as image:
        assert str(image) == "file > iso9660"  # the path table has the root
        assert tree_of(image) == expected(tmp_path)


def test_addresses_that_contradict_each_other_are_not_believed() -> None:
    data = bytes(40 * 2048)
    wrong = framed(data[: 16 * 2048], first=45000, size=2352) + framed(data[16 * 2048 :], first=7, size=2352)
    assert open_disc("rawsectors", wrong).tracks[0].lba == 0
    nothing = framed(data, first=0, size=2352)
    blank = b"".join(
        nothing[at : at + 12] + bytes(3) + nothing[at + 15 : at + 2352] for at in range(0, len(nothing), 2352)
    )
    assert (
        open_disc("rawsectors", blank).tracks[0].lba,
        open_disc("rawsectors", blank).tracks[0].pregap,
    ) == (0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x.cue", "cue: the sheet has no FILE line"),
        ("x.GDI", "gdi: no line is number"),
        ("x.toc", "toc: the disc has 0 tracks"),
        ("x.ccd", "ccd: no [Entry] section"),
    ],
)
def test_a_text_that_is_called_a_sheet_is_never_shown_as_a_disk(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / text).write_text("nothing that makes sense\n" * 3)
    with pytest.raises(FormatError) as caught:
        open_image(tmp_path / text)
    assert says in str(caught.value)


def test_other_names_and_other_bytes_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("nothing that makes sense\n")
    (tmp_path / "x.cue").write_bytes(bytes(5000))
    for name in ("x.txt", "x.cue"):
        with open_image(tmp_path / name) as image:
            assert str(image) == "file"


def test_the_name_settles_what_a_text_is_that_could_be_two_things(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(2352))
    text = 'FILE "a.bin" BINARY\n TRACK 01 AUDIO\n INDEX 01 00:00:00\nCD_DA\nTRACK AUDIO\nFILE "a.bin" 0\n'
    for name in ("cue", "toc"):
        (tmp_path / f"x.{name}").write_text(text)
        with open_image(tmp_path / f"x.{name}") as image:
            assert image.layers[1].name == name
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(Exception, match="is cue and toc at once"):
        open_image(tmp_path / "x.txt")


@pytest.mark.parametrize("size", [2352, 2448])
def test_a_damaged_sector_does_not_hide_how_sectors_are_stored(size: int, tmp_path: Path) -> None:
    stored = bytearray(framed(volume(tmp_path), first=0, size=size))
    stored[size : size + 12] = bytes(12)  # sector 1 has no sync pattern
    found = find_layout(MemoryDevice(bytes(stored)))
    assert found is not None
    assert found.stride == size
