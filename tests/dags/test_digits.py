"""The models of digits.udgl: an image to pixels, the classifier and its training, the answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.answer import Answer
from models.digits import Classifier, read_layers
from models.pixels import Reader

import udgl
from earg.training import LocalLink, TrainingContext
from hogar_provider.training.plans import training_plan

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parents[2] / "dags"
SEVEN = (DAGS / "samples/seven.pgm").read_bytes()


def test_the_sample_is_read_as_it_is_drawn() -> None:
    pixels = Reader().predict(SEVEN)["pixels"]
    drawn = [int(word) for word in SEVEN.split(b"16\n", 1)[1].split()]
    assert pixels == [round(value / 16, 4) for value in drawn]


def test_an_image_of_another_size_and_form_is_the_same_pixels() -> None:
    small = Reader().predict(SEVEN)["pixels"]
    shades = np.array(small).reshape(8, 8)
    large = np.kron(np.round(shades * 16).astype(np.uint8) * 15, np.ones((5, 5), np.uint8))
    binary = b"P5 # by hand\n40 40\n240\n" + large.astype(np.uint8).tobytes()
    assert Reader().predict(binary)["pixels"] == small
    assert Reader().predict((shades * 3 / shades.max()).tolist())["pixels"] == small


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (b"\x89PNG", "expects a PGM image"),
        (b"P2 8 8 16\n1 2 3", "has 3 pixels, but says 8 x 8"),
        (b"P2 4 4 16\n" + b"1 " * 16, "8 to 4096 pixels a side"),
        (b"P5 99999 99999 255\n", "8 to 4096 pixels a side"),
        (b"P2 8 8 16\n" + b"x " * 64, "no number"),
        (b"P2 8 8 70000\n" + b"1 " * 64, "255 shades"),
        ([[1] * 8] * 7 + [[1]], "one length"),
        ([["1"] * 8] * 8, "holds something else"),
        ([[-1] * 8] * 8, "0 and more"),
        ("seven", "rows of numbers, but got text"),
    ],
)
def test_what_is_no_image_is_told(request_: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Reader().predict(request_)


def save(folder: Path, **arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    (folder / "model").write_bytes(file.getvalue())
    return file.getvalue()


def test_the_classifier_is_the_network_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hidden units are the first ten pixels, and the outputs the hidden units, scaled.
    save(tmp_path, w0=np.eye(64, 10), b0=np.zeros(10), w1=np.eye(10) * 9, b1=np.zeros(10))
    monkeypatch.setenv("HOGAR_ARTIFACT", str(tmp_path))
    found = Classifier().predict_batch([{"pixels": np.eye(64)[n].tolist()} for n in (3, 8)])
    assert [reply["digit"] for reply in found] == [3, 8]
    assert found[0]["probabilities"][3] == pytest.approx(np.exp(9) / (np.exp(9) + 9), abs=1e-6)
    with pytest.raises(ValueError, match="64 numbers"):
        Classifier().predict({"pixels": [1]})


@pytest.mark.parametrize(
    "arrays",
    [
        {"w0": np.zeros((63, 10)), "b0": np.zeros(10)},
        {"w0": np.zeros((64, 10)), "b0": np.zeros(9)},
        {"w0": np.full((64, 10), np.nan), "b0": np.zeros(10)},
        {"w0": np.array([{}], dtype=object), "b0": np.zeros(10)},
        {},
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, arrays: Any) -> None:
    with pytest.raises(ValueError, match=r"layers|pickle"):
        read_layers(save(tmp_path, **arrays))


def test_a_classifier_that_is_not_trained_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOGAR_ARTIFACT", raising=False)
    with pytest.raises(RuntimeError, match="not trained yet"):
        Classifier()


def test_the_answer_is_sure_or_says_the_second() -> None:
    chances = [0.0] * 10
    chances[4], chances[9] = 0.95, 0.05
    assert Answer().predict({"digit": 4, "probabilities": chances})["answer"] == "It is a 4."
    chances[4], chances[9] = 0.55, 0.45
    said = Answer().predict({"digit": 4, "probabilities": chances})
    assert (said["answer"], said["second"]) == ("It may be a 4, or a 9.", 9)


def test_the_training_learns_and_goes_on_as_if_it_had_not_been_broken_off(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from models.digits import train

    plan = training_plan(udgl.load(DAGS / "digits.udgl").operator("Classifier"), str(DAGS))
    assert plan is not None

    def figures(folder: Path, last: int) -> list[dict[str, float | None]]:
        folder.mkdir(exist_ok=True)

        class Short(LocalLink):
            def ended(self, record: Any) -> None:
                super().ended(record)
                if record.epoch == last:
                    ctx.stop()

        ctx = TrainingContext(plan, folder, link := Short(plan, say=lambda line: None))
        ctx.finish(train(ctx))
        return [dict(record.metrics) for record in link.records]

    whole = figures(tmp_path / "whole", 4)
    assert whole[0]["accuracy"] == pytest.approx(0.78, abs=0.07)
    assert whole[3]["accuracy"] > 0.9  # type: ignore[operator]
    parts = figures(tmp_path / "parts", 2) + figures(tmp_path / "parts", 4)
    assert parts == whole
