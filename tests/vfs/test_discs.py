"""Discs as trees of files: tracks in the raw view, the newest session at the root."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import pytest

from discs import unpacked
from helpers import tool
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.core.format import Options
from imgmount.core.node import File
from imgmount.vfs.tree import View, build_vfs


def names(path: Path, view: View, **options: object) -> set[str]:
    with open_image(path, Options(**options)) as image:  # type: ignore[arg-type]
        return set(build_vfs(image, view).listing("").nodes)


@pytest.mark.parametrize(
    ("variant", "raw"),
    [
        ("cue/single", {"track01.iso", "track01.bin", "track02.wav", "track03.wav"}),
        ("cue/mixed2048", {"track01.iso", "track02.wav", "track03.wav"}),
        ("cue/sub2448", {"track01.iso", "track01.bin", "track01.sub", "track02.wav", "track02.sub"}),
        ("cue/sound", {"track01.wav", "track02.wav", "track03.wav", "track04.mp3"}),
    ],
)
def test_the_raw_view_shows_tracks(variant: str, raw: set[str], tmp_path: Path) -> None:
    assert names(unpacked(variant, tmp_path), View.RAW) == {"disk.raw"} | raw


def test_the_tree_is_that_of_the_newest_session(tmp_path: Path) -> None:
    disc = unpacked("nrg/sub2448", tmp_path)
    both = {"data1.bin", "data2.bin", "hello1.txt", "hello2.txt", "sub1", "sub2"}
    assert names(disc, View.TREE) == both
    assert names(disc, View.TREE, extra={"session": "1"}) == {name for name in both if "1" in name}
    assert names(disc, View.ALL) > {"disk", "p1", "p2", "disk.raw", "track01.iso"}


def test_a_disc_of_sound_is_its_tracks(tmp_path: Path) -> None:
    assert names(unpacked("cue/appended", tmp_path), View.TREE) == {"disk.raw", "track01.wav", "track02.wav"}


@pytest.mark.parametrize(
    "variant", ["cue/single", "cue/sound", "cue/sub2448", "toc/mixed", "gdi/five", "nrg/v2-dao"]
)
def test_tracks_of_sound_are_wave_files(variant: str, tmp_path: Path) -> None:
    """In the eyes of sox, file and Python."""
    with open_image(unpacked(variant, tmp_path)) as image:
        nodes = build_vfs(image, View.RAW).listing("").nodes
        found = {name: node for name, node in nodes.items() if name.endswith(".wav")}
        assert found
        for name, node in found.items():
            assert isinstance(node, File)
            with node.open() as content:
                data = content.pread(0, content.size)
            (tmp_path / name).write_bytes(data)
            with wave.open(str(tmp_path / name)) as sound:
                assert sound.getparams()[:4] == (2, 2, 44100, (len(data) - 44) // 4)
                assert sound.readframes(sound.getnframes()) == data[44:]
            said = subprocess.run(
                [tool("soxi"), name], check=True, capture_output=True, text=True, cwd=tmp_path
            ).stdout
            assert "Channels       : 2\nSample Rate    : 44100\nPrecision      : 16-bit" in said
            assert f" = {(len(data) - 44) // 4} samples" in said
            kind = subprocess.run(
                [tool("file"), name], check=True, capture_output=True, text=True, cwd=tmp_path
            ).stdout
            assert "WAVE audio, Microsoft PCM, 16 bit, stereo 44100 Hz" in kind


def test_sound_without_files_in_it_is_nothing_to_be_told_of(tmp_path: Path) -> None:
    with open_image(unpacked("cue/single", tmp_path)) as image:
        assert build_vfs(image, View.ALL).notes == []
    with open_image(unpacked("nrg/v2-dao", tmp_path), Options(fs="udf")) as image:
        assert [note for note in build_vfs(image, View.ALL).notes if note.startswith("p2")] == []


def test_what_a_track_file_holds_is_what_its_stat_says(tmp_path: Path) -> None:
    with open_image(unpacked("cue/single", tmp_path)) as image:
        for name, node in build_vfs(image, View.RAW).listing("").nodes.items():
            assert isinstance(node, File), name
            with node.open() as content:
                assert len(content.pread(0, content.size)) == node.stat().size


def test_the_mac_side_of_a_hybrid_disc_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a partition map, both filesystems begin at the start of the disc."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    command = [
        tool("genisoimage"),
        "-quiet",
        "-hfs",
        "-r",
        "-V",
        "HYBRID",
        "-o",
        str(tmp_path / "disc"),
        str(tmp_path / "tree"),
    ]
    subprocess.run(command, check=True)
    assert main(["info", str(tmp_path / "disc")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "file > iso9660"
    assert any(line.startswith("  also") and "HFS" in line.upper() for line in lines)
    assert names(tmp_path / "disc", View.TREE) == {"file"}


def test_info_says_which_session_a_track_is_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(unpacked("cue/three", tmp_path))]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  p")]
    assert [line.rpartition(", ")[2].split()[:2] for line in lines] == [
        ["session", "1"],
        ["session", "2"],
        ["session", "3"],
    ]
