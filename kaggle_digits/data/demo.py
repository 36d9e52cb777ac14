"""The demo data: scikit-learn's small digits as train.csv and test.csv, where no others are found.

`sources` hands these bytes on in place of the competition's, so that the whole flow can be tried
without an account at Kaggle.
"""

import functools

import numpy as np

from kaggle_digits.data.competition import PIXEL_COLUMNS

NAME = "demo data (scikit-learn load_digits)"
NOT_FOR_UPLOAD = "it is of DEMO DATA"
TRAIN_ROWS, TEST_ROWS = 1_400, 397
SEED = 0


@functools.cache
def csv_files() -> dict[str, bytes]:
    """Make the demo data from scikit-learn's `load_digits`, in the competition's format.

    The 1,797 digits of 8x8 pixels, 0 to 16, are enlarged to 20x20 (bilinear), set into 28x28 by
    their centre of mass as MNIST's are, and scaled to 0..255. All arithmetic is on integers and the
    split uses numpy's frozen generator, so the bytes are the same on every machine.

    Returns:
        "train" and "test": the content of train.csv (1,400 rows) and test.csv (397 rows), both with
        the label column.
    """
    import pandas as pd
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = np.column_stack([digits.target, _enlarge(digits.images).reshape(-1, 784)])
    # RandomState is the generator whose stream numpy promises never to change.
    rows = rows[np.random.RandomState(SEED).permutation(TRAIN_ROWS + TEST_ROWS)]
    table = pd.DataFrame(rows, columns=("label", *PIXEL_COLUMNS))
    parts = {"train": table[:TRAIN_ROWS], "test": table[TRAIN_ROWS:]}
    return {
        part: rows.to_csv(index=False, lineterminator="\r\n").encode()
        for part, rows in parts.items()
    }


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Bring (n, 8, 8) images of 0..16 to (n, 28, 28) of 0..255, centred as MNIST's digits are."""
    # Pixel i of 20 lies at (i + 1/2) * 8/20 - 1/2 on the axis of 8, which is (4 i - 3) / 10.
    tenths = np.clip(4 * np.arange(20) - 3, 0, 70)
    below, part_above = np.divmod(tenths, 10)
    weights = np.zeros((20, 9), np.int64)
    weights[np.arange(20), below] = 10 - part_above
    weights[np.arange(20), below + 1] = part_above
    weights = weights[:, :8]  # at the edge the pixel above has weight 0
    enlarged = weights @ images.astype(np.int64) @ weights.T  # 0..1600
    framed = np.pad((enlarged * 255 + 800) // 1600, ((0, 0), (4, 4), (4, 4)))
    mass = framed.sum((1, 2))
    rows, columns = (framed.sum(3 - axis) @ np.arange(28) for axis in (1, 2))
    # From the centre of mass to 13.5, the middle of 28 pixels, rounded; the frame leaves 4 pixels.
    down, right = (np.clip((14 * mass - moment) // mass, -4, 4) for moment in (rows, columns))
    shifted = zip(framed, down, right, strict=True)
    return np.stack([np.roll(image, (y, x), (0, 1)) for image, y, x in shifted])
