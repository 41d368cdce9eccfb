"""Every format has a type of files, and desktops tell it: by name, and by content where it has a mark in its first part."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixture import Fixture, all_fixtures
from helpers import FIXTURES, tool
from imgmount.desktop.filetype import FileType
from imgmount.desktop.filetypes import FILE_TYPES, NO_FILE
from imgmount.registry import TABLES, all_formats

SHARE = FIXTURES.parent / "packaging" / "desktop"
FORMATS = sorted({fmt.name for kind in TABLES for fmt in all_formats(kind)})
HEAD = 0x12000

AT_END = "its mark is at its end, where no desktop looks"
FAR = "its mark lies behind the 4 KiB that GLib reads"
# Formats that content alone does not tell, and why.
BY_NAME_ONLY = {
    "atari": "its table has no mark",
    "cdi": AT_END,
    "cue": "it is a text like any other",
    "dart": "its mark is one byte",
    "dc42": "its mark is two bytes",
    "eltorito": FAR,
    "gdi": "it is a text like any other",
    "iso9660": FAR,
    "lzma": "its mark is three bytes",
    "ndif": "its mark is in its resource fork",
    "nrg": AT_END,
    "sessions": FAR,
    "shrinkwrap": "its mark is in its resource fork",
    "udf": FAR,
    "udif": AT_END,
    "ufs": "its mark lies behind 8 or 64 KiB",
    "wiiu": "its mark lies behind 64 KiB",
    "zar": AT_END,
}
# Names that do not tell the type without the content.
AMBIGUOUS = {
    "child.vhd": "sources in VHDL are called so too",
    "disk.vhd": "sources in VHDL are called so too",
    "install.smi.bin": "anything is called .bin",
}
# Names that tell another type, and that desktops believe more than the content.
MISLEADING = {
    "DiskDescriptor.xml": "XML, to which it belongs too",
    "Info.plist": "XML: the image is the folder that it lies in",
    "floppy.smi": "SMIL",
    "install.smi": "SMIL",
    "one.bin": "anything",
    "readme.bin": "a README",
    "x.bin": "anything, unless it begins with the mark of a sector",
}
GENERIC = {".img": {"application/x-raw-disk-image"}, ".iso": {"application/x-cd-image"}}


@dataclass(frozen=True)
class Guess:
    fixture: Fixture
    name: str
    by_both: str
    by_name: str
    by_content: str

    @property
    def types(self) -> set[str]:
        """What is right: the types of its format, and of other formats that such a name has."""
        own = {name for kind in FILE_TYPES if self.fixture.format in kind.formats for name in kind.names}
        return own | GENERIC.get(Path(self.name).suffix, set())


def name_and_head(fixture: Fixture) -> tuple[str, bytes]:
    facts = fixture.facts
    path = fixture.expected.parent / facts["image"]
    stored_as_is = facts.get("packed") or path.suffix != ".xz"
    with path.open("rb") if stored_as_is else lzma.open(path) as file:
        return path.name if stored_as_is else path.stem, file.read(HEAD)


class Database:
    """A user's MIME database with our package in it."""

    def __init__(self, folder: Path) -> None:
        (folder / "mime" / "packages").mkdir(parents=True)
        shutil.copy(SHARE / "mime/packages/imgmount.xml", folder / "mime" / "packages")
        self.environment = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CURRENT_DESKTOP": "GNOME"}
        done = self.run(tool("update-mime-database"), folder / "mime")
        assert done == ""

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout

    def types(self, paths: list[Path]) -> list[str]:
        out = self.run(tool("gio"), "info", "-a", "standard::content-type", *paths)
        mark = "standard::content-type: "
        return [line.strip().removeprefix(mark) for line in out.splitlines() if mark in line]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(tmp_path_factory.mktemp("share"))


