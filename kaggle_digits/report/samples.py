"""Augmented digits -> a picture of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ENLARGED = 2  # pixels of the picture for each one of an image


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
    import cv2

    rows = np.concatenate([np.flatnonzero(labels == label)[:1] for label in range(10)])
    columns = [each[rows] for each in (images, *variants)]
    picture = 255 - np.concatenate(columns, axis=2).reshape(-1, 28 * len(columns))
    enlarged = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", enlarged)[1].tobytes()
