"""The split: which training rows each fit of a member holds out.

As a rule every row is held out exactly once, each fold with all classes alike. Other kinds hold a
row out several times, or never: see `config.folds_section`.
"""

import numpy as np

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.storage.files import Arrays


def split(settings: Folds, labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Split rows as the settings say.

    A larger `count` of kind holdout, and more `repeats`, leave the sets before as they are.

    Args:
        settings: the config's section; the rows are enough for it, see
            `digits.check_enough_rows`.
        labels: (n,) integers 0..9.
        seed: the run's seed.

    Returns:
        `settings.fits` sorted int64 arrays of held-out rows.
    """
    if settings.kind == "none":
        return [np.array([], np.int64)]
    if settings.kind == "holdout":
        return _random(labels, settings.count, settings.holdout, seed)
    deal = stratified if settings.kind == "stratified" else _plain
    return [
        held_out
        for repeat in range(settings.repeats)
        for held_out in deal(labels, settings.count, _seed_of(seed, repeat))
    ]


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


def _plain(labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Split rows into shuffled folds of equal size, whatever their classes; see `stratified`."""
    from sklearn.model_selection import KFold

    splitter = KFold(n_splits=count, shuffle=True, random_state=seed)
    return [held_out for _, held_out in splitter.split(labels)]


def _random(labels: np.ndarray, count: int, fraction: float, seed: int) -> list[np.ndarray]:
    """Hold out a random fraction of the rows `count` times, each time all classes alike."""
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(n_splits=count, test_size=fraction, random_state=seed)
    return [np.sort(held_out) for _, held_out in splitter.split(np.zeros(len(labels)), labels)]


def _seed_of(seed: int, repeat: int) -> int:
    """Return the seed of a repeat, from 0; the first is the run's own."""
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0]) if repeat else seed


def times_held_out(split: list[np.ndarray], rows: int) -> np.ndarray:
    """Count how many folds hold each of the training rows out, (rows,) int64."""
    return np.bincount(np.concatenate(split), minlength=rows)


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


def to_arrays(split: list[np.ndarray], rows: int) -> Arrays:
    """Turn a split into what is stored of it.

    Args:
        split: held-out row sets.
        rows: number of training rows.

    Returns:
        `folds`, see `assignment`, where each row is held out exactly once; else `held_out`, (sets,
        rows) bool: whether each set has each row.
    """
    if (times_held_out(split, rows) == 1).all():
        return {"folds": assignment(split, rows)}
    held_out = np.zeros((len(split), rows), bool)
    for has_row, heldout_rows in zip(held_out, split, strict=True):
        has_row[heldout_rows] = True
    return {"held_out": held_out}


def from_arrays(arrays: Arrays) -> list[np.ndarray]:
    """Turn what is stored back into held-out row sets, the inverse of `to_arrays`."""
    if "folds" in arrays:
        return from_assignment(arrays["folds"])
    return [np.flatnonzero(has_row) for has_row in arrays["held_out"]]
