"""The albumentations pipeline: draws one augmented variant of all images.

Augmentation does not depend on the fold: `bank` draws variants once, and all fits share them.
"""

import os
import warnings
from importlib.metadata import version

import numpy as np

from kaggle_digits.config.schema import Augment

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network otherwise

# Rows that share one random stream: a constant, so that a variant's bytes do not depend on how the
# work is divided.
CHUNK_ROWS = 1024
# Raise it when the same settings make other images, and when a default changes: settings at their
# defaults are not part of a bank's key.
PIPELINE_VERSION = 1


def build_transform(config: Augment):
    """Build the albumentations pipeline of a config.

    Args:
        config: the `augment` section.

    Returns:
        An `albumentations.Compose` for (28, 28, 1) uint8 images.

    Raises:
        ValueError: albumentations does not know an argument (by itself it would only warn).
    """
    import albumentations
    import cv2

    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        try:
            steps = [
                albumentations.Affine(
                    rotate=config.rotate,
                    scale={"x": config.scale, "y": config.scale},
                    translate_percent={"x": config.translate, "y": config.translate},
                    shear={"x": config.shear, "y": (0.0, 0.0)},
                    border_mode=cv2.BORDER_CONSTANT,
                    fill=0,
                    p=config.affine_probability,
                ),
                albumentations.ElasticTransform(
                    alpha=config.elastic.alpha,
                    sigma=config.elastic.sigma,
                    border_mode=cv2.BORDER_CONSTANT,
                    fill=0,
                    p=config.elastic.p,
                ),
                albumentations.GridDistortion(
                    num_steps=config.grid.steps,
                    distort_limit=config.grid.limit,
                    border_mode=cv2.BORDER_CONSTANT,
                    fill=0,
                    p=config.grid.p,
                ),
            ]
            # A step that is never applied is left out: it would cost time and random numbers.
            return albumentations.Compose([step for step in steps if step.p > 0], seed=0)
        except UserWarning as warning:
            raise ValueError(f"albumentations refuses an argument: {warning}") from None


def transform_key(config: Augment) -> dict:
    """Return everything but the data and the seed that a variant's bytes depend on.

    Args:
        config: the `augment` section; what fits do with variants has no influence. What is at its
            default is left out, so that a setting that is new in the program leaves every bank
            where it is.

    Returns:
        A JSON-ready dict of settings and library versions.
    """
    import cv2

    return {
        "pipeline": PIPELINE_VERSION,
        "transform": config.of_bank().canonical().model_dump(mode="json", exclude_defaults=True),
        "chunk_rows": CHUNK_ROWS,
        "albumentations": version("albumentations"),
        "opencv": cv2.__version__,
    }


def draw_variant(images: np.ndarray, config: Augment, seed: int, variant: int) -> np.ndarray:
    """Augment every image once.

    Args:
        images: (n, 28, 28) uint8.
        config: the `augment` section.
        seed: the run's seed.
        variant: the variant's number, from 0; each has random numbers of its own.

    Returns:
        (n, 28, 28) uint8, row by row an augmented copy of `images`.
    """
    import cv2

    cv2.setNumThreads(0)  # one process a core does the work; threads in each only cost time
    transform = build_transform(config)
    out = np.empty_like(images)
    for chunk, start in enumerate(range(0, len(images), CHUNK_ROWS)):
        state = np.random.SeedSequence([seed, variant, chunk]).generate_state(1)[0]
        transform.set_random_seed(int(state))
        for row in range(start, min(start + CHUNK_ROWS, len(images))):
            out[row] = transform(image=images[row, :, :, None])["image"][:, :, 0]
    return out
