"""No image reads a file that it should not: shown by strace over the real commands, for every format that names files.

The same images do show the secret under ``--refs any``: they would work, were they allowed to.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from attacks import NAMED, SECRET, SECTOR, SIZE, qcow2, secrets, vmdk
from fixture import unpack
from helpers import FIXTURES, SRC, tool

NAMES = {
    "absolute": "{outside}/secret.{target}",
    "dots": "../outside/secret.{target}",
    "backslashes": "..\\outside\\secret.{target}",
    "file": "file:../outside/secret.{target}",
    "file url": "file://{outside}/secret.{target}",
    "json": 'json:{{"driver":"raw","file":{{"driver":"file","filename":"{outside}/secret.raw"}}}}',
    "nbd": "nbd://127.0.0.1:9/secret",
    "nbd old": "nbd:127.0.0.1:9:exportname=secret",
    "https": "https://127.0.0.1:9/secret",
    "fat": "fat:{outside}",
    "device": "/dev/zero",
    "node": "node",
    "fifo": "fifo",
    "link": "link.{target}",
    "folder": "{outside}",
    "passwd": "/etc/passwd",
}
FOLLOWED = ("absolute", "dots", "backslashes", "file", "file url", "link")  # by --refs any
OPENED = re.compile(
    r'^(?:\d+ +)?(?:open|openat|openat2|creat)\((?:AT_FDCWD, |\d+, )?"((?:[^"\\]|\\.)*)".*\) = \d+',
    re.MULTILINE,
)
CALLS = re.compile(r"^(?:\d+ +)?(socket|connect|socketpair|bind|sendto|execve|mount)\(", re.MULTILINE)
DRIVER = """
import io, os, sys
from imgmount.cli.main import main

class Out(io.TextIOWrapper):
    pass

for line in open(sys.argv[1]):
    number, *words = line.rstrip("\\n").split("\\t")
    with open(f"{sys.argv[2]}/{number}.out", "wb") as out, open(f"{sys.argv[2]}/{number}.err", "w") as err:
        sys.stdout, sys.stderr = Out(out), err
        code = main(words)
        sys.stdout.flush()
        err.write(f"exit {code}\\n")
