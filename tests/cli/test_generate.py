"""Completion scripts and the manual page are current, and their readers accept them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers import tool
from imgmount.cli.commands import COMMANDS
from imgmount.cli.main import main

TOP = Path(__file__).parents[2]
FILES = {
    "bash": "packaging/completion/imgmount.bash",
    "fish": "packaging/completion/imgmount.fish",
    "man": "docs/man/imgmount.1",
    "mime": "packaging/desktop/mime/packages/imgmount.xml",
    "zsh": "packaging/completion/_imgmount",
}


@pytest.mark.parametrize("kind", FILES)
def test_the_file_is_current(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print", kind]) == 0
    assert capsys.readouterr().out == (TOP / FILES[kind]).read_text(), (
        f"run: imgmount --print {kind} > {FILES[kind]}"
    )


def test_anything_else_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print", "tcsh"]) == 1
    assert (
        capsys.readouterr().err
        == "imgmount: --print takes one of bash, zsh, fish, man, mime, opened-types, offered-types\n"
    )


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_the_shell_can_read_it(shell: str) -> None:
    done = subprocess.run([tool(shell), "-n", str(TOP / FILES[shell])], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_manual_page_has_no_warnings() -> None:
    done = subprocess.run(
        [tool("groff"), "-ww", "-man", "-Tutf8", str(TOP / FILES["man"])], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["imgmount", "ver"], {"verify"}),
        (["imgmount", ""], {*COMMANDS, "a file.iso"}),
        (["imgmount", "ls", "--view", ""], {"tree", "raw", "all", "deleted"}),
        (["imgmount", "extract", "--forc"], {"--force"}),
        (["imgmount", "a file.iso", "--fore"], {"--foreground"}),
        (["imgmount", "-u", "--la"], {"--lazy"}),
        (["imgmount", "cat", "--password-file", ""], set()),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "a file.iso").touch()
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _imgmount; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        [tool("bash"), "-c", script, "-", str(TOP / FILES["bash"]), *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert set(filter(None, done.stdout.split("\n"))) == expected


def test_fish_completes(tmp_path: Path) -> None:
    (tmp_path / "a file.iso").touch()
    ask = f"source {TOP / FILES['fish']}; complete -C 'imgmount extract --forc'; complete -C 'imgmount ver'"
    done = subprocess.run(
        [tool("fish"), "--no-config", "-c", ask],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        check=True,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["--force", "verify"]
