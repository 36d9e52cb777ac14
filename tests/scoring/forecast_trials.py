"""Trials of the forecast: how often its band covers the accuracy that is then reached.

`simulated` draws a whole run; `held_out` trains a small stand-in for the nets on real digits and
keeps the rows to forecast away from everything. `summary` counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import expit, softmax
from scipy.stats import binom, norm
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from toy_fits import fit

from kaggle_digits.data.folds import stratified
from kaggle_digits.scoring import ensemble, forecast
from kaggle_digits.scoring.ensemble import FitPredictions, Score

ROWS, TEST_ROWS = 42_000, 28_000  # of the competition
FOLDS = 5


@dataclass(frozen=True)
class Trial:
    """A forecast beside what was reached.

    Attributes:
        score: The out-of-fold score.
        gain: What averaging the folds' nets was expected to add.
        band: The forecast, (low, high).
        reached: The accuracy of all nets together on the test rows.
    """

    score: Score
    gain: float
    band: tuple[float, float]
    reached: float

    @property
    def covered(self) -> bool:
        return self.band[0] <= self.reached <= self.band[1]


def trial(fits: Sequence[FitPredictions], labels: np.ndarray, test_labels: np.ndarray) -> Trial:
    """Forecast as a run does, then look at the test rows' labels."""
    oof, _ = ensemble.out_of_fold(fits, len(labels), "arithmetic")
    score = ensemble.accuracy(oof, labels)
    gain = forecast.averaging_gain(fits, score, "arithmetic")
    submitted = ensemble.test_probabilities(fits, "arithmetic")
    reached = ensemble.accuracy(submitted, test_labels).accuracy
    return Trial(score, gain, forecast.band(score, gain, len(test_labels)), reached)


def simulated_fits(
    rng: np.random.Generator,
    accuracy: float,
    correlation: float,
    members: int = 1,
    folds: int = FOLDS,
    rows: int = ROWS,
    test_rows: int = TEST_ROWS,
) -> list[FitPredictions]:
    """Draw digits, some harder than others, and nets that read them; every label is 0.

    A net sees a row's margin over its strongest rival, class 1: the same mean for all rows, plus
    the row's difficulty, which all nets share, plus noise of the net's own, both normal; it is
    wrong below 0. So the errors of any two nets, of two folds or of two members, have the
    tetrachoric correlation `correlation`. A net's log-odds are as they should be given its margin.

    Args:
        accuracy: Of the members' mean on a row that one fold holds out.
        correlation: 0..1, the fraction of the margins' variance that nets share.
        members: Nets a fold.

    Returns:
        The fits of a finished run.
    """
    margin = norm.ppf(accuracy) * sqrt(correlation + (1 - correlation) / members)
    of_rows = margin + sqrt(correlation) * rng.standard_normal(rows + test_rows)

    def read(chosen: slice) -> np.ndarray:
        margins = of_rows[chosen]
        margins = margins + sqrt(1 - correlation) * rng.standard_normal(len(margins))
        probabilities = np.zeros((len(margins), ensemble.CLASSES), np.float32)
        probabilities[:, 0] = expit(2 * margin * margins)
        probabilities[:, 1] = 1 - probabilities[:, 0]
        return probabilities

    return [
        fit(
            f"net {member}",
            fold,
            np.arange(fold, rows, folds),
            read(slice(fold, rows, folds)),
            read(slice(rows, None)),
        )
        for member in range(members)
        for fold in range(folds)
    ]


def simulated(rng: np.random.Generator, accuracy: float, correlation: float, members: int) -> Trial:
    """Forecast the score of a simulated run of the competition's size."""
    fits = simulated_fits(rng, accuracy, correlation, members)
    return trial(fits, np.zeros(ROWS, int), np.zeros(TEST_ROWS, int))


def held_out(
    rng: np.random.Generator,
    images: np.ndarray,
    labels: np.ndarray,
    landmarks: int,
    rows: int = 6_000,
    test_rows: int = 4_000,
) -> Trial:
    """Forecast the score on digits that were held out of everything.

    The stand-in for a net is a ridge classifier on the similarity to randomly chosen training rows
    (the Nystroem approximation of an RBF kernel): a second or so for the five of a run.

    Args:
        images: (n, 196) float32, 14 x 14 pixels in 0..1, n at least `rows + test_rows`.
        labels: (n,) int.
        landmarks: Rows that each stand-in compares with: fewer make it worse, and the stand-ins
            less alike.
    """
    chosen = rng.permutation(len(labels))[: rows + test_rows]
    images, labels = images[chosen], labels[chosen]
    fits = []
    for fold, out in enumerate(stratified(labels[:rows], FOLDS, int(rng.integers(2**31)))):
        own = np.setdiff1d(np.arange(rows), out)
        seed = int(rng.integers(2**31))
        net = make_pipeline(
            Nystroem(gamma=0.06, n_components=landmarks, random_state=seed),
            RidgeClassifier(alpha=0.1),
        ).fit(images[own], labels[own])
        # About as confident as a net; the forecast calibrates it.
        probabilities = softmax(8 * net.decision_function(images), axis=1)
        fits.append(fit("net", fold, out, probabilities[out], probabilities[rows:]))
    return trial(fits, labels[:rows], labels[rows:])


def coverage_without_gain(accuracy: float, rows: int, test_rows: int) -> float:
    """Compute how often the band covers where averaging adds nothing, by summing binomials.

    Args:
        accuracy: True accuracy of both sets of rows.
    """
    covered = 0.0
    for errors in np.arange(*binom.interval(1 - 1e-9, rows, 1 - accuracy)).astype(int):
        interval = ensemble.accuracy_interval(errors, rows)
        score = Score(errors, rows, 1 - errors / rows, interval)
        low, high = forecast.band(score, 0.0, test_rows)
        most = np.floor((1 - low) * test_rows)
        fewest = np.ceil((1 - high) * test_rows)
        inside = np.diff(binom.cdf([fewest - 1, most], test_rows, 1 - accuracy))[0]
        covered += binom.pmf(errors, rows, 1 - accuracy) * inside
    return covered


def summary(trials: Sequence[Trial], test_rows: int) -> dict[str, float]:
    """Count the covered trials.

    Args:
        trials: At least one.
        test_rows: Behind `reached` in each.

    Returns:
        The fraction covered with its 95 % Wilson interval; the median width of the band, as an
        accuracy and in images; the fraction of that width, around its middle, in which 95 % of the
        trials came to lie; the mean gain, expected and real.
    """
    low, high = np.array([each.band for each in trials]).T
    reached = np.array([each.reached for each in trials])
    accuracies = np.array([each.score.accuracy for each in trials])
    missed = sum(not each.covered for each in trials)
    interval = ensemble.accuracy_interval(missed, len(trials))
    width = np.median(high - low)
    return {
        "trials": len(trials),
        "covered": 1 - missed / len(trials),
        "from": interval[0],
        "to": interval[1],
        "width": width,
        "images": width * test_rows,
        "needed": np.quantile(np.abs(2 * reached - low - high) / (high - low), 0.95),
        "accuracy": accuracies.mean(),
        "gain": np.mean([each.gain for each in trials]),
        "real gain": np.mean(reached - accuracies),
    }
