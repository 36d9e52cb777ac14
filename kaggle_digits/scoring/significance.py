"""Tests which of two sets of predictions is better, on rows that both have predicted.

Arrays in, p-values out: a difference that luck alone would often bring is no difference. All
of them take the trained nets as they are and ask about other rows; trained with another seed, the
same config makes other mistakes, so they say nothing about configs (T. G. Dietterich (1998),
Approximate statistical tests for comparing supervised classification learning algorithms, Neural
Computation 10, 1895-1923).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kaggle_digits.scoring.ensemble import SMALLEST_PROBABILITY

Alternative = Literal["two-sided", "greater"]


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's negative logarithm of the true class's probability.

    Args:
        probabilities: (n, 10).
        labels: (n,) integers 0..9.

    Returns:
        (n,) float64, nats.
    """
    return losses_of(probabilities[np.arange(len(labels)), labels])


def losses_of(true: np.ndarray) -> np.ndarray:
    """Return the negative logarithms of true classes' probabilities: (n,) float64, nats."""
    return -np.log(np.maximum(true.astype(np.float64), SMALLEST_PROBABILITY))


def mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each row whether the most probable class is wrong: (n,) bool."""
    return probabilities.argmax(axis=1) != labels


def discordant(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Count rows that only one of two predicts wrongly: (only the first, only the second)."""
    return int((one & ~other).sum()), int((other & ~one).sum())


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether two trained classifiers have different error rates, on the same rows.

    McNemar's exact test: of the rows that only one of them gets wrong, each is as likely the one's
    as the other's. Source: Q. McNemar (1947), Note on the sampling error of the difference between
    correlated proportions or percentages, Psychometrika 12, 153-157. The verdict is about these
    classifiers, these seeds included, not about the configs that they come from.

    Args:
        one: (n,) bool, rows that the first predicts wrongly.
        other: (n,) bool, rows that the second predicts wrongly.

    Returns:
        The two-sided p-value; 1 where they differ nowhere.
    """
    return _sign_test(one, other, "two-sided")


def more_mistakes(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether the first makes more mistakes than the second: `mcnemar`, one-sided."""
    return _sign_test(one, other, "greater")


def higher_loss(one: np.ndarray, other: np.ndarray) -> float:
    """Test whether the first trained net has the higher mean loss, on the same rows.

    Student's paired t-test over rows: the mean of many differences is near enough to normal, and
    with few rows the test is stricter than a z-test. Like `mcnemar`, it is about these nets.

    Args:
        one: (n,) losses of the first.
        other: (n,) losses of the second.

    Returns:
        The one-sided p-value; 1 where all differences are equal or there are fewer than two rows.
    """
    from scipy.stats import ttest_rel

    if len(one) < 2 or np.ptp(one - other) == 0:
        return 1.0
    return float(ttest_rel(one, other, alternative="greater").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for how many there are: among many, one is small by luck alone.

    Source: S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian
    Journal of Statistics 6, 65-70. It holds however the tests depend on each other.

    Args:
        p_values: of all tests that were made.

    Returns:
        In the same order, each at least as large as it was.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    ordered = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(ordered):
        largest = max(largest, (len(p_values) - rank) * p_values[place])
        corrected[place] = min(1.0, largest)
    return corrected


def _sign_test(one: np.ndarray, other: np.ndarray, alternative: Alternative) -> float:
    from scipy.stats import binomtest

    first, second = discordant(one, other)
    if first + second == 0:
        return 1.0
    return float(binomtest(first, first + second, alternative=alternative).pvalue)
