"""The demo's dags folder: what it holds fits together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import udgl
from earg.images import read_images
from earg.model import load_model

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(autouse=True)
def _trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trained model finds: weights of the right sizes."""
    with (tmp_path / "model").open("wb") as file:
        np.savez(file, w0=np.zeros((64, 10)), b0=np.zeros(10))
    monkeypatch.setenv("HOGAR_ARTIFACT", str(tmp_path))


def test_every_operator_of_the_demos_has_an_image_that_maps_to_a_model() -> None:
    graphs = [udgl.load(file) for file in sorted(DAGS.glob("*.udgl"))]
    images = read_images(DAGS / "images.yaml")
    assert {o.image for graph in graphs for o in graph.operators} == set(images)


@pytest.mark.parametrize("image", sorted(read_images(DAGS / "images.yaml")))
def test_every_image_maps_to_a_model_that_can_be_constructed(image: str) -> None:
    implementation = read_images(DAGS / "images.yaml")[image]
    assert callable(load_model(implementation.entrypoint, implementation.folder).predict)


def test_only_the_stateful_operators_model_keeps_state() -> None:
    images = read_images(DAGS / "images.yaml")
    for operator in udgl.load(DAGS / "sentiment.udgl").operators:
        implementation = images[operator.image]
        model = load_model(implementation.entrypoint, implementation.folder)
        assert hasattr(model, "get_state") == operator.stateful, operator.name


def test_the_models_import_nothing_of_the_three_packages() -> None:
    # An image would hold the model and its libraries only.
    modules = [path.stem for path in (DAGS / "models").glob("[a-z]*.py")]
    assert len(modules) >= 6
    code = (
        "; ".join(f"import models.{module}" for module in modules)
        + "; import sys; "
        + (
            "print(sorted({m.split('.')[0] for m in sys.modules}"
            " & {'udgl', 'earg', 'hogar_provider', 'airflow', 'grpc'}))"
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=DAGS, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
