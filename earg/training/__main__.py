"""``python -m earg.training module:function``: try a training function without Airflow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from earg.training.child import main as child
from earg.training.child import train
from earg.training.context import TrainingContext
from earg.training.errors import TrainingError
from earg.training.plan import TrainingPlan


def main(arguments: Sequence[str] | None = None) -> int:
    """Train here and now; exit code 0, or 1 with a sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) == 3 and arguments[0] == "child":
        return child(int(arguments[1]), int(arguments[2]))
    parser = argparse.ArgumentParser(
        prog="python -m earg.training", description="Try a training function without Airflow."
    )
    parser.add_argument("function", help="module:function, looked for in --folder first")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="(default: here)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("training"),
        help="where the checkpoint and, below 'artifact', the model go (default: ./training); a "
        "training that is broken off there goes on",
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--dataset")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    try:
        plan = TrainingPlan(
            operator="local",
            function=given.function,
            folder=str(given.folder.resolve()),
            epochs=given.epochs,
            schedule=((1, given.batch),),
            learning_rate=given.learning_rate,
            dataset=given.dataset,
            params=tuple(
                (name, value) for name, _, value in (pair.partition("=") for pair in given.param)
            ),
        )
        context = TrainingContext(plan, given.out.resolve())
        train(plan, context)
        (context.folder / "checkpoint").unlink(missing_ok=True)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"trained: {context.artifact}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
