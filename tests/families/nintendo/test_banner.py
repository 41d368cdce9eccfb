from __future__ import annotations

import pytest

from imgmount.families.nintendo.banner import banner


def gamecube(magic: bytes, *comments: tuple[bytes, ...]) -> bytes:
    widths = (0x20, 0x20, 0x40, 0x40, 0x80)
    texts = [
        b"".join(text.ljust(width, b"\0") for text, width in zip(comment, widths, strict=True))
        for comment in comments
    ]
    return magic.ljust(0x1820, b"\xff") + b"".join(texts)


def test_a_banner_of_the_gamecube() -> None:
    data = gamecube(b"BNR1", (b"Short", b"Me", b"The long title", b"My company", b"Two\nlines \xe9"))
    expected = {
        "banner title": "The long title",
        "banner maker": "My company",
        "banner text": "Two lines \xe9",
    }
    assert banner(data, japanese=False) == expected


def test_one_from_japan_and_one_without_long_texts() -> None:
    data = gamecube(b"BNR1", ("\u30c6\u30b9".encode("cp932"), b"", b"", b"", b""))
    assert banner(data, japanese=True) == {"banner title": "\u30c6\u30b9"}


def test_the_first_language_of_six() -> None:
    english, german = (b"a", b"b", b"English", b"", b"text"), (b"a", b"b", b"German", b"", b"")
    data = gamecube(b"BNR2", english, german)
    assert banner(data, japanese=True) == {
        "banner title": "English",
        "banner maker": "b",
        "banner text": "text",
    }


@pytest.mark.parametrize("place", [0x40, 0x80])
@pytest.mark.parametrize(
    ("names", "title"),
    [(("\u30c6", "Made\0up"), "Made up"), (("\u30c6", ""), "\u30c6"), (("", "", "Deutsch"), "Deutsch")],
)
def test_a_banner_of_the_wii(place: int, names: tuple[str, ...], title: str) -> None:
    texts = b"".join(name.encode("utf-16-be").ljust(84, b"\0") for name in names)
    data = bytes(place) + (b"IMET" + bytes(0x18) + texts).ljust(0x600, b"\0")
    assert banner(data, japanese=False) == {"banner title": title}


BAD = [b"", b"BNR1", b"BNR1" + bytes(0x1820), b"BNR3" + bytes(0x2000), bytes(0x40) + b"IMET", bytes(0x2000)]


@pytest.mark.parametrize("data", BAD)
def test_no_banner(data: bytes) -> None:
    assert banner(data, japanese=False) == {}
