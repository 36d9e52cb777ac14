"""Says whether probabilities mean what they say, and makes them do so by a temperature.

Arrays in, figures out; it takes any predictions with their labels, out of fold or of other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np

from kaggle_digits.scoring.ensemble import SMALLEST_PROBABILITY
from kaggle_digits.scoring.significance import losses

BINS = 15  # of equal width, as in Guo et al. 2017
# Temperatures outside this range are not sought.
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """How confident predictions are, and how often they are right, by bins of confidence.

    Confidence is the probability of the predicted class. Bins without a row are left out.

    Attributes:
        rows: (b,) int64, rows in each bin.
        confidence: (b,) float64, their mean confidence.
        accuracy: (b,) float64, the fraction of them that is right.
    """

    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the mean over rows of |confidence - accuracy| of their bin.

        Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht (2015), Obtaining well calibrated
        probabilities using Bayesian binning, AAAI. 0..1.
        """
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.average(gaps, weights=self.rows))


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Compare confidence with accuracy.

    Args:
        probabilities: (n, 10), n at least 1; rows sum to 1.
        labels: (n,) integers 0..9.
        bins: number of bins of equal width on 0..1; a bin includes its upper end.

    Returns:
        The bins that have rows, in order of confidence.
    """
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(bin_of, minlength=bins)
    filled = rows > 0
    sums = (
        np.bincount(bin_of, weights=each, minlength=bins)[filled] for each in (confidence, right)
    )
    means = (total / rows[filled] for total in sums)
    return Calibration(rows[filled], *means)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature with which probabilities have the least log loss.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural
    networks, ICML. Above 1: the predictions were too confident.

    Args:
        probabilities: (n, 10), n at least 1; rows sum to 1.
        labels: (n,) integers 0..9. Figures on the same rows are slightly optimistic.

    Returns:
        The temperature, from 0.05 to 20.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_temperature: losses(
            with_temperature(probabilities, exp(log_temperature)), labels
        ).mean(),
        bounds=(log(COLDEST), log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return exp(found.x)


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Raise probabilities to the power 1 / temperature and normalise them.

    Args:
        probabilities: (n, 10); rows sum to 1.
        temperature: above 0; 1 changes nothing but zeros, which become the smallest normal float32.

    Returns:
        (n, 10) float64; rows sum to 1, and each row's order is as it was.
    """
    from scipy.special import softmax

    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY))
    return softmax(logits / temperature, axis=1)


def cross_fitted(
    probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> np.ndarray | None:
    """Calibrate each fold with the temperature that fits the rows of the others.

    So no row has a part in its own temperature, and figures on the result are honest.

    Args:
        probabilities: (n, 10); rows sum to 1.
        labels: (n,) integers 0..9.
        folds: (n,) integers, the fold of each row.

    Returns:
        (n, 10) float64; None where all rows are of one fold.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return None
    calibrated = np.empty(probabilities.shape)
    for number in numbers:
        own = folds == number
        temperature = fit_temperature(probabilities[~own], labels[~own])
        calibrated[own] = with_temperature(probabilities[own], temperature)
    return calibrated
