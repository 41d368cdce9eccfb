"""The part of Turtle (W3C, RDF 1.1 Turtle) that AFF4 writers use: prefixes, IRIs, literals, lists by ``;`` and ``,``."""

from __future__ import annotations

import re
from typing import Final

from imgmount.errors import FormatError

Graph = dict[str, dict[str, list[tuple[str, str]]]]  # subject -> predicate -> [(value, datatype, "" for an IRI)]

RDF_TYPE: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
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
        self._at = 0
        self._prefixes: dict[str, str] = {}

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise FormatError("aff4", f"information.turtle: {text[at : at + 20]!r}", offset=at)
            if found.lastgroup:
                tokens.append((found.lastgroup, found.group()))
            at = found.end()
        return tokens

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise FormatError("aff4", "information.turtle ends in the middle of a statement")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def run(self) -> Graph:
        graph: Graph = {}
        while self._at < len(self._tokens):
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
                self._at += 1
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
        value = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), word[quotes:-quotes], flags=re.DOTALL)
        if self._peek() == "^^":
            self._at += 1
            return value, self._name(*self._next())
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "language":
            self._at += 1
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
