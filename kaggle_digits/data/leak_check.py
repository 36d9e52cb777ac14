"""The leak check: test rows that are also in train, and training rows that are in two folds.

`digits` counts the leaked test rows of every data set; a run refuses to make a submission of many
of them, because full MNIST holds the very images that the competition asks for.
"""

from collections.abc import Sequence

import numpy as np

from kaggle_digits.errors import UserError

# The competition's own files have 0; a few rows leave room for blank or otherwise trivial images.
MOST_LEAKED_ROWS = 10
# Rows of MNIST's training set, and of the whole of it.
MNIST_ROWS = (60_000, 70_000)


def leaked_rows(train_images: np.ndarray, test_images: np.ndarray) -> np.ndarray:
    """Find the test rows whose pixels are also in train.

    Args:
        train_images: (n, 28, 28) uint8.
        test_images: (m, 28, 28) uint8.

    Returns:
        (m,) bool.
    """
    train = {image.tobytes() for image in train_images}
    return np.array([image.tobytes() in train for image in test_images], bool)


def count_leaked_rows(train_images: np.ndarray, test_images: np.ndarray) -> int:
    """Count the rows of `leaked_rows`, equal ones each."""
    return int(leaked_rows(train_images, test_images).sum())


def count_rows_across_folds(images: np.ndarray, split: Sequence[np.ndarray]) -> int:
    """Count the held-out rows whose pixels are also among the rows that their fold trains on.

    Args:
        images: (n, 28, 28) uint8, the training rows.
        split: held-out row sets, one for each fold.

    Returns:
        0..n, the rows whose out-of-fold prediction comes from nets that saw the same image; a row
        that several folds hold out counts once.
    """
    first_like: dict[bytes, int] = {}
    like = np.array(
        [first_like.setdefault(image.tobytes(), row) for row, image in enumerate(images)], int
    )
    copies = np.bincount(like, minlength=len(images))
    seen = np.zeros(len(images), bool)
    for held_out in split:
        of_fold = like[held_out]
        # A fold trains on a copy unless it holds all of them out.
        seen[held_out] |= np.bincount(of_fold, minlength=len(images))[of_fold] < copies[of_fold]
    return int(seen.sum())


def refuse_leak(found: int, source: str, *, train_rows: int, allowed: bool) -> None:
    """Refuse to make a submission of data whose test rows are also in train.

    Args:
        found: leaked test rows, see `count_leaked_rows`.
        source: where the files come from, for the error message.
        train_rows: rows to learn from, which give MNIST away.
        allowed: whether --allow-leak was given.

    Raises:
        UserError: more than `MOST_LEAKED_ROWS` are leaked, and that is not allowed.
    """
    if found > MOST_LEAKED_ROWS and not allowed:
        reason = "full MNIST holds the test images and must not be trained on"
        if train_rows in MNIST_ROWS:
            reason = f"{train_rows:,} training rows are as many as MNIST's, and {reason}"
        raise UserError(
            f"{source}: expected at most {MOST_LEAKED_ROWS} test rows whose pixels are also in "
            f"the training rows (the competition's files have none), found {found:,}; such a "
            f"submission measures memory, not reading: {reason}; take the competition's "
            "train.csv, or add --allow-leak if you know what you do"
        )
