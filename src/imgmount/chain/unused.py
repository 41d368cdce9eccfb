"""Options of single formats that nothing in an image reads: the user expects what will not happen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from imgmount.core.format import Format
from imgmount.errors import ImageError
from imgmount.format_options import all_options

log = logging.getLogger(__name__)


def check_use(given: Mapping[str, str], formats: Iterable[Format], others: Iterable[str]) -> None:
    """Tell which options ``given`` no format reads. ``others`` are those that are read besides.

    An option without a list of values chooses something in the image. What is chosen in vain is refused with
    ``ImageError``: something else would be shown.
    """
    read = {option.name for fmt in formats for option in fmt.options}.union(others)
    known = all_options() if given else {}
    for name in (name for name in given if name not in read):
        option = known[name]
        flag = f"--{name}" if option.flag else f"-X {name}"
        if not option.values:
            raise ImageError(f"{flag} {given[name]}: nothing in this image can be chosen so")
        if given[name] != option.values[0]:
            log.warning("%s does nothing: no format in this image reads it", flag)
