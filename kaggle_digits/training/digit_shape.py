"""Sets digits upright and gives them one width, as the first part of a net.

Whoever writes with a slant writes the same digits. A net that sees them upright is no better by
itself, but it errs on other digits than one that sees them as they are, so that averaging gains.

Sources: the moments of R. Casey (1970), Moment normalization of handprinted characters; nets for
digits of several widths, D. Ciresan et al. (2012), Multi-column deep neural networks for image
classification.
"""

import keras
import numpy as np
from keras import ops

from kaggle_digits.config.model_section import SIDE, Normalize

# Standard deviation of the ink's horizontal places, pixels: of an upright digit about 3.5, of a 1
# about 1, which would be stretched beyond recognition without a limit.
WIDTH = 4.0
SCALES = (0.4, 1.7)  # source pixels for a pixel: widened to 2.5 times, narrowed to 0.6 times
SMALL = 1e-3  # of ink and of variances, so that an empty image stays one


def normalized(images: keras.KerasTensor, normalize: Normalize) -> keras.KerasTensor:
    """Normalise images, with `keras.ops` alone: stock Keras loads nets that begin with it.

    Every row of an image is moved sideways and stretched; the centre of mass stays where it is.

    Args:
        images: (n, 28, 28) uint8 pixels.
        normalize: slant: the covariance of the ink's places becomes 0; width: their horizontal
            standard deviation becomes `WIDTH`; both.

    Returns:
        (n, 28, 28) float32 pixels, 0..255, interpolated linearly; as they came where nothing is
        to be done.
    """
    if normalize == "none":
        return images
    images = ops.cast(images, "float32")
    places = np.arange(SIDE, dtype=np.float32)
    rows, columns = ops.sum(images, 2), ops.sum(images, 1)
    ink = ops.maximum(ops.sum(rows, 1), SMALL)
    x, y = ops.sum(columns * places, 1) / ink, ops.sum(rows * places, 1) / ink
    variance = ops.sum(columns * places**2, 1) / ink - x**2
    slant, scale = ops.zeros_like(x), ops.ones_like(x)
    if normalize in ("slant", "both"):
        height = ops.maximum(ops.sum(rows * places**2, 1) / ink - y**2, SMALL)
        covariance = ops.sum(ops.sum(images * places, 2) * places, 1) / ink - x * y
        slant = covariance / height  # pixels sideways for a pixel down
        variance = variance - covariance * slant
    if normalize in ("width", "both"):
        scale = ops.clip(ops.sqrt(ops.maximum(variance, SMALL)) / WIDTH, *SCALES)

    def of_image(values: keras.KerasTensor) -> keras.KerasTensor:
        return ops.reshape(values, (-1, 1, 1))

    # Where each pixel comes from: (n, 28, 28) horizontal places, all in its own row.
    sources = (
        of_image(x)
        - of_image(slant) * (of_image(y) - places[:, None])
        - of_image(scale) * (of_image(x) - places)
    )
    # Linear interpolation: weights of the row's pixels, (n, 28, 28, 28), none outside of the image.
    weights = ops.relu(1 - ops.abs(ops.expand_dims(sources, -1) - places))
    return ops.sum(weights * ops.expand_dims(images, 2), -1)
