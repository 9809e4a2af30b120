"""A classifier of handwritten digits: how it is trained, and how it serves.

It is trained by scikit-learn on the 1797 images that come with it (the test part of E. Alpaydin,
C. Kaynak: "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998), and
serves with NumPy alone. The weights travel as NumPy's npz, which holds numbers and no code.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.fields import kind_of, object_of

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

    from earg.training import TrainingContext

PIXELS, DIGITS = 64, 10

VALIDATION = 360
"""Images that are not trained on."""

_WHO = "the classifier"


def train(ctx: TrainingContext) -> bytes:
    """Train a network with one hidden layer of ``param hidden`` units by gradient descent; reports
    its loss on the batches, and its accuracy on images that it has not seen."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, digits = images[order] / 16, digits[order]
    x, y = images[VALIDATION:], digits[VALIDATION:]
    network = MLPClassifier(
        (int(ctx.params.get("hidden", "64")),),
        solver="sgd",
        learning_rate_init=ctx.learning_rate or 0.08,
        # Without momentum the weights are all that there is to go on from.
        momentum=0.0,
        random_state=0,
    )
    if (last := ctx.restore()) is not None:
        network.partial_fit(x[:DIGITS], y[:DIGITS], classes=range(DIGITS))
        load(network, last)
    for _ in ctx.epochs():
        losses = []
        for x_batch, y_batch in ctx.batches(x, y):
            network.batch_size = len(x_batch)
            network.partial_fit(x_batch, y_batch, classes=range(DIGITS))
            losses.append(network.loss_ * len(x_batch))
        accuracy = network.score(images[:VALIDATION], digits[:VALIDATION])
        ctx.report(loss=sum(losses) / len(x), accuracy=accuracy)
        ctx.checkpoint(dump(network))
    return dump(network)


def dump(network: MLPClassifier) -> bytes:
    """The weights, in one npz."""
    file = io.BytesIO()
    weights = zip(network.coefs_, network.intercepts_, strict=True)
    np.savez(
        file,
        **{f"{k}{n}": a for n, pair in enumerate(weights) for k, a in zip("wb", pair, strict=True)},
    )
    return file.getvalue()


def load(network: MLPClassifier, data: bytes) -> None:
    """Put the weights of :func:`dump` into a network of the same size."""
    for number, (weights, bias) in enumerate(read_layers(data)):
        network.coefs_[number][...] = weights
        network.intercepts_[number][...] = bias


def read_layers(data: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and bias of each layer, checked; raises ValueError."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        layers = [(file[f"w{n}"], file[f"b{n}"]) for n in range(len(file.files) // 2)]
    sizes = [weights.shape for weights, _ in layers]
    fits = all(w.ndim == 2 and b.shape == (w.shape[1],) and np.isfinite(w).all() for w, b in layers)
    if not layers or not fits or sizes[0][0] != PIXELS or sizes[-1][1] != DIGITS:
        raise ValueError(f"the model's layers are {sizes}, not from {PIXELS} to {DIGITS}")
    return layers


class Classifier:
    """Tells which digit an image shows.

    A request is ``{"pixels": [64 numbers from 0 to 1]}``; a reply is ``{"digit": int,
    "probabilities": [10 numbers]}``. The weights are those that :func:`train` returned: the file
    ``model`` in the folder that the environment variable ``HOGAR_ARTIFACT`` names.
    """

    def __init__(self) -> None:
        folder = os.environ.get("HOGAR_ARTIFACT")
        if not folder:
            raise RuntimeError("HOGAR_ARTIFACT is not set: the classifier is not trained yet")
        self._layers = read_layers(Path(folder, "model").read_bytes())

    def predict_batch(self, requests: list[Any]) -> list[dict[str, Any]]:
        values = np.array([_pixels(request) for request in requests])
        for weights, bias in self._layers[:-1]:
            values = np.maximum(values @ weights + bias, 0)
        weights, bias = self._layers[-1]
        scores = values @ weights + bias
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return [
            {"digit": int(row.argmax()), "probabilities": [round(float(p), 6) for p in row]}
            for row in chances
        ]

    def predict(self, request: Any) -> dict[str, Any]:
        return self.predict_batch([request])[0]


def _pixels(request: Any) -> list[float]:
    found = object_of(request, _WHO, '{"pixels": [...]}').get("pixels")
    numbers = isinstance(found, list) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in found
    )
    if not numbers or len(found) != PIXELS:
        raise ValueError(
            f"{_WHO} needs {PIXELS} numbers in 'pixels', but it holds {kind_of(found)}"
        )
    return found
