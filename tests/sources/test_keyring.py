from __future__ import annotations

from pathlib import Path

import pytest

from helpers import context
from imgmount.cli.main import main
from imgmount.errors import KeyRequiredError
from imgmount.families.nintendo.key_files import disc_names
from imgmount.sources.keyring import KeySearch

KEY, OTHER = bytes(range(16)), bytes(range(1, 17))
NAME = "disc"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def search(files: dict[str, bytes] | None = None, **options: object) -> KeySearch:
    return KeySearch(
        context(files, **options),
        NAME,
        beside=("game.key",),
        folder=("title.key",),
        home=(".wiiu/discKeys/title.key",),
    )


def test_every_place_in_order(home: Path) -> None:
    places = [".config/imgmount/keys/disc.key", ".config/imgmount/keys/title.key", ".wiiu/discKeys/title.key"]
    for number, place in enumerate(places):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_bytes(bytes([number]) * 16)
    found = search(
        {"GAME.KEY": b"\xaa" * 16, "disc.key": b"bb" * 16 + b"\n"}, keys={NAME: KEY}, spare_keys=(OTHER,)
    )
    assert list(found) == [KEY, OTHER, b"\xaa" * 16, b"\xbb" * 16, b"\0" * 16, b"\1" * 16, b"\2" * 16]


def test_the_folder_of_keys_may_be_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    (home / "elsewhere/imgmount/keys").mkdir(parents=True)
    (home / "elsewhere/imgmount/keys/disc.key").write_bytes(KEY)
    assert list(search()) == [KEY]


def test_a_missing_key_is_named_with_every_place(home: Path) -> None:
    found = search()
    assert not list(found)
    text = str(found.failure("or another"))
    assert text.startswith(
        "the key 'disc' is needed (or another): give --keys FILE or --key disc=HEX; looked for "
    )
    places = (".config/imgmount/keys/disc.key", ".config/imgmount/keys/title.key", ".wiiu/discKeys/title.key")
    for place in ("game.key or disc.key beside the image", *(str(home / place) for place in places)):
        assert place in text


def test_a_wrong_key_is_said_and_where_it_is(home: Path) -> None:
    (home / ".wiiu/discKeys").mkdir(parents=True)
    (home / ".wiiu/discKeys/title.key").write_bytes(KEY)
    found = search({"game.key": OTHER})
    list(found)
    text = str(found.failure())
    assert text.startswith("the key 'disc' is wrong: ")
    assert text.endswith(f"tried game.key beside the image, {home}/.wiiu/discKeys/title.key")


@pytest.mark.parametrize(
    "content", [b"", KEY[:15], KEY + b"\n", b"0g" * 16, KEY.hex()[:-2].encode(), b"\xff" * 5000]
)
def test_a_file_of_another_shape_is_no_key(content: bytes) -> None:
    found = search({"game.key": content})
    assert not list(found)
    assert str(found.failure()).endswith(
        "; game.key beside the image is no key: neither 16 bytes nor 32 digits"
    )


def test_a_key_given_in_another_length_is_an_error_of_its_own() -> None:
    with pytest.raises(KeyRequiredError, match=r"^the key 'disc' has 3 bytes: 16 are needed$"):
        list(search(keys={NAME: b"abc"}))


def test_keys_without_a_name_are_tried_for_any_but_are_not_said_to_be_wrong() -> None:
    found = search(spare_keys=(KEY, OTHER, bytes(32)))
    assert list(found) == [KEY, OTHER]
    assert "is needed" in str(found.failure())
    assert str(found.failure()).endswith("none of the 3 keys without a name fits")


def test_no_message_has_a_key_in_it() -> None:
    found = search({"game.key": KEY}, keys={NAME: OTHER})
    list(found)
    assert not {KEY.hex(), OTHER.hex()} & set(str(found.failure()).split())


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("game.wux", ["game.key", "game.wux.key", "disc.key"]),
        ("My.Title.wux", ["game.key", "My.Title.wux.key", "My.Title.key", "disc.key"]),
        ("title.wux.part1", ["game.key", "title.wux.part1.key", "title.wux.key", "title.key", "disc.key"]),
        ("title_part12.wud", ["game.key", "title_part12.wud.key", "title.key", "disc.key"]),
        ("title", ["game.key", "title.key", "disc.key"]),
    ],
)
def test_the_names_that_the_key_of_an_image_may_have(image: str, names: list[str]) -> None:
    assert disc_names(image) == names


class TestTheCommandLine:
    """A key shows in no output, whatever goes wrong."""

    @pytest.fixture
    def disc(self, home: Path) -> str:
        from fixture import unpack
        from helpers import FIXTURES

        unpack(FIXTURES / "partitions/wii/encrypted/disc.iso.xz", home / "disc.iso")
        return str(home / "disc.iso")

    COMMON = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

    def check(self, capsys: pytest.CaptureFixture[str], *words: str, opened: bool = True) -> None:
        assert main(["info", *words]) == (0 if opened is not None else 1)
        shown = "".join(capsys.readouterr())
        assert self.COMMON not in shown.lower()
        assert ("gcfst" in shown) == bool(opened)

    def test_a_file_of_names(self, disc: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "mine.txt").write_text(f"# mine\n wii-common = {self.COMMON.upper()}  ; retail\n")
        self.check(capsys, disc, "--keys", str(home / "mine.txt"))

    def test_a_file_without_names(self, disc: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "keys.txt").write_text(f"# as Cemu has it\n{'00' * 16}\n{self.COMMON} ; Wii\n")
        self.check(capsys, disc, "--keys", str(home / "keys.txt"))

    def test_a_binary_file(self, disc: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "common.bin").write_bytes(bytes.fromhex(self.COMMON))
        self.check(capsys, disc, "--keys", str(home / "common.bin"))

    def test_the_environment(
        self, disc: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IMGMOUNT_KEYS", f"other=00 wii-common={self.COMMON}")
        self.check(capsys, disc)

    def test_wrong_ones(
        self, disc: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.check(capsys, disc, "--key", f"wii-korean={self.COMMON}", opened=False)
        (home / "bad.txt").write_text(f"{self.COMMON}00\n")
        assert main(["info", disc, "--keys", str(home / "bad.txt")]) == 1
        assert main(["info", disc, "--key", self.COMMON]) == 1
        monkeypatch.setenv("IMGMOUNT_KEYS", f"wii-common:{self.COMMON}")
        assert main(["info", disc]) == 1
        errors = capsys.readouterr().err
        assert self.COMMON not in errors
        assert [line.partition(": ")[2].rpartition(": ")[2] for line in errors.splitlines()] == [
            "line 1 is not NAME=HEX, nor a key in hexadecimal",
            "not NAME=HEX",
            "a word is not NAME=HEX, nor a key in hexadecimal",
        ]
