"""The markup of manual pages: man(7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imgmount import __version__


def roff(text: str) -> str:
    """Plain text, as one or several lines of a page."""
    lines = text.replace("\\", r"\e").replace("-", r"\-").split("\n")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


def head(name: str, section: int, manual: str, summary: str) -> Iterator[str]:
    """The first lines of a page, with what apropos(1) finds."""
    yield f'.TH {name.upper()} {section} "" "imgmount {__version__}" "{manual}"'
    yield f".SH NAME\n{roff(name)} \\- {roff(summary)}"


def entries(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Terms, each with the lines that explain it."""
    for term, text in pairs:
        yield f".TP\n.B {roff(term)}\n" + "\n.br\n".join(map(roff, text.split("\n")))


def example(lines: str) -> str:
    """Lines as they are to be typed."""
    return f".PP\n.EX\n{roff(lines)}\n.EE"


def see_also(*pages: str) -> str:
    """The last section: ``mount(8)``, other pages."""
    named = (page.rstrip(")").split("(") for page in pages)
    return ".SH SEE ALSO\n" + ",\n".join(f".BR {roff(name)} ({section})" for name, section in named)
