"""Fits of a few rows, for the tests of this room."""

import numpy as np

from kaggle_digits.scoring.ensemble import FitPredictions


def row(**classes):
    """One row of probabilities: row(c3=0.7, c5=0.3)."""
    probabilities = np.zeros(10, np.float32)
    for name, value in classes.items():
        probabilities[int(name[1:])] = value
    return probabilities


def fit(member, fold, heldout_rows=(), heldout=(), test=()):
    return FitPredictions(
        member,
        fold,
        np.array(heldout_rows, int),
        np.array(heldout, np.float32).reshape(-1, 10),
        np.array(test, np.float32).reshape(-1, 10),
    )


def random_fits(members=("a", "b"), folds=3, rows=60, test_rows=40):
    rng = np.random.default_rng(5)
    return [
        fit(
            member,
            fold,
            np.arange(fold, rows, folds),
            rng.dirichlet(np.ones(10), rows // folds),
            rng.dirichlet(np.ones(10), test_rows),
        )
        for member in members
        for fold in range(folds)
    ]
