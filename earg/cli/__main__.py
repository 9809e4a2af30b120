"""``python -m earg.cli`` is the command ``earg``."""

import sys

from earg.cli import main

if __name__ == "__main__":
    sys.exit(main())
