"""An agent that stops for ever between the start of a process and the ledger that names it.

It does so once its home has a file ``hold`` and the process's command contains what that says; the
process's pid is in the file ``held`` then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earg.agent import main
from earg.child import Child
from earg.home import replace_file


def hold_in(home: Path) -> None:
    """Let starts of this process's agent be held."""
    start = Child.start

    async def held_start(command: Sequence[str], *arguments: Any, **options: Any) -> Child:
        child = await start(command, *arguments, **options)
        hold = home / "hold"
        if hold.exists() and hold.read_text() in command:
            replace_file(home / "held", str(child.pid))
            threading.Event().wait()
        return child

    Child.start = held_start  # type: ignore[method-assign]


if __name__ == "__main__":
    hold_in(Path(sys.argv[1]))
    sys.exit(main(["--home", sys.argv[1]]))
