"""TAB behind a path inside an image, and behind ``-u``: asked of the program, and in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_tree import Fixed, Link, Plain
from helpers import SRC, tool
from imgmount.cli.main import main
from imgmount.core.slices import MemoryDevice
from imgmount.fuse import mountpoint
from toy_formats import Maker

TOP = Path(__file__).parents[2]
SCRIPTS = TOP / "packaging" / "completion"
PATIENCE = 30  # seconds for a shell that has to start


@pytest.fixture
def folder(make: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder, with ``made up.img`` in it."""
    below = Fixed(4, {"inner": Plain(5, MemoryDevice(b"")), "it's deep": Fixed(7, {})})
    make({"a dir": below, "a.txt": below.nodes["inner"], "link": Link(9, "a dir"), ".dot": Plain(6, MemoryDevice(b"")),
          "new\nline": Plain(8, MemoryDevice(b""))})  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ls", "'made up.img'", ""], ["a dir/", "a.txt", "link/"]),
        (["ls", "made\\ up.img", "/a"], ["/a dir/", "/a.txt"]),
        (["ls", "-l", '"made up.img"', "a.txt", "'a dir/"], ["a dir/inner", "a dir/it's deep/"]),
        (["cat", "'made up.img'", "a\\ dir/it\\'"], ["a dir/it's deep/"]),
        (
            ["--fs", "=", "made-up", "extract", "'made up.img'", "-C", "x", "link/i"],
            ["link/inner", "link/it's deep/"],
        ),
        (["ls", "'made up.img'", "."], [".dot"]),
        (["ls", "'made up.img'", "nothing"], []),
        (["ls", "--raw", "'made up.img'", ""], ["disk.raw"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_paths_inside_an_image(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--complete", *words]) == 0
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(
    "words",
    [["ls", ""], ["ls", "'made up.img'", "--vi"], ["ls", "'made up.img'", "--keys", ""], ["info", "'made up.img'", ""],
     ["extract", "'made up.img'", "-C", ""], ["ls", "absent", ""], ["ls", "'made up.img'", "absent/x"], []],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_the_shell_knows_better(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--complete", *words]) != 0
    assert capsys.readouterr().out == ""


def test_what_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mountinfo").write_text(
        f"40 22 0:51 / {tmp_path}/a\\040b ro - fuse.imgmount /x/image.iso ro\n"
    )
    monkeypatch.setattr(mountpoint, "MOUNTINFO", tmp_path / "mountinfo")
    monkeypatch.chdir(tmp_path)
    assert main(["--complete", "-u", ""]) == 0
    assert capsys.readouterr().out == "a b\n/x/image.iso\n"
    assert main(["--complete", "umount", "-l", f"{tmp_path}/a\\ "]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/a b\n"


class TestShells:
    """With a real image, as a shell starts a program that knows no made-up formats."""

    @pytest.fixture(autouse=True)
    def _image(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tree = tmp_path / "tree"
        (tree / "Read me").mkdir(parents=True)
        (tree / "Read me" / "it's here.txt").write_text("text")
        (tree / "other").touch()
        command = [tool("xorrisofs"), "-quiet", "-R", "-o", str(tmp_path / "my disc.iso"), str(tree)]
        subprocess.run(command, check=True)
        program = tmp_path / "bin" / "imgmount"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imgmount "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", SRC)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.chdir(tmp_path)

    def typed(self, command: list[str], setup: str, keys: str) -> str:
        """The line that an interactive shell has after ``keys``, which end with one that prints it."""
        pid, terminal = pty.fork()
        if not pid:
            os.execvp(command[0], command)
        os.write(terminal, f"{setup}; echo rea''dy\n".encode())
        try:
            until(terminal, "ready\r\n")
            os.write(terminal, keys.encode())
            return until(terminal, ">>").rpartition("<<")[2].removesuffix(">>")
        finally:
            os.close(terminal)
            os.waitpid(pid, 0)

    @pytest.mark.parametrize(
        ("start", "line"),
        [
            (r"ls my\ disc.iso R", r"ls my\ disc.iso Read\ me/"),
            (
                r"cat --fs rockridge my\ disc.iso /Read\ me/",
                r"cat --fs rockridge my\ disc.iso /Read\ me/it\'s\ here.txt ",
            ),
            ("--fs jol", "--fs joliet "),
            ("formats sparseb", "formats sparsebundle "),
            ("info my", r"info my\ disc.iso "),
        ],
    )
    def test_bash_and_zsh(self, start: str, line: str) -> None:
        setup = f'source {SCRIPTS}/imgmount.bash; bind -x \'"\\C-g": printf "<<%s>>" "$READLINE_LINE"\'; PS1='
        bash = [tool("bash"), "--norc", "--noprofile", "-i"]
        assert self.typed(bash, setup, f"imgmount {start}\t\x07") == f"imgmount {line}"
        setup = (
            (
                f"fpath=({SCRIPTS} $fpath); autoload -Uz compinit; compinit -u -D; PS1=; unsetopt zle_bracketed_paste;"
                "show() {{ print -rn -- \"<<$BUFFER>>\" }}; zle -N show; bindkey '^G' show"
            )
            .replace("{{", "{")
            .replace("}}", "}")
        )
        assert self.typed([tool("zsh"), "-f", "-i"], setup, f"imgmount {start}\t\x07") == f"imgmount {line}"

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (r"ls my\ disc.iso R", ["Read me/"]),
            (r"cat --raw my\ disc.iso ''", ["disk.raw"]),
            (r"extract my\ disc.iso 'Read me/", ["Read me/it's here.txt"]),
            ("ls my", ["my disc.iso"]),
            ("ls --fs jol", ["joliet"]),
            ("formats sparseb", ["sparsebundle"]),
        ],
    )
    def test_fish(self, line: str, expected: list[str]) -> None:
        ask = f"source {SCRIPTS}/imgmount.fish; complete -C $argv[1]"
        command = [tool("fish"), "--no-config", "-c", ask, f"imgmount {line}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [found.split("\t")[0] for found in done.stdout.splitlines()] == expected


def until(terminal: int, end: str) -> str:
    """What a program prints, up to ``end``."""
    text, deadline = "", time.monotonic() + PATIENCE
    while end not in text:
        assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], text
        text += os.read(terminal, 4096).decode()
    return text[: text.index(end) + len(end)]
