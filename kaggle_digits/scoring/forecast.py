"""Forecasts the leaderboard's score from out-of-fold accuracy and the nets' disagreement.

It comes beside `ensemble` at the end of a run: finished fits and their score in, a band out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, hypot, log, sqrt

import numpy as np

from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.calibration import COLDEST, HOTTEST, with_temperature
from kaggle_digits.scoring.ensemble import FitPredictions, Method, Score

# The fraction of the test rows that the leaderboard's score is computed from. Digit Recognizer, a
# Getting Started competition, is scored by the accuracy over the test rows, which are 28,000:
# https://www.kaggle.com/competitions/digit-recognizer. Others keep rows for a private leaderboard.
SCORED_FRACTION = 1.0
# Of the folds that hold a row out together, where there are several: more picks change little.
MOST_PICKS = 10


def expected_leaderboard(
    fits: Sequence[FitPredictions], score: Score, method: Method
) -> tuple[float, float]:
    """Forecast the accuracy on the scored test rows as a 95 % band.

    The centre is the out-of-fold accuracy plus the gain of averaging the folds' nets: only those
    that hold it out, as a rule one net per member, predict an out-of-fold row, all of them predict
    a test row. `averaging_gain` estimates it from the test rows on which the nets disagree, taking
    the averaged probabilities, calibrated by the out-of-fold accuracy, for the chance that each
    label is right.

    `tests/scoring/test_forecast_trials.py` counts how often the band covers: 95 % of the time where
    the nets gain nothing by averaging, more often the more they gain.

    Args:
        fits: The finished fits behind the submission, in any order.
        score: Their out-of-fold score, on the rows that any of them holds out; at least one.
        method: As in `test_probabilities`.

    Returns:
        Lower and upper end of the band, in 0..1.
    """
    return band(score, averaging_gain(fits, score, method), len(fits[0].test))


def band(score: Score, gain: float, test_rows: int) -> tuple[float, float]:
    """Lay a 95 % band around the accuracy that is expected on the scored test rows.

    It adds three independent errors in quadrature, each side by itself:

    - sampling of the n out-of-fold rows: the distance d from the accuracy to its Wilson limit;
    - sampling of the m scored test rows at that limit's error rate: d sqrt(n / m), since a Wilson
      limit L lies z sqrt(L (1 - L) / n) from the estimate;
    - the gain: anything between none and twice the estimate, so plus or minus the gain itself, for
      it is an estimate without test labels.

    Combining limits this way follows R. G. Newcombe (1998), Interval estimation for the difference
    between independent proportions, Statistics in Medicine 17, 873-890, method 10. It assumes that
    test rows are drawn like training rows and that no test row was trained on.

    Args:
        score: The out-of-fold score, n rows.
        gain: What averaging more nets adds to its accuracy.
        test_rows: Number of test rows; `SCORED_FRACTION` of them are the m scored ones.

    Returns:
        Lower and upper end of the band, in 0..1.
    """
    widen = sqrt(1 + score.rows / (SCORED_FRACTION * test_rows))
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
    they were out of fold, where half an error is added lest a flawless score mean certainty. If no
    T in 0.05..20 does that, the nearer end is taken.

    Where k folds hold a row out, the nets of k folds stand in the place of those of one: as often
    as rows are held out by k folds, see `_like_out_of_fold`.

    Args:
        fits: The finished fits behind the submission, in any order.
        score: Their out-of-fold score.
        method: As in `test_probabilities`; it decides the labels, never P.

    Returns:
        Gain in accuracy; 0 when all fits share one fold, and never negative for `arithmetic`.
    """
    from scipy.optimize import brentq

    posterior = ensemble.test_probabilities(fits, "arithmetic")
    rows = np.arange(len(posterior))
    submitted = _labels([fits], method)[0]
    out_of_fold = [(part, _labels(picks, method)) for part, picks in _like_out_of_fold(fits)]
    target = 1 - (score.errors + 0.5) / (score.rows + 1)

    def expected_accuracies(log_temperature: float) -> tuple[float, float]:
        right = with_temperature(posterior, exp(log_temperature))
        of_parts = (part * right[rows, labels].mean() for part, labels in out_of_fold)
        return right[rows, submitted].mean(), sum(of_parts)

    def excess(log_temperature: float) -> float:
        return expected_accuracies(log_temperature)[1] - target

    coldest, hottest = log(COLDEST), log(HOTTEST)
    if excess(coldest) <= 0:
        best = coldest
    elif excess(hottest) >= 0:
        best = hottest
    else:
        best = brentq(excess, coldest, hottest)
    of_submission, of_folds = expected_accuracies(best)
    return float(of_submission - of_folds)


def _labels(picks: Sequence[Sequence[FitPredictions]], method: Method) -> np.ndarray:
    """Return the labels that some fits at a time give the test rows, (picks, m)."""
    return np.stack([ensemble.test_probabilities(own, method).argmax(axis=1) for own in picks])


def _like_out_of_fold(
    fits: Sequence[FitPredictions],
) -> list[tuple[float, list[list[FitPredictions]]]]:
    """Pick fits that predict test rows as out-of-fold rows are predicted.

    Args:
        fits: The finished fits.

    Returns:
        For each number k of folds that hold a row out: the fraction of the covered rows that it
        holds for, and picks of the fits of k folds: each single fold where k is 1, else at most
        `MOST_PICKS` picks of evenly spaced folds. Of a repeated split these are one of each repeat.
    """
    rows_of = {fit.fold: fit.heldout_rows for fit in fits}
    folds = sorted(rows_of)
    times = np.bincount(np.concatenate([rows_of[fold] for fold in folds]))
    numbers, rows = np.unique(times[times > 0], return_counts=True)
    found = []
    for k, part in zip(numbers, rows / rows.sum(), strict=True):
        spaced = np.arange(k) * len(folds) // k
        starts = range(len(folds) if k == 1 else min(len(folds), MOST_PICKS))
        picks = (
            frozenset(folds[(start + place) % len(folds)] for place in spaced) for start in starts
        )
        of_picks = [[fit for fit in fits if fit.fold in pick] for pick in dict.fromkeys(picks)]
        found.append((part, of_picks))
    return found
