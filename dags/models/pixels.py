"""An image of a digit to 8 x 8 pixels."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np

from models.fields import kind_of

SIDE = 8
"""Pixels of the image's sides that the classifier takes."""

MOST_SIDE = 4096
"""Pixels of the largest image's sides."""

_WHO = "the reader"
_HEADER = re.compile(rb"(P[25])((?:\s+(?:#[^\n]*\n\s*)*)(\d+)){3}\s")
_NUMBER = re.compile(rb"#[^\n]*\n|(\d+)")


class Reader:
    """Makes 8 x 8 pixels of an image.

    A request is a grey image, bright on dark: a PGM file (formats P2 and P5,
    https://netpbm.sourceforge.net/doc/pgm.html) as bytes, or rows of numbers, of which 0 is dark
    and the largest is bright. Its sides are 8 to 4096 pixels, and are cut into 8 parts each. A
    reply is ``{"pixels": [64 numbers from 0 to 1]}``, row by row.
    """

    def predict(self, request: Any) -> dict[str, Any]:
        image = (
            read_pgm(bytes(request)) if isinstance(request, (bytes, bytearray)) else _rows(request)
        )
        return {"pixels": [round(float(value), 4) for value in shrink(image).ravel()]}


def read_pgm(data: bytes) -> np.ndarray:
    """The image of a PGM file, its values from 0 to 1; raises ValueError."""
    header = _HEADER.match(data[:1000])
    if header is None:
        raise ValueError(f"{_WHO} expects a PGM image (P2 or P5), but got {len(data)} other bytes")
    numbers = [match[1] for match in _NUMBER.finditer(header[0][2:]) if match[1]]
    width, height, most = (int(number) for number in numbers[:3])
    _check_sides(height, width)
    if not 1 <= most <= 255:
        raise ValueError(f"{_WHO} takes PGM images of up to 255 shades, not {most}")
    body = data[header.end() :]
    if header[1] == b"P5":
        values = np.frombuffer(body[: width * height], dtype=np.uint8)
    else:
        # A number takes two characters at least.
        words = body[: 64 * width * height].split(maxsplit=width * height)
        try:
            values = np.array([int(word) for word in words[: width * height]])
        except ValueError:
            raise ValueError(f"{_WHO} found a shade in the PGM image that is no number") from None
    if values.size != width * height:
        raise ValueError(f"the PGM image has {values.size} pixels, but says {width} x {height}")
    return np.clip(values.reshape(height, width) / most, 0, 1)


def shrink(image: np.ndarray) -> np.ndarray:
    """An image as 8 x 8 pixels, each the mean of its part."""
    rows = np.linspace(0, image.shape[0], SIDE + 1).astype(int)
    columns = np.linspace(0, image.shape[1], SIDE + 1).astype(int)
    return np.array(
        [
            [image[top:bottom, left:right].mean() for left, right in pairwise(columns)]
            for top, bottom in pairwise(rows)
        ]
    )


def _rows(request: Any) -> np.ndarray:
    expected = f"{_WHO} expects a PGM image, or rows of numbers"
    if not isinstance(request, list) or not request:
        raise ValueError(f"{expected}, but got {kind_of(request)}")
    width = len(request[0]) if isinstance(request[0], list) else 0
    for row in request:
        if not isinstance(row, list) or len(row) != width:
            raise ValueError(f"{expected}, all rows of one length")
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in row):
            raise ValueError(f"{expected}, but one row holds something else")
    _check_sides(len(request), width)
    image = np.array(request, dtype=float)
    if not np.isfinite(image).all() or image.min() < 0:
        raise ValueError(f"{expected} of 0 and more")
    return image / max(float(image.max()), 1e-9)


def _check_sides(height: int, width: int) -> None:
    if not (SIDE <= height <= MOST_SIDE and SIDE <= width <= MOST_SIDE):
        raise ValueError(
            f"{_WHO} takes images of {SIDE} to {MOST_SIDE} pixels a side, not {width} x {height}"
        )
