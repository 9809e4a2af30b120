"""Graphs for dags folders, and what Airflow makes of such a folder."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

ROOT = Path(__file__).parents[2]
LOADERS = (ROOT / "dags/hogar_graphs.py", ROOT / "dags/hogar_errors.py")
SENTIMENT = ROOT / "dags/sentiment.udgl"
MODELS = Path(__file__).parent / "models"

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
"""Which Airflow the tests run with, such as (3, 3)."""

TAKES_COMMANDS = AIRFLOW > (3, 1)
"""Whether it takes commands from providers: ``airflow hogar``."""

KEEPS_TASK_STATE = AIRFLOW >= (3, 3)
"""Whether it keeps task state, which a training needs."""

BROKEN = """\
meta
name Broken
verzion 1
operator A
version 1, image test/upper:1
"""
"""Line 3 is wrong."""

TWO_EXITS = """\
meta
name TwoExits
version 1
operator A
version 1, image test/upper:1
operator B
version 1, image test/upper:1
operator C
version 1, image test/upper:1
flow
distribute
A -> B, C
"""
"""A graph of the language that EARG cannot express: it answers a request once."""


def chain(name: str, *images: str, meta: str = "") -> str:
    """UDGL text: operators ``A``, ``B``, ... in a row, one an image."""
    names = [chr(ord("A") + place) for place in range(len(images))]
    operators = "".join(
        f"operator {operator}\nversion 1, image {image}\n"
        for operator, image in zip(names, images, strict=True)
    )
    lines = "".join(f"{a} -> {b}\n" for a, b in pairwise(names))
    flow = f"flow\ndistribute\n{lines}" if lines else ""
    return f"meta\nname {name}\nversion 1\n{meta}\n{operators}{flow}"


def parse(folder: Path) -> DagBag:
    """What Airflow's dag processor makes of a dags folder."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag

    # Before 3.3 it holds Airflow's examples, too.
    examples: dict[str, Any] = {} if AIRFLOW >= (3, 3) else {"include_examples": False}
    return DagBag(folder, bundle_path=folder, **examples)


def stored(dag: DAG) -> dict[str, Any]:
    """What Airflow keeps of a DAG in its database."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:  # Airflow 3.1
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

    return dict(DagSerialization.to_dict(dag)["dag"])