"""


class Answer(NamedTuple):
    """What a command said."""

    out: bytes
    err: str


class Trace(NamedTuple):
    """What all commands of a run did."""

    opened: list[str]
    calls: list[str]
    answers: list[Answer]


def traced(commands: list[list[str]], scratch: Path) -> Trace:
    """Run the commands in one process under strace; skips where nobody may trace."""
    if subprocess.run(
        [tool("strace"), "-o", "/dev/null", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this system allows no ptrace")
    answers = scratch / "answers"
    answers.mkdir()
    (scratch / "driver.py").write_text(DRIVER)
    (scratch / "commands").write_text(
        "".join("\t".join([str(n), *words]) + "\n" for n, words in enumerate(commands))
    )
    trace = scratch / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,%network,%process", "-o", trace,
         sys.executable, "-B", scratch / "driver.py", scratch / "commands", answers],
        check=True, env=os.environ | {"PYTHONPATH": SRC}, timeout=110,
    )  # fmt: skip
    text = trace.read_text(errors="replace")
    found = [
        Answer((answers / f"{n}.out").read_bytes(), (answers / f"{n}.err").read_text())
        for n in range(len(commands))
    ]
    return Trace(OPENED.findall(text), CALLS.findall(text)[1:], found)  # the first execve is strace's own


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """``inside/`` for images, with links and nodes in it that lead to ``outside/``, where the secrets are."""
    for name in ("inside", "outside", "scratch"):
        (tmp_path / name).mkdir()
    secrets(tmp_path / "outside")
    for secret in (tmp_path / "outside").iterdir():
        (tmp_path / "inside" / secret.name.replace("secret", "link")).symlink_to(secret)
    os.mkfifo(tmp_path / "inside/fifo")
    if not os.geteuid():
        os.mknod(tmp_path / "inside/node", 0o020666, os.makedev(1, 5))
    return tmp_path


def images(place: Path) -> Iterator[tuple[str, str, Path]]:
    """(attack, name's kind, image) of every combination."""
    for number, (attack, (make, target, _)) in enumerate(NAMED.items()):
        for kind, name in NAMES.items():
            path = place / "inside" / f"image{number}-{kind.replace(' ', '-')}"
            make(path, name.format(outside=place / "outside", target=target))
            yield attack, kind, path


def leaks(trace: Trace, place: Path) -> list[str]:
    """The files outside ``inside/`` that were opened, as far as an image could have meant them."""
    suspects = []
    for path in map(Path, trace.opened):
        inside = (
            path.is_relative_to(place / "inside")
            and not path.is_symlink()
            and (path.is_file() or path.is_dir())
        )
        ours = path.is_relative_to(place / "scratch")
        meant = path.is_relative_to(place) or path.name in ("passwd", "zero", "node", "fifo")
        if meant and not inside and not ours:
            suspects.append(str(path))
    return suspects


def test_no_name_leads_anywhere(place: Path) -> None:
    made = list(images(place))
    trace = traced([["cat", "--raw", str(path), "disk.raw"] for _, _, path in made], place / "scratch")
    assert trace.calls == []
    assert leaks(trace, place) == []
    for (attack, kind, path), answer in zip(made, trace.answers, strict=True):
        where = f"{attack}, {kind}: {answer.err}"
        assert SECRET not in answer.out, where
        assert answer.err.endswith("exit 2\n"), where
        assert answer.err.count("\n") <= 3, where
        assert str(path) in answer.err, where
        if kind in ("absolute", "dots", "file", "file url", "passwd"):
            assert "--refs DIR" in answer.err, where
            assert "secret." in answer.err or "passwd" in answer.err, where


def test_the_same_names_are_followed_when_the_user_says_so(place: Path) -> None:
    made = [("any", attack, path) for attack, kind, path in images(place) if kind in FOLLOWED]
    made += [(str(place / "outside"), attack, path) for _, attack, path in made if "link" not in path.name]
    trace = traced(
        [["cat", "--raw", "--refs", refs, str(path), "disk.raw"] for refs, _, path in made], place / "scratch"
    )
    assert trace.calls == []
    for (refs, attack, path), answer in zip(made, trace.answers, strict=True):
        assert SECRET in answer.out, f"{attack} {path.name} --refs {refs}: {answer.err}"


def test_any_follows_no_url_device_or_fifo(place: Path) -> None:
    made = [(attack, kind, path) for attack, kind, path in images(place) if kind not in (*FOLLOWED, "passwd")]
    trace = traced(
        [["cat", "--raw", "--refs", "any", str(path), "disk.raw"] for *_, path in made], place / "scratch"
    )
    assert trace.calls == []
    assert leaks(trace, place) == []
    for (attack, kind, _), answer in zip(made, trace.answers, strict=True):
        assert SECRET not in answer.out, f"{attack}, {kind}: {answer.err}"
        assert answer.err.endswith("exit 2\n"), f"{attack}, {kind}: {answer.err}"


def test_nothing_beside_an_image_is_taken_for_its_other_parts_unless_it_is_a_file(place: Path) -> None:
    """Formats that find their parts by name or by identifier: links, devices and FIFOs of the right names lie beside them."""
    inside, outside = place / "inside", place / "outside"
    folders: list[Path] = []
    made: list[Path] = []

    def beside(name: str, target: Path) -> Path:
        """A folder for one attack, in which ``name`` is a link to the secret."""
        folder = inside / f"f{len(folders)}"
        folder.mkdir()
        (folder / name).symlink_to(target)
        folders.append(folder)
        return folder

    for name, fixture, first in (
        ("disk.E02", "ewf/split/disk.E01.xz", "disk.E01"),
        ("disk.Ex02", "ewf/ex01/disk.Ex01.xz", "disk.Ex01"),
        ("base.vdi", "vdi/differencing/snapshot.vdi.xz", "snapshot.vdi"),
        ("undo.vdi", "vdi/differencing/snapshot.vdi.xz", "snapshot.vdi"),
        ("parent.vhd", "vhd/differencing/child.vhd.xz", "child.vhd"),
        ("parent.vhdx", "vhdx/differencing/child.vhdx.xz", "child.vhdx"),
    ):
        folder = FIXTURES / "containers" / fixture
        genuine = folder.parent / f"{name}.xz"
        target = outside / f"{len(made)}-{name}"
        if genuine.exists():
            unpack(genuine, target)  # the very part that is wanted, but elsewhere
        path = beside(name, target) / first
        unpack(folder, path)
        made.append(path)
    for names, text in (
        (("disk.img", "disk.sub"), "[CloneCD]\nVersion=3\n[Disc]\nTocEntries=3\nSessions=1\n"),
        (("disk.002",), SECRET.decode()),
        (("disk.part2",), SECRET.decode()),
    ):
        folder = beside(names[0], outside / "secret.raw")
        path = folder / {"disk.img": "disk.ccd", "disk.002": "disk.001", "disk.part2": "disk.part1"}[names[0]]
        path.write_text(text.replace("***", "---"))
        made.append(path)
    trace = traced([["cat", "--raw", str(path), "disk.raw"] for path in made], place / "scratch")
    assert trace.calls == []
    assert leaks(trace, place) == []
    assert not any(SECRET in answer.out for answer in trace.answers)


def test_loops_end(place: Path) -> None:
    inside = place / "inside"
    qcow2(inside / "self", "self", "qcow2")
    qcow2(inside / "self-data", "self-data", data=True)
    qcow2(inside / "one", "two", "qcow2")
    qcow2(inside / "two", "one", "qcow2")
    extent = f'RW {SIZE // SECTOR} SPARSE "delta-s001.vmdk"'
    for name, parent in (("own.vmdk", "own.vmdk"), ("a.vmdk", "b.vmdk"), ("b.vmdk", "a.vmdk")):
        vmdk(inside / name, "parentCID=00000001", f'parentFileNameHint="{parent}"', extent)
    loops = ["self", "self-data", "one", "two", "own.vmdk", "a.vmdk", "b.vmdk"]
    for kind in ("vhd W2ku", "vhdx relative_path", "qed backing guessed", "qcow backing"):
        path = inside / kind.replace(" ", "-")
        NAMED[kind].make(path, path.name)
        loops.append(path.name)
    for refs in ((), ("--refs", "any")):
        shutil.rmtree(place / "scratch")
        (place / "scratch").mkdir()
        trace = traced([["info", *refs, str(inside / name)] for name in loops], place / "scratch")
        assert trace.calls == []
        for name, answer in zip(loops, trace.answers, strict=True):
            assert answer.err.endswith("exit 2\n"), name + answer.err
            assert answer.err.count("\n") == 2, name + answer.err


def test_the_trace_sees_what_it_should(place: Path) -> None:
    """A check that cannot fail proves nothing: these commands open the secret and are seen to."""
    trace = traced([["info", str(place / "outside/secret.raw")], ["info", "/dev/zero"]], place / "scratch")
    assert {str(place / "outside/secret.raw"), "/dev/zero"} <= set(leaks(trace, place))
