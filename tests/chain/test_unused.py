"""Options that do nothing for an image are refused or told of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers import FIXTURES, tool
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.core.format import Options
from imgmount.errors import ImageError

WUX = FIXTURES / "containers/wux/plain/game.wux"


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    path = tmp_path / "disc.iso"
    (tmp_path / "file").write_text("text")
    subprocess.run([tool("xorrisofs"), "-quiet", "-o", str(path), str(tmp_path / "file")], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "flag"), [("session", "--session"), ("member", "-X member"), ("image", "--image")]
)
def test_a_choice_in_vain_is_refused(name: str, flag: str, disc: Path) -> None:
    for path in (WUX, disc):
        with pytest.raises(ImageError, match=f"{flag} 9: nothing in this image can be chosen so"):
            open_image(path, Options(extra={name: "9"}))


def test_a_setting_in_vain_is_told(disc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--on-error", "zero", "--xa", "raw", "--hidden", str(disc)]) == 0
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"imgmount: --{name} does nothing: no format in this image reads it"
        for name in ("hidden", "on-error")
    ]
    assert main(["ls", "--on-error", "fail", str(disc)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("session", [1, 2])
def test_sessions_are_chosen_where_there_are_some(session: int, disc: Path) -> None:
    (disc.parent / "second").write_text("more")
    command = [tool("xorriso"), "-dev", str(disc), "-map", str(disc.parent / "second"), "/second", "-commit"]
    subprocess.run(command, check=True, capture_output=True)
    with open_image(disc, Options(extra={"session": str(session)})) as image:
        names = list(image.volumes[0].filesystem.root.names())
        assert ("second" in names) is (session == 2)
