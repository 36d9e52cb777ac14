"""Which of two nets predicts better, judged on rows that both have predicted.

Arrays in, p-values out: a difference that luck alone would often bring is no difference.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np

# The smallest probability that a logarithm is taken of; a float32 zero is an underflow.
SMALLEST = float(np.finfo(np.float32).tiny)


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's negative logarithm of the true class's probability.

    Args:
        probabilities: (n, 10).
        labels: (n,) integers 0..9.

    Returns:
        (n,) float64, nats.
    """
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(true, SMALLEST))


def mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each row whether the most probable class is wrong: (n,) bool."""
    return probabilities.argmax(axis=1) != labels


def discordant(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Count rows that only one of two predicts wrongly: (only the first, only the second)."""
    return int((one & ~other).sum()), int((other & ~one).sum())


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether two classifiers have different error rates, on the same rows.

    McNemar's exact test: of the rows that only one of them gets wrong, each is as likely the one's
    as the other's. Source: Q. McNemar (1947), Note on the sampling error of the difference between
    correlated proportions or percentages, Psychometrika 12, 153-157.

    Args:
        one: (n,) bool, rows that the first predicts wrongly.
        other: (n,) bool, rows that the second predicts wrongly.

    Returns:
        The two-sided p-value; 1 where they differ nowhere.
    """
    return _sign_test(*discordant(one, other), alternative="two-sided")


def more_mistakes(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether the first makes more mistakes than the second: `mcnemar`, one-sided."""
    return _sign_test(*discordant(one, other), alternative="greater")


def _sign_test(first: int, second: int, alternative: str) -> float:
    from scipy.stats import binomtest

    if first + second == 0:
        return 1.0
    return float(binomtest(first, first + second, alternative=alternative).pvalue)


def higher_loss(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether the first has the higher mean loss on the same rows.

    A paired z-test: rows are many, so the mean difference is near enough to normal.

    Args:
        one: (n,) losses of the first.
        other: (n,) losses of the second.

    Returns:
        The one-sided p-value; 1 where they do not differ.
    """
    difference = one - other
    spread = difference.std(ddof=1) if len(difference) > 1 else 0.0
    if spread == 0:
        return 1.0
    return 1 - NormalDist().cdf(difference.mean() / (spread / sqrt(len(difference))))
