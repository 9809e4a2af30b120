#!/usr/bin/env python3
"""Writes the sample images of digits: two that the classifier is not trained on, as PGM."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from models.digits import VALIDATION  # noqa: E402

images, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))[:VALIDATION]
for wanted, name in ((7, "seven"), (3, "three")):
    index = next(index for index in order if digits[index] == wanted)
    rows = "\n".join(" ".join(f"{int(v):2d}" for v in row) for row in images[index].reshape(8, 8))
    (HERE / f"{name}.pgm").write_text(f"P2\n# a handwritten {wanted}\n8 8\n16\n{rows}\n")
