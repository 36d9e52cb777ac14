"""Combines the finished fits' probabilities into test and out-of-fold predictions and their score.

It comes between the fits and the submission: arrays in, arrays and figures out. Sums run in
float64 over the fits sorted by (member, fold), so neither the order in which fits are given nor
repetition changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from kaggle_digits.errors import UserError

CLASSES = 10
Method = Literal["arithmetic", "geometric", "vote"]

# The least that a logarithm is taken of. A float32 probability of zero is an underflow: the true
# value is at most the smallest normal one.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
# The weight of the mean probability in a vote: it decides ties, and is too small to overturn a
# majority of up to a thousand equal votes.
_TIE_BREAK = 1e-3


@dataclass(frozen=True)
class FitPredictions:
    """What one finished fit, a member trained without one fold, contributes.

    Attributes:
        member: Name of the member.
        fold: Number of the held-out fold.
        heldout_rows: (h,) int, indices of the held-out rows, if any, in the training data.
        heldout: (h, 10) float32 class probabilities of those rows.
        test: (m, 10) float32 class probabilities of all test rows.
    """

    member: str
    fold: int
    heldout_rows: np.ndarray
    heldout: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Score:
    """An accuracy with the counts behind it.

    Attributes:
        errors: Number of wrong rows.
        rows: Number of rows predicted.
        accuracy: 1 - errors / rows, in 0..1.
        interval: 95 % Wilson interval (low, high) of the accuracy.
    """

    errors: int
    rows: int
    accuracy: float
    interval: tuple[float, float]


def test_probabilities(fits: Iterable[FitPredictions], method: Method) -> np.ndarray:
    """Average over members the average over each member's fits on the test rows.

    Members weigh the same, however many fits each has finished. The methods are:

    - `arithmetic`: the mean.
    - `geometric`: the normalised geometric mean. A zero counts as the smallest normal float32.
    - `vote`: the fraction of the votes, where a net has one vote, divided by its member's fits. The
      result is 0.999 times that fraction plus 0.001 times the mean probability, so among classes
      with equally many votes the one with the highest mean probability leads.

    Args:
        fits: At least one finished fit, in any order.
        method: How to average.

    Returns:
        (m, 10) float64 probabilities; rows sum to 1.

    Raises:
        ValueError: The method is unknown.
    """
    members = [
        np.mean([_enter_mean_space(fit.test, method) for fit in own], axis=0)
        for own in _by_member(fits).values()
    ]
    return _leave_mean_space(np.mean(members, axis=0), method)


def out_of_fold(
    fits: Iterable[FitPredictions], rows: int, method: Method, times: int | None = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Average each training row over the members that held it out.

    A member that several of its fits predict the row for is their average, as in
    `test_probabilities`.

    Args:
        fits: Finished fits, in any order.
        rows: Number of training rows n.
        method: As in `test_probabilities`.
        times: How many fits of a member hold each row out; None: chance decides it.

    Returns:
        Probabilities (n, 10) float32, NaN where no member covers the row, and the number of
        members that cover each row, (n,) int64.

    Raises:
        UserError: A member holds a row out more often.
    """
    total = np.zeros((rows, CLASSES))
    count = np.zeros(rows, np.int64)
    for member, own in _by_member(fits).items():
        if times is not None:
            _check_not_more(member, own, times)
        of_member = np.zeros((rows, CLASSES))
        for fit in own:
            of_member[fit.heldout_rows] += _enter_mean_space(fit.heldout, method)
        fits_of_row = _fits_of_rows(own, rows)
        held_out = fits_of_row > 0
        total[held_out] += of_member[held_out] / fits_of_row[held_out, None]
        count += held_out
    covered = count > 0
    probabilities = np.full((rows, CLASSES), np.nan, np.float32)
    mean = total[covered] / count[covered, None]
    probabilities[covered] = _leave_mean_space(mean, method)
    return probabilities, count


