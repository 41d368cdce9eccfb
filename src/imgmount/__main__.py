"""``python -m imgmount``."""

import sys

from imgmount.cli.main import main

sys.exit(main())
