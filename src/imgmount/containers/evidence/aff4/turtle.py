"""The part of Turtle (W3C, RDF 1.1 Turtle) that AFF4 writers use.

Prefixes, IRIs, literals, lists by ``;`` and ``,``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from imgmount.errors import FormatError

# subject -> predicate -> [(value, datatype, "" for an IRI)]
Graph = dict[str, dict[str, list[tuple[str, str]]]]

RDF_TYPE: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
END: Final = ("", "")
STRING: Final = "string"
_TOKEN = re.compile(
    r'\s+|\#[^\n]*|(?P<iri><[^<>"{}|^`\\\s]*>)|(?P<literal>"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*")'
    r"|(?P<type>\^\^)|(?P<language>@[A-Za-z][A-Za-z0-9-]*)|(?P<mark>[;,](?=\s)|\.(?=\s|$)|\[|\]|\(|\))"
    r"|(?P<name>[^\s<>\"';,\[\]()]*[^\s<>\"';,\[\]().])"
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}


def parse(text: str) -> Graph:
    """The statements of ``text``. Raises ``FormatError``."""
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = self._split(text)
        self._following = next(self._tokens, END)
        self._prefixes: dict[str, str] = {}

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise FormatError("aff4", f"information.turtle: {text[at : at + 20]!r}", offset=at)
            if found.lastgroup:
                yield found.lastgroup, found.group()
            at = found.end()

    def _next(self) -> tuple[str, str]:
        token = self._following
        if token is END:
            raise FormatError("aff4", "information.turtle ends in the middle of a statement")
        self._following = next(self._tokens, END)
        return token

    def _peek(self) -> str:
        return self._following[1]

    def run(self) -> Graph:
        graph: Graph = {}
        while self._following is not END:
            kind, word = self._next()
            if (kind, word) == ("language", "@prefix"):
                prefix, iri = self._next()[1], self._next()[1]
                self._prefixes[prefix.removesuffix(":")] = iri[1:-1]
                self._expect(".")
                continue
            self._predicates(graph.setdefault(self._name(kind, word), {}))
        return graph

    def _predicates(self, facts: dict[str, list[tuple[str, str]]]) -> None:
        while True:
            kind, word = self._next()
            predicate = RDF_TYPE if word == "a" else self._name(kind, word)
            facts.setdefault(predicate, []).append(self._object())
            while self._peek() == ",":
                self._next()
                facts[predicate].append(self._object())
            mark = self._next()[1]
            while mark == ";" and self._peek() in (";", "."):
                mark = self._next()[1]
            if mark == ".":
                return
            if mark != ";":
                raise FormatError("aff4", f"information.turtle: {mark!r} where ';' or '.' belongs")

    def _object(self) -> tuple[str, str]:
        kind, word = self._next()
        if kind != "literal":
            return self._name(kind, word), ""
        quotes = 3 if word.startswith('"""') else 1
        value = re.sub(
            r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), word[quotes:-quotes], flags=re.DOTALL
        )
        if self._peek() == "^^":
            self._next()
            return value, self._name(*self._next())
        if self._following[0] == "language":
            self._next()
        return value, STRING

    def _expect(self, mark: str) -> None:
        if self._next()[1] != mark:
            raise FormatError("aff4", f"information.turtle: no {mark!r} where one belongs")

    def _name(self, kind: str, word: str) -> str:
        if kind == "iri":
            return word[1:-1]
        prefix, colon, local = word.partition(":")
        if kind != "name":
            raise FormatError("aff4", f"information.turtle: {word!r} where a name belongs")
        if not colon:
            return word  # true, 512
        if prefix not in self._prefixes:
            raise FormatError("aff4", f"information.turtle: prefix {prefix!r} is not defined")
        return self._prefixes[prefix] + local
