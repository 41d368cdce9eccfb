from __future__ import annotations

import logging

from imgmount.core.log_line import OneLineFormatter


def test_a_name_with_a_newline_forges_no_line() -> None:
    record = logging.LogRecord(
        "x", logging.WARNING, "", 0, "%s: damaged", ("a\nimgmount: all is well\x1b[2J",), None
    )
    assert OneLineFormatter("imgmount: %(message)s").format(record) == (
        r"imgmount: a\nimgmount: all is well\x1b[2J: damaged"
    )
