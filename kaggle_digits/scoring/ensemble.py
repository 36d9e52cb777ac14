"""Combine the finished fits' probabilities into test and out-of-fold predictions and a forecast.

It stands between the fits and the submission: arrays in, arrays and figures out. Sums run in
float64 over the fits sorted by (member, fold), so neither the order in which fits are given nor
repetition changes a bit of the result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import hypot, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np

from kaggle_digits.errors import UserError

__all__ = [
    "FitPredictions",
    "Score",
    "accuracy",
    "accuracy_interval",
    "average",
    "averaging_gain",
    "check_coverage",
    "expected_leaderboard",
    "out_of_fold",
    "test_probabilities",
]

CLASSES = 10
Method = Literal["arithmetic", "geometric", "vote"]

# A float32 probability of zero is an underflow: the true value is at most the smallest normal one.
_SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
# The mean probability's share in a vote: it decides ties, and is too small to overturn a majority
# of up to a thousand equal votes.
_TIE_BREAK = 1e-3


@dataclass(frozen=True)
class FitPredictions:
    """What one finished fit, a member trained without one fold, contributes.

    Attributes:
        member: Name of the member.
        fold: Number of the held-out fold.
        heldout_rows: (h,) int, indices of the held-out rows in the training data.
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


def average(stack: np.ndarray, method: Method = "arithmetic") -> np.ndarray:
    """Average the class probabilities of several predictors with equal weights.

    - `arithmetic`: the mean.
    - `geometric`: the normalised geometric mean. A zero counts as the smallest normal float32.
    - `vote`: each predictor's share of votes. The result is 0.999 times the share plus 0.001 times
      the mean probability, so among classes with equally many votes the one with the highest mean
      probability leads.

    Args:
        stack: (k, n, 10) probabilities in 0..1; rows sum to 1.
        method: How to average.

    Returns:
        (n, 10) float64 probabilities; rows sum to 1.

    Raises:
        ValueError: The method is unknown.
    """
    return _leave_mean_space(_enter_mean_space(stack, method).mean(axis=0), method)


def test_probabilities(fits: Iterable[FitPredictions], method: Method) -> np.ndarray:
    """Average over members the average over each member's fits on the test rows.

    Members weigh the same, however many fits each has finished.

    Args:
        fits: At least one finished fit, in any order.
        method: As in `average`; with `vote` a net has one vote, divided by its member's fits.

    Returns:
        (m, 10) float64 probabilities; rows sum to 1.
    """
    members = [
        np.mean([_enter_mean_space(fit.test, method) for fit in own], axis=0)
        for own in _by_member(fits).values()
    ]
    return _leave_mean_space(np.mean(members, axis=0), method)