@pytest.fixture(scope="module")
def guesses(database: Database, tmp_path_factory: pytest.TempPathFactory) -> list[Guess]:
    fixtures, whole, named, nameless = all_fixtures(), [], [], []
    heads = tmp_path_factory.mktemp("heads")
    for number, fixture in enumerate(fixtures):
        folder = heads / str(number)
        (folder / "empty").mkdir(parents=True)
        name, head = name_and_head(fixture)
        whole.append(folder / name)
        whole[-1].write_bytes(head)
        nameless.append(folder / "stripped")
        os.link(whole[-1], nameless[-1])
        named.append(folder / "empty" / name)
        named[-1].write_bytes(b"\1" * 64)
    kinds = zip(
        fixtures,
        [path.name for path in whole],
        database.types(whole),
        database.types(named),
        database.types(nameless),
        strict=True,
    )
    return [Guess(*found) for found in kinds]


def test_every_format_has_a_type_or_a_reason() -> None:
    typed = {name for kind in FILE_TYPES for name in kind.formats}
    assert sorted(typed | NO_FILE.keys()) == FORMATS
    assert not typed & NO_FILE.keys()
    names = [name for kind in FILE_TYPES for name in kind.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NO_FILE])
def test_a_desktop_tells_a_format_by_its_name_and_by_its_content(name: str, guesses: list[Guess]) -> None:
    own = [guess for guess in guesses if guess.fixture.format == name]
    assert own
    for guess in own:
        if guess.name not in MISLEADING:
            assert guess.by_both in guess.types
        if guess.name not in {*AMBIGUOUS, *MISLEADING}:
            assert guess.by_name in guess.types
    right = [guess for guess in own if guess.by_content in guess.types]
    assert bool(right) == (name not in BY_NAME_ONLY), {guess.by_content for guess in own}


def test_what_glib_does_not_reach_is_told_by_programs_that_read_further(
    database: Database, tmp_path: Path
) -> None:
    far = [fixture for fixture in all_fixtures() if BY_NAME_ONLY.get(fixture.format) == FAR]
    paths = [tmp_path / str(number) for number in range(len(far))]
    for fixture, path in zip(far, paths, strict=True):
        path.write_bytes(name_and_head(fixture)[1])
    assert set(database.run(tool("mimetype"), "--brief", *paths).split()) == {"application/x-cd-image"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("game.wux", b"", "application/x-wux"),
        ("game", b"WUX0\x2e\xd0\x99\x10", "application/x-wux"),
        ("DISK.E01", b"", "application/x-ewf"),
        ("data.hdf", b"\x89HDF\r\n\x1a\n", "application/x-hdf"),
        ("work.hdf", b"RDSK", "application/x-amiga-disk-format"),
        ("case.aff4", b"", "application/x-aff4"),
        ("notes.zip", b"PK\3\4", "application/zip"),
        ("firmware.bin", b"\x7fFIRM", "application/octet-stream"),
        ("track.bin", b"\0" + b"\xff" * 10 + b"\0", "application/x-cd-sectors"),
        ("disk.vhd", bytes(510) + b"\x55\xaa", "application/x-vhd-disk"),
        ("alu.vhd", b"library ieee;\n".ljust(64), "text/x-vhdl"),
        ("disc.cue", b'FILE "x.bin" BINARY', "application/x-cue"),
        ("disk.img.xz", b"\xfd7zXZ\0", "application/x-raw-disk-image-xz-compressed"),
        ("backup.tar.xz", b"\xfd7zXZ\0", "application/x-xz-compressed-tar"),
    ],
)  # fmt: skip
def test_xdg_mime_settles_clashes(
    name: str, content: bytes, expected: str, database: Database, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content.ljust(64, b"\1"))
    assert database.run(tool("xdg-mime"), "query", "filetype", tmp_path / name).strip() == expected


@pytest.mark.parametrize("kind", FILE_TYPES, ids=lambda kind: kind.name)
def test_names_end_as_the_formats_declare(kind: FileType) -> None:
    """`imgmount formats` and a desktop know the same names."""
    declared = {
        ending
        for table in TABLES
        for fmt in all_formats(table)
        if fmt.name in kind.formats
        for ending in fmt.extensions
    }
    assert [name for name in (*kind.globs, *kind.weak) if not name.endswith(tuple(declared))] == []
