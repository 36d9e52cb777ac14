"""Calibration against hand-computed bins and temperatures."""

import numpy as np
import pytest

from kaggle_digits.scoring.calibration import (
    calibration,
    cross_fitted,
    fit_temperature,
    with_temperature,
)
from kaggle_digits.scoring.significance import losses


def certain_of(confidences, predicted):
    """Give each predicted class its confidence, and share the rest among the others."""
    rows = np.repeat((1 - np.array(confidences))[:, None] / 9, 10, axis=1)
    rows[np.arange(len(rows)), predicted] = confidences
    return rows


def test_bins_by_hand():
    # Bins of 0.2: (0.4, 0.6] holds 0.5 and 0.6, (0.8, 1] holds 0.9, 1.0 and 0.95.
    found = calibration(
        certain_of([0.5, 0.6, 0.9, 1.0, 0.95], [0, 1, 2, 3, 4]), np.array([0, 7, 2, 3, 9]), bins=5
    )
    assert found.rows.tolist() == [2, 3]
    assert found.confidence == pytest.approx([0.55, 0.95])
    assert found.accuracy == pytest.approx([1 / 2, 2 / 3])
    assert found.expected_error == pytest.approx((2 * 0.05 + 3 * (0.95 - 2 / 3)) / 5)


def test_predictions_that_mean_what_they_say():
    probabilities = certain_of([0.75] * 4, [1] * 4)
    assert calibration(probabilities, np.array([1, 1, 1, 2])).expected_error == pytest.approx(0)


def test_certainty_is_in_the_last_bin():
    found = calibration(np.eye(10), np.arange(10))
    assert (found.rows.tolist(), found.confidence.tolist()) == ([10], [1.0])


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        # Odds of 0.9 to 0.1 / 9 are 81. With 9 of 10 right they are right as they are; with 1 of 2
        # right the best odds are 9: 81 ** (1 / T) = 9, so T = 2.
        ([True] * 9 + [False], 1.0),
        ([True, False], 2.0),
    ],
)
def test_temperature_by_hand(right, expected):
    probabilities = certain_of([0.9] * len(right), [3] * len(right))
    # The wrong rows are spread evenly over the other classes by the symmetry of the probabilities.
    labels = np.where(right, 3, 4)
    assert fit_temperature(probabilities, labels) == pytest.approx(expected, rel=1e-3)


def test_no_temperature_fits_better():
    generator = np.random.default_rng(3)
    probabilities = generator.dirichlet(np.full(10, 0.3), 500)
    labels = np.array([generator.choice(10, p=row) for row in with_temperature(probabilities, 1.7)])
    best = fit_temperature(probabilities, labels)
    assert best == pytest.approx(1.7, rel=0.15)
    at = {
        change: losses(with_temperature(probabilities, best * change), labels).mean()
        for change in (0.99, 1, 1.01)
    }
    assert at[1] <= min(at[0.99], at[1.01])


def test_a_temperature_keeps_the_order_and_takes_zeros():
    probabilities = np.array([[0.5, 0.3, 0.2, *[0] * 7]])
    changed = with_temperature(probabilities, 2.0)
    assert changed.sum() == pytest.approx(1)
    assert changed[0, :3].argsort().tolist() == [2, 1, 0]
    assert changed[0, 0] / changed[0, 1] == pytest.approx((5 / 3) ** 0.5)
    assert with_temperature(probabilities, 1.0)[0, :3] == pytest.approx([0.5, 0.3, 0.2])


def test_each_fold_has_its_temperature_from_the_others():
    # Fold 0 is right half of the time, fold 1 always, each as sure as the other.
    probabilities = certain_of([0.8] * 8, [1] * 8)
    labels = np.array([1, 1, 2, 2, 1, 1, 1, 1])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    calibrated = cross_fitted(probabilities, labels, folds)
    for own in (folds == 0, folds == 1):
        temperature = fit_temperature(probabilities[~own], labels[~own])
        expected = with_temperature(probabilities[own], temperature)
        np.testing.assert_array_equal(calibrated[own], expected)
    # Whoever learned from right rows is surer, whoever learned from wrong ones less.
    assert calibrated[0, 1] > 0.8 > calibrated[-1, 1]


def test_one_fold_has_nothing_to_learn_from():
    probabilities = certain_of([0.8] * 2, [1] * 2)
    assert cross_fitted(probabilities, np.array([1, 2]), np.zeros(2, int)) is None
