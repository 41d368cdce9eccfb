"""``imgmount verify``: check images against what they store about themselves, and read all of them.

The JSON is described in docs/verify-json.md and only ever grows.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.several import Result, add_images, run_each
from imgmount.cli.text import for_stdout

if TYPE_CHECKING:
    from imgmount.cli.progress import Progress
    from imgmount.jobs.verify import Found

SUMMARY: Final = "Check images: their own checksums and structures, and that every byte of them can be read."
EPILOG: Final = """\
exit codes: 0 all is well, 2 something is damaged or an image cannot be read, 1 the host or the call is at
fault; of several images the highest. Damage is an error here, whatever --on-error says."""
EXIT_DAMAGED: Final = 2
SCHEMA: Final = 1
SHOWN: Final = 8  # checksums that agree, of one layer or volume


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE and how thoroughly."""
    add_images(parser, "what was found as a JSON object, see docs/verify-json.md")
    parser.epilog = EPILOG
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also compare with what other libraries read, for formats that have one",
    )
    parser.add_argument(
        "--read",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every file and every disk to the end (default), which their checksums need",
    )
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checksums that agree, a line for each problem, and the verdict."""
    several = len(args.image) > 1
    return run_each(args, lambda one: _verify(one, f"{one.image}: " if several else ""))


def _verify(args: argparse.Namespace, prefix: str) -> Result:
    from imgmount.cli.progress import Progress
    from imgmount.containers.evidence.options import ON_ERROR
    from imgmount.core.read_through import watched
    from imgmount.jobs.verify import findings

    args.extra = [*args.extra, f"{ON_ERROR.name}=fail"]
    progress = Progress(0)
    printer = _Printer(prefix, progress, json=args.json)
    with open_from(args) as image, watched(progress):
        image.context.cache.start()
        for found in findings(image, second_opinion=args.strict, read=args.read):
            printer.tell(found)
        progress.clear()
        printer.finish()
    facts = {"schema": SCHEMA, "image": args.image, "chain": str(image), "ok": not printer.problems}
    return EXIT_DAMAGED if printer.problems else 0, {**facts, **printer.kept}


class _Printer:
    """Prints what is found; with ``--json`` it is kept as plain values instead. ``problems`` counts them."""

    def __init__(self, prefix: str, progress: Progress, *, json: bool) -> None:
        self.problems = 0
        self.kept: dict[str, list[dict[str, Any]]] = {"checksums": [], "notes": [], "problems": []}
        self._prefix = prefix
        self._progress = progress
        self._json = json
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._hidden: Counter[str] = Counter()

    def tell(self, found: Found) -> None:
        """One finding."""
        from imgmount.core.checks import Checked

        self.problems += found.is_problem
        if self._json:
            self._keep(found)
            return
        what = found.what
        if found.is_problem or not isinstance(what, Checked) or self._is_shown(found.where, what.name):
            self._print(str(found))

    def _keep(self, found: Found) -> None:
        from imgmount.core.checks import Checked, Note
        from imgmount.jobs.reading import Unreadable

        what = found.what
        place: dict[str, Any] = {"where": found.where, "path": found.path or None}
        if isinstance(what, Checked):
            self.kept["checksums"].append({**place, **what._asdict(), "agrees": what.agrees})
        if isinstance(what, Note):
            self.kept["notes"].append({**place, "note": str(what)})
        elif found.is_problem:
            start, end = what[:2] if isinstance(what, Unreadable) else (None, None)
            self.kept["problems"].append({**place, "problem": str(what), "start": start, "end": end})

    def _is_shown(self, where: str, name: str) -> bool:
        """Whether a checksum that agrees has its line: the first of a name, of the first names."""
        names = self._names[where]
        if name not in names and len(names) < SHOWN:
            names.add(name)
            return True
        self._hidden[where] += 1
        return False

    def finish(self) -> None:
        """How many more checksums agree, and the verdict."""
        for where, count in self._hidden.items():
            self._print(f"{where}: {count} more checksum{' agrees' if count == 1 else 's agree'}")
        count = self.problems
        self._print(f"damaged: {count} problem{'s' * (count > 1)}" if count else "ok")

    def _print(self, text: str) -> None:
        if not self._json:
            self._progress.clear()
            print(for_stdout(f"{self._prefix}{text}"), flush=True)
