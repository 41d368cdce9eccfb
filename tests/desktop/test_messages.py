"""What nobody reads on a terminal is shown: by a notification, or a window where there are none."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from fake_programs import FakePrograms
from imgmount.desktop.messages import ask_password, tell, with_failures_shown
from imgmount.desktop.windows import show
from imgmount.errors import ImageError, MountError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePrograms:
    """The only programs that there are."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DISPLAY", ":7")
    return FakePrograms(tmp_path / "bin")


def test_a_notification_is_preferred(programs: FakePrograms) -> None:
    programs.add("notify-send", "gdbus", "zenity", "xmessage")
    assert tell("-x", "a <b> & c\nd")
    (call,) = programs.calls()
    assert call == [
        "notify-send", "--app-name=imgmount", "--icon=imgmount", "--", "-x", r"a &lt;b&gt; &amp; c\nd",
    ]  # fmt: skip


def test_the_bus_is_asked_where_notify_send_is_missing(programs: FakePrograms) -> None:
    programs.add("gdbus")
    assert tell("disc.iso", 'say "no" \\')
    (call,) = programs.calls()
    assert call[-8:] == [
        '"imgmount"', "0", '"imgmount"', '"disc.iso"', r'"say \"no\" \\"', "[]", "{}", "-1",
    ]  # fmt: skip


@pytest.mark.parametrize("dialog", ["kdialog", "zenity", "xmessage"])
def test_a_window_serves_where_no_notification_is_taken(dialog: str, programs: FakePrograms) -> None:
    programs.add("notify-send", "gdbus", code=1)
    programs.add(dialog)
    assert tell("disc.iso", "a <b>")
    call = programs.calls(3)[-1]
    assert call[0] == dialog
    assert "a <b>" in call[-1]


def test_without_any_program_nothing_is_shown(programs: FakePrograms) -> None:
    assert not tell("disc.iso", "text")
    assert programs.calls() == []


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ImageError("vhd: the footer is damaged"), "vhd: the footer is damaged"),
        (PermissionError(13, "Permission denied", "/x/disc.iso"), "Permission denied"),
        (ValueError("x"), "internal error, ValueError: x"),
    ],
)
def test_a_failure_is_shown_and_raised(failure: Exception, text: str, programs: FakePrograms) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise failure

    programs.add("notify-send")
    with pytest.raises(type(failure)):
        with_failures_shown(fail, argparse.Namespace(), "/x/disc.iso")
    assert programs.calls()[0][-2:] == ["disc.iso: failed", text]


def test_success_is_not_shown(programs: FakePrograms) -> None:
    programs.add("notify-send")
    assert with_failures_shown(lambda code: code, 0, "disc.iso") == 0
    assert programs.calls() == []


@pytest.mark.parametrize("program", ["zenity", "kdialog"])
def test_a_password_is_asked_for(program: str, programs: FakePrograms) -> None:
    assert ask_password("disk.dmg") is None
    programs.add(program, says="open sesame\n")
    assert ask_password("disk.dmg") == "open sesame"
    assert any("Password of disk.dmg" in word for word in programs.calls()[0])
    programs.add(program, code=1)
    assert ask_password("disk.dmg") is None


def test_a_folder_is_opened_by_the_first_program_that_can(programs: FakePrograms, tmp_path: Path) -> None:
    programs.add("xdg-open", code=3)
    programs.add("gio")
    show(tmp_path)
    assert programs.calls() == [["xdg-open", str(tmp_path)], ["gio", "open", str(tmp_path)]]


def test_where_no_program_opens_folders_that_is_said(programs: FakePrograms, tmp_path: Path) -> None:
    with pytest.raises(
        MountError, match=f"mounted at {tmp_path}, but no program opened it: install xdg-utils"
    ):
        show(tmp_path)
    assert programs.calls() == []


def test_where_there_is_no_display_nothing_is_started(
    programs: FakePrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("xdg-open")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MountError, match="no desktop here"):
        show(tmp_path)
    assert programs.calls() == []
