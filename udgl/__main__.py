"""``python -m udgl``: the same as the ``udgl`` command."""

import sys

from udgl.cli import main

sys.exit(main())
