"""``python -m giflab``."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
