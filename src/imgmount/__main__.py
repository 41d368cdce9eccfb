"""``python -m imgmount``."""

from imgmount.cli.main import program

program()