def out_of_fold(
    fits: Iterable[FitPredictions], rows: int, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    """Average each training row over the members that held it out.

    Args:
        fits: Finished fits, in any order.
        rows: Number of training rows n.
        method: As in `average`.

    Returns:
        Probabilities (n, 10) float32, NaN where no member covers the row, and the number of
        members that cover each row, (n,) int64.

    Raises:
        UserError: A member holds a row out more than once.
    """
    total = np.zeros((rows, CLASSES))
    count = np.zeros(rows, np.int64)
    for member, own in _by_member(fits).items():
        _check_disjoint(member, own)
        for fit in own:
            total[fit.heldout_rows] += _enter_mean_space(fit.heldout, method)
            count[fit.heldout_rows] += 1
    covered = count > 0
    probabilities = np.full((rows, CLASSES), np.nan, np.float32)
    mean = total[covered] / count[covered, None]
    probabilities[covered] = _leave_mean_space(mean, method)
    return probabilities, count


def check_coverage(fits: Iterable[FitPredictions], rows: int, members: Iterable[str]) -> None:
    """Check that in a complete run every member holds every training row out.

    Args:
        fits: The run's finished fits, in any order.
        rows: Number of training rows.
        members: Names of the members that the run's config asks for.

    Raises:
        UserError: A member leaves rows uncovered; names the member and the number of rows.
    """
    fits_of = _by_member(fits)
    for member in members:
        covered = np.zeros(rows, bool)
        for fit in fits_of.get(member, []):
            covered[fit.heldout_rows] = True
        missing = np.flatnonzero(~covered)
        if missing.size:
            raise UserError(
                f"member {member!r}: expected each of the {rows} training rows to be held out "
                f"once, found {missing.size} rows that no fold holds out (the first, counted from "
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
    if rows < 1:
        raise ValueError(f"Expected at least 1 row for an accuracy interval. Received {rows}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = 1 - errors / rows
    shrink = 1 + z**2 / rows
    centre = (share + z**2 / (2 * rows)) / shrink
    half = z * sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_leaderboard(
    fits: Sequence[FitPredictions], score: Score, method: Method
) -> tuple[float, float]:
    """Forecast the accuracy on the test rows as a 95 % band.

    The centre is the out-of-fold accuracy plus the gain of averaging the folds' nets: one net per
    member predicts an out-of-fold row, all of them predict a test row. `averaging_gain` estimates
    it from the test rows on which the nets disagree, taking the averaged probabilities, calibrated
    by the out-of-fold accuracy, for the chance that each label is right.

    The band adds three independent errors in quadrature, each side by itself:

    - sampling of the n out-of-fold rows: the distance d from the accuracy to its Wilson limit;
    - sampling of the m test rows at that limit's error rate: d sqrt(n / m), since a Wilson limit L
      lies z sqrt(L (1 - L) / n) from the estimate;
    - the gain: anything between none and twice the estimate, so plus or minus the gain itself, for
      it is an estimate without test labels.

    Combining limits this way follows R. G. Newcombe (1998), Interval estimation for the difference
    between independent proportions, Statistics in Medicine 17, 873-890, method 10. It assumes that
    test rows are drawn like training rows and that no test row was trained on.

    Args:
        fits: The finished fits behind the submission, in any order.
        score: Their out-of-fold score.
        method: As in `average`.

    Returns:
        Lower and upper end of the band, in 0..1.
    """
    gain = averaging_gain(fits, score, method)
    widen = sqrt(1 + score.rows / len(fits[0].test))
    below = (score.accuracy - score.interval[0]) * widen
    above = (score.interval[1] - score.accuracy) * widen
    centre = score.accuracy + gain
    return max(0.0, centre - hypot(below, gain)), min(1.0, centre + hypot(above, gain))


def averaging_gain(fits: Sequence[FitPredictions], score: Score, method: Method) -> float:
    """Estimate, without test labels, what averaging the folds' nets adds to the accuracy.

    The nets of one fold label the test rows as they label out-of-fold rows; all nets together label
    them for the submission. The gain is the mean of P(submitted label) - P(one fold's label) over
    test rows and folds, and only rows with different labels contribute. P is the mean probability
    over all nets raised to the power 1/T and normalised (temperature scaling: Guo et al. 2017, On
    calibration of modern neural networks). Nets are over- or underconfident, label smoothing makes
    them the latter; so T is chosen such that the one-fold labels come out right exactly as often as
    they were out of fold, where half an error is added lest a flawless score mean certainty.

    Args:
        fits: The finished fits behind the submission, in any order.
        score: Their out-of-fold score.
        method: As in `average`; it decides the labels, never P.

    Returns:
        Gain in accuracy; 0 when all fits share one fold, and never negative for `arithmetic`.
    """
    posterior = test_probabilities(fits, "arithmetic")
    submitted = test_probabilities(fits, method).argmax(axis=1)
    one_fold = [
        test_probabilities([fit for fit in fits if fit.fold == fold], method).argmax(axis=1)
        for fold in sorted({fit.fold for fit in fits})
    ]
    logits = np.log(np.maximum(posterior, _SMALLEST_PROBABILITY))
    rows = np.arange(len(logits))

    def one_fold_accuracy(temperature: float) -> float:
        posterior = _softmax(logits / temperature)
        return float(np.mean([posterior[rows, labels] for labels in one_fold]))

    target = 1 - (score.errors + 0.5) / (score.rows + 1)
    coldest, hottest = 0.05, 20.0
    for _ in range(40):
        temperature = sqrt(coldest * hottest)
        if one_fold_accuracy(temperature) > target:
            coldest = temperature
        else:
            hottest = temperature
    submitted_accuracy = float(_softmax(logits / temperature)[rows, submitted].mean())
    return submitted_accuracy - one_fold_accuracy(temperature)


def _by_member(fits: Iterable[FitPredictions]) -> dict[str, list[FitPredictions]]:
    """Group fits by member, both members and folds sorted."""
    ordered = sorted(fits, key=lambda fit: (fit.member, fit.fold))
    return {member: list(own) for member, own in groupby(ordered, key=lambda fit: fit.member)}


def _check_disjoint(member: str, fits: list[FitPredictions]) -> None:
    """Refuse a row that one member's folds hold out more than once."""
    rows, times = np.unique(np.concatenate([fit.heldout_rows for fit in fits]), return_counts=True)
    if (times > 1).any():
        row = rows[times > 1][0]
        folds = [str(fit.fold) for fit in fits for _ in range(np.sum(fit.heldout_rows == row))]
        raise UserError(
            f"member {member!r}: expected each training row to be held out once, found row {row} "
            f"(counted from 0) in folds {' and '.join(folds)}; these fits belong to different "
            "splits: start a new run"
        )


def _enter_mean_space(probabilities: np.ndarray, method: Method) -> np.ndarray:
    """Map (..., 10) probabilities to the float64 values whose plain mean the method takes."""
    probabilities = np.asarray(probabilities, np.float64)
    if method == "arithmetic":
        return probabilities
    if method == "geometric":
        return np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
    if method == "vote":
        votes = np.eye(CLASSES)[probabilities.argmax(axis=-1)]
        return (1 - _TIE_BREAK) * votes + _TIE_BREAK * probabilities
    raise ValueError(f"Expected 'arithmetic', 'geometric' or 'vote'. Received {method!r}.")


def _leave_mean_space(mean: np.ndarray, method: Method) -> np.ndarray:
    """Map the (n, 10) mean of `_enter_mean_space` back to probabilities."""
    return _softmax(mean) if method == "geometric" else mean


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Normalise exp(logits) along the last axis without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
