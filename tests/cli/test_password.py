"""A password that an image needs: where it is asked for, and what is said where nobody can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixture import unpack
from helpers import FIXTURES
from imgmount.cli.main import main


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An APFS volume: its container opens without the password."""
    monkeypatch.delenv("IMGMOUNT_PASSWORD", raising=False)
    unpack(FIXTURES / "filesystems/apfs/encrypted/encrypted.img.xz", tmp_path / "x.img")
    return tmp_path / "x.img"


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """The questions to a user who sits at a terminal and gives these answers, or knows the password."""
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return (answers or ("two",))[len(questions) - 1]

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", answer)
    return questions


def test_a_locked_volume_is_asked_for(
    locked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = at_a_terminal(monkeypatch)
    assert main(["ls", "-d", str(locked), "/d"]) == 0
    assert capsys.readouterr() == ("/d\n", "")
    assert asked == [f"Password of {locked}: "]


def test_a_wrong_password_is_told_and_asked_for_again(
    locked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = at_a_terminal(monkeypatch, "wrong", "two")
    assert main(["ls", "-d", str(locked), "/d"]) == 0
    out, err = capsys.readouterr()
    assert out == "/d\n"
    assert err == (
        f"imgmount: {locked}: apfs: volume 'Secret' is encrypted: the password is wrong (hint: 'numbers')\n"
    )
    assert len(asked) == 2


@pytest.mark.parametrize(("answers", "times"), [(["no", "never", "neither"], 3), (["no", ""], 2), ([""], 1)])
def test_asking_ends(
    answers: list[str], times: int, locked: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = at_a_terminal(monkeypatch, *answers)
    assert main(["ls", str(locked)]) == 0
    assert len(asked) == times
    out, err = capsys.readouterr()
    assert out == "disk.raw\n"
    *_, last = lines = err.splitlines()
    assert len(lines) == times
    assert ("is wrong" if answers[0] else "is needed") in last
    assert last.endswith("raw view")


def test_a_wrong_password_that_was_given_is_not_asked_for(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = at_a_terminal(monkeypatch)
    assert main(["ls", "--password", "wrong", str(locked)]) == 0
    assert asked == []


@pytest.mark.parametrize("words", [["--raw"], ["--password", "two"]])
def test_what_needs_no_question_asks_none(
    words: list[str], locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = at_a_terminal(monkeypatch)
    assert main(["ls", *words, str(locked)]) == 0
    assert asked == []


def test_without_a_terminal_it_is_said_how(locked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(locked)]) == 0
    out, err = capsys.readouterr()
    assert out == "disk.raw\n"
    assert "; give --password-file FILE or set IMGMOUNT_PASSWORD: raw view" in err
