"""Training functions for tests, imported by the training's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from earg.training import TrainingContext


def count(ctx: TrainingContext) -> bytes:
    """A model that is the list of the batch sizes of its epochs, and when asked, dies."""
    sizes = json.loads(ctx.restore() or b"[]")
    for epoch in ctx.epochs():
        if ctx.params.get("kill") == str(epoch) and not (ctx.folder / "killed").exists():
            (ctx.folder / "killed").touch()
            os.kill(os.getpid(), 9)
        sizes.append(ctx.batch_size)
        ctx.report(loss=1 / epoch, pid=os.getpid(), samples=ctx.batch_size)
        ctx.checkpoint(json.dumps(sizes).encode())
        time.sleep(float(ctx.params.get("sleep", 0)))
    return json.dumps(sizes).encode()


def fail(ctx: TrainingContext) -> None:
    """Raises in its second epoch."""
    for epoch in ctx.epochs():
        ctx.report(loss=1.0)
        if epoch == 2:
            raise ValueError("the data is gone")


def nothing(ctx: TrainingContext) -> None:
    """Hands nothing over."""


def leave_children(ctx: TrainingContext) -> None:
    """Has a child that would outlive it, and waits for ever."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    for _ in ctx.epochs():
        ctx.report(child=child.pid, own=os.getpid())
        ctx.save(b"x")
        Path(ctx.params["pids"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