def check_coverage(
    fits: Iterable[FitPredictions], rows: int, members: Iterable[str], times: int = 1
) -> None:
    """Check that in a complete run every member holds every training row out.

    Args:
        fits: The run's finished fits, in any order.
        rows: Number of training rows.
        members: Names of the members that the run's config asks for.
        times: How many fits of a member hold each row out.

    Raises:
        UserError: A member leaves rows uncovered; names the member and the number of rows.
    """
    fits_of = _by_member(fits)
    for member in members:
        missing = np.flatnonzero(_fits_of_rows(fits_of.get(member, []), rows) < times)
        if missing.size:
            found = "that no fold holds out" if times == 1 else "that fewer folds hold out"
            raise UserError(
                f"member {member!r}: expected each of the {rows} training rows to be held out "
                f"{_often(times)}, found {missing.size} rows {found} (the first, counted from "
                f"0, is row {missing[0]}); train its missing folds"
            )


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> Score:
    """Count the errors of the most probable class.

    Args:
        probabilities: (n, 10); rows of NaN are not predicted and do not count.
        labels: (n,) int, true classes 0..9.

    Returns:
        The score over the predicted rows, with its 95 % interval.

    Raises:
        ValueError: No row is predicted.
    """
    predicted = ~np.isnan(probabilities[:, 0])
    wrong = probabilities[predicted].argmax(axis=1) != labels[predicted]
    errors, rows = int(wrong.sum()), wrong.size
    interval = accuracy_interval(errors, rows)
    return Score(errors, rows, 1 - errors / rows, interval)


def accuracy_interval(errors: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the Wilson score interval of an accuracy.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical
    inference, Journal of the American Statistical Association 22, 209-212.

    Args:
        errors: Number of wrong rows, 0..rows.
        rows: Number of rows, at least 1.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper limit of the accuracy, in 0..1.

    Raises:
        ValueError: There is no row.
    """
    from scipy.stats import binomtest

    if rows < 1:
        raise ValueError(f"Expected at least 1 row for an accuracy interval. Received {rows}.")
    interval = binomtest(rows - errors, rows).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _by_member(fits: Iterable[FitPredictions]) -> dict[str, list[FitPredictions]]:
    """Group fits by member, both members and folds sorted."""
    ordered = sorted(fits, key=lambda fit: (fit.member, fit.fold))
    return {member: list(own) for member, own in groupby(ordered, key=lambda fit: fit.member)}


def _fits_of_rows(fits: Iterable[FitPredictions], rows: int) -> np.ndarray:
    """Count how many fits hold each row out, (rows,) int64."""
    count = np.zeros(rows, np.int64)
    for fit in fits:
        count[fit.heldout_rows] += 1
    return count


def _check_not_more(member: str, fits: list[FitPredictions], times: int) -> None:
    """Refuse a row that one member's folds hold out more often than they should."""
    rows, found = np.unique(np.concatenate([fit.heldout_rows for fit in fits]), return_counts=True)
    if (found > times).any():
        row = rows[found > times][0]
        folds = [str(fit.fold) for fit in fits for _ in range(np.sum(fit.heldout_rows == row))]
        raise UserError(
            f"member {member!r}: expected each training row to be held out {_often(times)}, found "
            f"row {row} (counted from 0) in folds {' and '.join(folds)}; these fits belong to "
            "different splits: start a new run"
        )


def _often(times: int) -> str:
    return {0: "never", 1: "once"}.get(times, f"{times} times")


def _enter_mean_space(probabilities: np.ndarray, method: Method) -> np.ndarray:
    """Map (..., 10) probabilities to the float64 values whose plain mean the method takes."""
    probabilities = np.asarray(probabilities, np.float64)
    if method == "arithmetic":
        return probabilities
    if method == "geometric":
        return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    if method == "vote":
        votes = np.eye(CLASSES)[probabilities.argmax(axis=-1)]
        return (1 - _TIE_BREAK) * votes + _TIE_BREAK * probabilities
    raise ValueError(f"Expected 'arithmetic', 'geometric' or 'vote'. Received {method!r}.")


def _leave_mean_space(mean: np.ndarray, method: Method) -> np.ndarray:
    """Map the (n, 10) mean of `_enter_mean_space` back to probabilities."""
    if method != "geometric":
        return mean
    from scipy.special import softmax

    return softmax(mean, axis=-1)
