"""Digits -> a picture of them: samples of the data, and what augmentation makes of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import numpy as np

ENLARGED = 2  # pixels of the picture for each one of an image
SAMPLES = 16  # of each class


def augmentation_picture(
    images: np.ndarray, labels: np.ndarray, variants: Sequence[np.ndarray]
) -> bytes:
    """Draw a line for each digit, first as it came, then as the bank has it.

    Args:
        images: (n, 28, 28) uint8.
        labels: (n,) integers 0..9; the first row of each class is drawn.
        variants: (n, 28, 28) uint8 each, one column each.

    Returns:
        A PNG file, dark digits on white.
    """
    rows = np.concatenate([np.flatnonzero(labels == label)[:1] for label in range(10)])
    return _png(np.stack([each[rows] for each in (images, *variants)], axis=1))


def samples_picture(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Draw a line for each class, 0 to 9: the first `SAMPLES` rows of it.

    Args:
        images: (n, 28, 28) uint8.
        labels: (n,) integers 0..9. Where a class has fewer rows, the rest of its line is white.

    Returns:
        A PNG file, dark digits on white.
    """
    grid = np.zeros((10, SAMPLES, 28, 28), np.uint8)
    for label, line in enumerate(grid):
        first = images[labels == label][:SAMPLES]
        line[: len(first)] = first
    return _png(grid)


def digit_uri(image: np.ndarray) -> str:
    """Return one digit, (28, 28) uint8, as a picture within a page: dark on white."""
    return data_uri(_png(image[None, None]))


def data_uri(png: bytes) -> str:
    """Return a PNG file as a picture within a page."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _png(grid: np.ndarray) -> bytes:
    """Draw (lines, columns, 28, 28) uint8."""
    import cv2

    lines, columns = grid.shape[:2]
    picture = 255 - grid.swapaxes(1, 2).reshape(28 * lines, 28 * columns)
    enlarged = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", enlarged)[1].tobytes()
