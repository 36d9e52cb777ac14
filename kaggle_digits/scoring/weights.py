"""Finds how much each member of an ensemble should count, by greedy forward selection.

It stands beside `ensemble`: out-of-fold probabilities and labels in, whole numbers out. What the
weights are fitted on says nothing about how good they are; `nested` gives the figure that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.scoring import significance

ROUNDS = 50  # selections; more only make the weights finer


def greedy(
    candidates: Sequence[np.ndarray], labels: np.ndarray, rounds: int = ROUNDS
) -> tuple[int, ...]:
    """Select candidates with replacement, each time the one that makes the mean best.

    Best is the mean of probabilities with the fewest wrong rows, of equally many the one with the
    lowest log loss, of equal ones that of the earlier candidate. Of the means after 1, 2, ...
    selections the best is taken, the earliest where several are. Source: R. Caruana, A. Niculescu-
    Mizil, G. Crew, A. Ksikes (2004), Ensemble selection from libraries of models, ICML.

    Args:
        candidates: (n, 10) probabilities each, in an order that does not depend on chance.
        labels: (n,) integers 0..9.
        rounds: selections, at least 1.

    Returns:
        How often each candidate was selected, without a common divisor.
    """
    library, counts = _Library(candidates, labels), np.zeros(len(candidates), np.int64)
    best_score, best = None, counts
    for _ in range(rounds):
        scores = [library.score_with(candidate) for candidate in range(len(candidates))]
        chosen = min(range(len(candidates)), key=scores.__getitem__)
        library.select(chosen)
        counts[chosen] += 1
        if best_score is None or scores[chosen] < best_score:
            best_score, best = scores[chosen], counts.copy()
    return tuple((best // np.gcd.reduce(best)).tolist())


class _Library:
    """The candidates, and the sum of those that are selected so far."""

    def __init__(self, candidates: Sequence[np.ndarray], labels: np.ndarray) -> None:
        stacked = np.stack([np.asarray(each, np.float64) for each in candidates])
        tops = stacked.argmax(axis=2)
        # Where all agree, so does every mean of them; only the other rows have to be looked at.
        disputed = (tops != tops[0]).any(axis=0)
        self._agreed_errors = int((tops[0] != labels)[~disputed].sum())
        self._labels, self._disputed = labels[disputed], stacked[:, disputed]
        self._true = stacked[:, np.arange(len(labels)), labels]
        self._sum, self._true_sum = np.zeros_like(self._disputed[0]), np.zeros_like(self._true[0])
        self._selected = 0

    def score_with(self, candidate: int) -> tuple[int, float]:
        """Return wrong rows and log loss of the mean with one more candidate; less is better."""
        tops = (self._sum + self._disputed[candidate]).argmax(axis=1)
        true = (self._true_sum + self._true[candidate]) / (self._selected + 1)
        errors = self._agreed_errors + int((tops != self._labels).sum())
        return errors, float(significance.losses_of(true).sum())

    def select(self, candidate: int) -> None:
        """Add a candidate to the mean."""
        self._sum += self._disputed[candidate]
        self._true_sum += self._true[candidate]
        self._selected += 1


def mean(candidates: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """Average candidates by their weights, in their order: (n, 10) float64."""
    pairs = zip(candidates, weights, strict=True)
    total = sum(weight * np.asarray(each, np.float64) for each, weight in pairs)
    return total / sum(weights)


@dataclass(frozen=True, eq=False)
class Nested:
    """What weights predict for rows that they were not fitted on.

    Attributes:
        probabilities: (n, 10) float64.
        weights: of each part, those that were fitted on all other parts.
    """

    probabilities: np.ndarray
    weights: dict[int, tuple[int, ...]]


def nested(candidates: Sequence[np.ndarray], labels: np.ndarray, parts: np.ndarray) -> Nested:
    """Predict each part of the rows with weights that were fitted without it.

    Args:
        candidates: see `greedy`; out of fold, so that no net has seen a row that it predicts.
        labels: see `greedy`.
        parts: (n,) integers, the part of each row, for example its fold; at least two of them.

    Returns:
        Predictions whose score is as honest as that of a plain mean.

    Raises:
        ValueError: there is only one part.
    """
    numbers = np.unique(parts)
    if len(numbers) < 2:
        raise ValueError(f"Expected at least 2 parts. Received {len(numbers)}.")
    probabilities, weights = np.zeros((len(labels), candidates[0].shape[1])), {}
    for number in numbers.tolist():
        own = parts == number
        fitted = greedy([each[~own] for each in candidates], labels[~own])
        probabilities[own] = mean([each[own] for each in candidates], fitted)
        weights[number] = fitted
    return Nested(probabilities, weights)
