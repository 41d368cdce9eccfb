"""Commands that take several images: one after the other; the failure of one does not stop the others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from imgmount.cli.commands import subject

Result = tuple[int, dict[str, Any]]  # the exit code, and what --json prints


def add_images(parser: argparse.ArgumentParser, what: str) -> None:
    """IMAGE..., and ``--json`` that prints ``what``."""
    parser.add_argument("image", metavar="IMAGE", nargs="+")
    parser.add_argument("--json", action="store_true", help=f"print {what}; a list for several images")


def run_each(args: argparse.Namespace, run: Callable[[argparse.Namespace], Result]) -> int:
    """``run`` for each image; the highest exit code. The failure of a lone image is left to the caller."""
    from imgmount.cli.main import explain
    from imgmount.errors import ImgMountError

    results: list[Result] = []
    for path in args.image:
        subject[:] = [path.removeprefix("./")]  # as pathlib prints it
        try:
            results.append(run(argparse.Namespace(**{**vars(args), "image": path})))
        except (ImgMountError, OSError) as exc:
            if len(args.image) == 1:
                raise
            results.append((explain(exc), {"image": path, "error": str(exc)}))
    if args.json:
        facts = [fact for _, fact in results]
        print(json.dumps(facts if len(facts) > 1 else facts[0], indent=2))
    return max(code for code, _ in results)
