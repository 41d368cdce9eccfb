"""CD-ROM XA: the three ways to see a file in form 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from discs import unpacked
from imgmount.chain.open import open_image
from imgmount.core.format import Options
from imgmount.core.node import Directory, File
from imgmount.errors import ImageError, MountError


def listed(path: Path, choice: str) -> dict[str, bytes]:
    with open_image(path, Options(extra={"xa": choice})) as image:
        assert image.whole is not None
        return contents(image.whole.filesystem.root)


def contents(root: Directory) -> dict[str, bytes]:
    found = {}
    for name, node in root.entries():
        assert isinstance(node, File)
        with node.open() as content:
            found[name] = content.pread(0, content.size)
        assert len(found[name]) == node.stat().size
    return found


def test_raw_files_are_whole_sectors_behind_a_riff_header(tmp_path: Path) -> None:
    block = unpacked("cue/xa", tmp_path)
    stored = (tmp_path / "v.bin").read_bytes()
    files, form2 = listed(block, "raw"), listed(block, "form2")
    for name, sectors in (("B.DAT", 3), ("C.STR", 2)):
        head, body = files[name][:44], files[name][44:]
        assert (head[:4], int.from_bytes(head[4:8], "little"), head[8:16]) == (
            b"RIFF",
            len(files[name]) - 8,
            b"CDXAfmt ",
        )
        assert (head[26:28], head[36:40], int.from_bytes(head[40:], "little")) == (b"XA", b"data", len(body))
        assert len(body) == sectors * 2352
        assert body in stored
    assert files["A.TXT"] == form2["A.TXT"]
    assert (
        b"".join(files["B.DAT"][44:][at + 24 : at + 2348] for at in range(0, 3 * 2352, 2352))
        == form2["B.DAT"]
    )
    assert (
        b"".join(files["C.STR"][44:][at + 16 : at + 2352] for at in range(0, 2 * 2352, 2352))
        == form2["C.STR"]
    )


def test_cooked_files_are_what_a_kernel_sees(tmp_path: Path) -> None:
    block = unpacked("cue/xa", tmp_path)
    files, form2 = listed(block, "cooked"), listed(block, "form2")
    assert files["B.DAT"] == b"".join(form2["B.DAT"][at : at + 2048] for at in range(0, 3 * 2324, 2324))
    assert [len(files[name]) for name in ("A.TXT", "B.DAT", "C.STR")] == [2700, 3 * 2048, 2 * 2048]


def test_sectors_without_their_headers_show_what_they_have(tmp_path: Path) -> None:
    unpacked("cue/xa", tmp_path)
    stored = (tmp_path / "v.bin").read_bytes()
    form2 = listed(tmp_path / "v.bin", "form2")
    bare = tmp_path / "bare"
    bare.write_bytes(b"".join(stored[at + 16 : at + 2352] for at in range(0, len(stored), 2352)))
    assert listed(bare, "form2") == form2
    assert listed(bare, "raw")["C.STR"] == form2["C.STR"]
    bare.write_bytes(b"".join(stored[at + 24 : at + 2072] for at in range(0, len(stored), 2352)))
    assert listed(bare, "form2") == listed(bare, "raw") == listed(tmp_path / "v.bin", "cooked")


def test_a_record_of_an_audio_track_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    block = unpacked("cue/cdda", tmp_path)
    stored = bytearray((tmp_path / "c.bin").read_bytes())
    record = stored.index(b"ONE.DA;1") - 33
    stored[record + 2 : record + 6] = (6 + 2).to_bytes(
        4, "little"
    )  # the second track's, which has 4 sectors, not 6
    (tmp_path / "c.bin").write_bytes(stored)
    with open_image(block) as image:
        assert image.whole is not None
        node = image.whole.filesystem.root.lookup("ONE.DA")
        assert isinstance(node, File)
        assert node.stat().size == 6 * 2352
        with node.open() as content, pytest.raises(ImageError, match=r"audio track|outside"):
            content.pread(4 * 2352, 1)
        with node.open() as content:
            assert content.pread(0, 4 * 2352) == bytes(stored[8 * 2352 : 12 * 2352])


def test_cooked_audio_is_an_error_not_zeros(tmp_path: Path) -> None:
    with open_image(unpacked("cue/cdda", tmp_path), Options(extra={"xa": "cooked"})) as image:
        assert image.whole is not None
        node = image.whole.filesystem.root.lookup("TWO.DA")
        assert isinstance(node, File)
        with node.open() as content, pytest.raises(ImageError, match="sector 8 lies in no data track"):
            content.pread(0, 1)


def test_another_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"xa is .*form2.*raw.*cooked, not 'x'"):
        listed(unpacked("cue/xa", tmp_path), "x")
