"""The split: every training row is held out exactly once, each fold with all classes alike."""

import numpy as np


def stratified(labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Split rows into stratified folds.

    Args:
        labels: (n,) integers 0..9; every class has at least `count` rows.
        count: number of folds.
        seed: the run's seed.

    Returns:
        `count` sorted int64 arrays of held-out rows; together they are 0..n-1, each once.
    """
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed)
    return [held_out for _, held_out in splitter.split(np.zeros(len(labels)), labels)]


def assignment(split: list[np.ndarray], rows: int) -> np.ndarray:
    """Turn a split into the number of the fold that holds each row out.

    Args:
        split: held-out row sets.
        rows: number of training rows.

    Returns:
        (rows,) int16, the fold from 0, or -1 for a row that no fold holds out.

    Raises:
        ValueError: a row is held out twice, or is outside 0..rows-1.
    """
    folds = np.full(rows, -1, np.int16)
    for fold, held_out in enumerate(split):
        if len(held_out) and (held_out.min() < 0 or held_out.max() >= rows):
            raise ValueError(f"fold {fold}: rows must be in 0..{rows - 1}")
        if (folds[held_out] >= 0).any() or len(np.unique(held_out)) < len(held_out):
            raise ValueError(f"fold {fold}: a row is held out twice")
        folds[held_out] = fold
    return folds


def from_assignment(folds: np.ndarray) -> list[np.ndarray]:
    """Turn fold numbers back into held-out row sets, the inverse of `assignment`."""
    return [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
