"""Finished fits -> rows on which the nets contradict a label, or each other.

Arrays in, row numbers out. Of a training row only nets count that were trained without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.scoring.ensemble import CLASSES, FitPredictions


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Training rows whose label no net gives that was trained without them, the surest first.

    Attributes:
        rows: (k,) int64, counted from 0.
        suggested: (k,) int64, the most probable class.
        confidence: (k,) float64, its out-of-fold probability.
        given: (k,) float64, the out-of-fold probability of the label.
        nets: (k,) int64, nets that have predicted the row.
        suspected: (k,) bool, whether the label is suspected to be wrong.
    """

    rows: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray
    given: np.ndarray
    nets: np.ndarray
    suspected: np.ndarray


def contradictions(
    fits: Sequence[FitPredictions], oof: np.ndarray, labels: np.ndarray
) -> Contradictions:
    """Find the training rows that all nets contradict.

    A label is suspected to be wrong where all nets give one and the same other class, and are as
    sure of it as they are on average of the rows that have it as their label: the threshold of
    confident learning. Source: C. G. Northcutt, L. Jiang, I. L. Chuang (2021), Confident learning:
    estimating uncertainty in dataset labels, Journal of Artificial Intelligence Research 70.

    Args:
        fits: the finished fits, in any order.
        oof: (n, 10) their out-of-fold probabilities, NaN where there are none.
        labels: (n,) integers 0..9.

    Returns:
        The rows; the least probable labels come first.
    """
    everywhere = np.arange(len(labels))
    votes = np.zeros((len(labels), CLASSES), np.int64)
    for fit in fits:
        np.add.at(votes, (fit.heldout_rows, fit.heldout.argmax(axis=1)), 1)
    nets = votes.sum(axis=1)
    rows = np.flatnonzero((nets > 0) & (votes[everywhere, labels] == 0))
    rows = rows[np.argsort(oof[rows, labels[rows]], kind="stable")]
    suggested = oof[rows].argmax(axis=1)
    confidence = oof[rows, suggested].astype(np.float64)
    agree = votes[rows, suggested] == nets[rows]
    return Contradictions(
        rows=rows,
        suggested=suggested,
        confidence=confidence,
        given=oof[rows, labels[rows]].astype(np.float64),
        nets=nets[rows],
        suspected=agree & (confidence >= _usual_confidence(oof, labels)[suggested]),
    )


def _usual_confidence(oof: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each class's mean probability over its own rows, (10,); of a class without 1."""
    predicted = ~np.isnan(oof[:, 0])
    own, known = oof[predicted, labels[predicted]].astype(np.float64), labels[predicted]
    sums, counts = (np.bincount(known, weights=w, minlength=CLASSES) for w in (own, None))
    return np.divide(sums, counts, out=np.ones(CLASSES), where=counts > 0)


def test_votes(fits: Sequence[FitPredictions]) -> np.ndarray:
    """Count for each test row how many nets give each class.

    Args:
        fits: at least one finished fit.

    Returns:
        (m, 10) int64; each row sums to the number of fits.
    """
    labels = np.stack([fit.test.argmax(axis=1) for fit in fits])
    return (labels[:, :, None] == np.arange(CLASSES)).sum(axis=0)
