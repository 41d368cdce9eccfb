"""``info``: the table of partitions and the facts around it, beside what sfdisk and ewfinfo say."""

from __future__ import annotations

import json
import lzma
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers import FIXTURES, tool
from imgmount.cli.main import main

WUX = str(FIXTURES / "containers/wux/plain/game.wux")


def unpacked(relative: str, folder: Path) -> str:
    source = FIXTURES / relative
    path = folder / source.stem
    path.write_bytes(lzma.decompress(source.read_bytes()))
    return str(path)


def facts_of(path: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["info", "--json", path]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


@pytest.mark.parametrize("name", ["mbr/logical/logical.img.xz", "gpt/hybrid/disk.img.xz"])
def test_a_partition_table_is_sfdisks(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = unpacked(f"partitions/{name}", tmp_path)
    told = subprocess.run([tool("sfdisk"), "--json", path], check=True, capture_output=True).stdout
    table = json.loads(told)["partitiontable"]
    facts = facts_of(path, capsys)
    expected = [
        (f"p{part['node'].removeprefix(path)}", part["start"] * 512, part["size"] * 512)
        for part in table["partitions"]
        if part["type"] != "5"
    ]
    assert [(one["name"], one["offset"], one["size"]) for one in facts["volumes"]] == expected
    assert table["id"].lower() in facts["partition_table_info"].values()
    parts = [(start, start + size) for _, start, size in expected]
    gaps = [(gap["offset"], gap["offset"] + gap["size"]) for gap in facts["gaps"]]
    ends = sorted(parts + gaps)
    assert [end for _, end in ends] == [*(start for start, _ in ends[1:]), Path(path).stat().st_size]
    assert main(["info", path]) == 0
    found = re.findall(r"^  (p\d+|-) +(\d+) +(\d+) ", capsys.readouterr().out, re.MULTILINE)
    rows = [(name, int(start), int(size)) for name, start, size in found]
    assert [row for row in rows if row[0] != "-"] == sorted(expected, key=lambda row: row[1])
    assert [row[1:] for row in rows if row[0] == "-"] == [
        (gap["offset"], gap["size"]) for gap in facts["gaps"]
    ]


def test_no_gaps_where_parts_are_no_runs_of_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("partitions/lvm2/spanning/disk.img.xz", "partitions/eltorito/isohybrid/disc.iso.xz"):
        facts = facts_of(unpacked(name, tmp_path), capsys)
        assert facts["gaps"] == [] or all(
            one["offset"] is not None for one in facts["volumes"] if not one["outer"]
        )
    assert facts["gaps"] == []  # a file system covers the disc
    assert facts_of(WUX, capsys)["gaps"] == []


def test_parts_of_parts_follow_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = unpacked("partitions/bsd/slice/disk.img.xz", tmp_path)
    assert main(["info", path]) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines() if line.startswith(("  p", "  -"))]
    assert names == ["-", "p1", "-", "p2", "p2p1", "p2p4", "-"]
    assert "  disk identifier: 0x12345678\n" in out
    assert [one["outer"] for one in facts_of(path, capsys)["volumes"]] == [None, None, "p2", "p2"]


@pytest.mark.parametrize("variant", ["encase6", "stored"])
def test_what_kind_of_evidence(variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = unpacked(f"containers/ewf/{variant}/disk.E01.xz", tmp_path)
    facts = facts_of(path, capsys)["layers"][1]["info"]
    said = subprocess.run([tool("ewfinfo"), path], check=True, capture_output=True, text=True).stdout
    lines = [line.strip().partition(":") for line in said.splitlines()]
    ewfinfo = {name: value.strip() for name, _, value in lines}
    physical = {"yes": "physical", "no": "logical"}[ewfinfo["Is physical"]]
    assert facts["medium"] == f"{ewfinfo['Media type']}, {physical}"
    assert facts["sectors"] == f"{ewfinfo['Number of sectors']} of {ewfinfo['Bytes per sector']} bytes"
    levels = {"no compression": "none", "good (fast) compression": "zlib, fast"}
    assert facts["compression"] == levels[ewfinfo["Compression level"]]
    assert (facts["format"], facts["complete"]) == ("EWF-E01 (EnCase)", "yes")


def test_a_cut_set_is_not_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(unpacked("containers/ewf/split/disk.E01.xz", tmp_path))
    assert facts_of(str(path), capsys)["layers"][1]["info"]["complete"] == "no: segments are missing"


def test_several_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "absent")
    assert main(["info", WUX, absent, WUX]) == 1
    out, err = capsys.readouterr()
    first, second = out.split("\n\n")
    assert first + "\n" == second
    assert first.startswith(f"{WUX}:\nfile > wux\n")
    assert err == f"imgmount: {absent}: No such file or directory\n"
    assert main(["info", "--json", WUX, absent]) == 1
    one, other = json.loads(capsys.readouterr().out)
    assert one["chain"] == "file > wux"
    assert (other["image"], "error" in other) == (absent, True)
