"""Sets slanted digits upright, as the first part of a net.

A net that sees all digits upright is no better by itself, but it gets other digits wrong than one
that sees them as they are, so that their mean is better than either.

Sources: the moments of R. Casey (1970), Moment normalization of handprinted characters; nets that
see digits differently, D. Ciresan et al. (2012), Multi-column deep neural networks for image
classification.
"""

import keras
import numpy as np
from keras import ops

from kaggle_digits.config.model_section import SIDE

SMALL = 1e-3  # least ink and variance, so that an empty image stays one
# Pixels sideways for a pixel down. Of the competition's digits it is at most 1.9; of a dash that is
# hardly tilted it is without bounds, and would set the dash upright.
LARGEST = 2.0


def deslanted(images: keras.KerasTensor) -> keras.KerasTensor:
    """Set digits upright, with `keras.ops` alone: stock Keras loads nets that begin with it.

    Every row of an image is moved sideways until the covariance of the ink's places is 0; the
    centre of mass stays where it is.

    Args:
        images: (n, 28, 28) uint8 pixels.

    Returns:
        (n, 28, 28) float32 pixels, 0..255, interpolated linearly.
    """
    images = ops.cast(images, "float32")
    places = np.arange(SIDE, dtype=np.float32)
    rows, columns = ops.sum(images, 2), ops.sum(images, 1)
    ink = ops.maximum(ops.sum(rows, 1), SMALL)
    x, y = ops.sum(columns * places, 1) / ink, ops.sum(rows * places, 1) / ink
    variance = ops.maximum(ops.sum(rows * places**2, 1) / ink - y**2, SMALL)
    covariance = ops.sum(ops.sum(images * places, 2) * places, 1) / ink - x * y
    slant = ops.clip(covariance / variance, -LARGEST, LARGEST)
    # How far to the left of a pixel is, in its own row, what comes to it: (n, 28).
    moves = ops.expand_dims(slant, 1) * (ops.expand_dims(y, 1) - places)
    # No addition: Keras's, on TensorFlow, takes a vector that fits a channel for a bias.
    sources = ops.subtract(places, ops.expand_dims(moves, 2))
    # Linear interpolation: weights of the row's pixels, (n, 28, 28, 28), none outside of the image.
    weights = ops.relu(1 - ops.abs(ops.expand_dims(sources, -1) - places))
    return ops.sum(weights * ops.expand_dims(images, 2), -1)
