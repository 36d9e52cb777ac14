"""How often the forecast's band covers; `kaggle_digits/README.md` has the tables.

pytest -m slow -s tests/scoring/test_forecast_trials.py
"""

import os
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from forecast_trials import (
    ROWS,
    TEST_ROWS,
    Trial,
    coverage_without_gain,
    held_out,
    simulated,
    simulated_fits,
    summary,
)

from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.scoring.ensemble import Score

ACCURACIES = (0.9850, 0.9944, 0.9970, 0.9980)
TRIALS = 200
SEED = 12

# Runs on the competition's files: the accuracy of one fold's nets out of fold, the correlation of
# their errors, and the fraction of test rows that two folds label differently.
REAL_RUNS = {
    "quick (3 folds)": (0.99440, 0.95, 0.00404),
    "quick, 1 epoch": (0.98745, 0.90, 0.01146),
    "peers/five-fold-cnn, which does not augment": (0.98767, 0.76, 0.01617),
}


@pytest.mark.parametrize(("accuracy", "correlation", "differ"), REAL_RUNS.values(), ids=REAL_RUNS)
def test_simulated_nets_disagree_as_real_ones_do(accuracy, correlation, differ):
    fits = simulated_fits(np.random.default_rng(3), accuracy, correlation, test_rows=100_000)
    labels = [one.test.argmax(axis=1) for one in fits]
    found = np.mean([np.mean(one != other) for one, other in combinations(labels, 2)])
    assert found == pytest.approx(differ, rel=0.05)


def test_two_simulated_members_err_together_as_real_ones_do():
    # `standard`'s first two nets in 2 epochs: 332 and 364 of 42,000 rows wrong, 225 by both.
    shared, single = 225 / 42_000, (332 + 364) / 2 / 42_000
    fits = simulated_fits(np.random.default_rng(3), 1 - single, 0.95, rows=5, test_rows=200_000)
    wrong, other = (one.test.argmax(axis=1) != 0 for one in fits[:2])
    assert np.mean(wrong & other) == pytest.approx(shared, rel=0.07)


def test_ten_simulated_nets_gain_what_ten_real_ones_do():
    # `standard`'s ten nets on 28,000 rows held out of everything: one wrong on 107 to 128, their
    # mean on 96, all ten on 37.
    one, all_of_ten, mean = 117, 37, 96
    fits = simulated_fits(
        np.random.default_rng(3), 1 - one / 28_000, 0.95, folds=10, rows=10, test_rows=140_000
    )
    right = np.stack([each.test[:, 0] for each in fits])
    wrong = right < 0.5
    assert np.mean(right.mean(axis=0) < 0.5) / wrong.mean() == pytest.approx(mean / one, abs=0.04)
    assert wrong.all(axis=0).mean() / wrong.mean() == pytest.approx(all_of_ten / one, abs=0.04)


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_a_band_without_a_gain_covers_95_percent(accuracy):
    covered = coverage_without_gain(accuracy, ROWS, TEST_ROWS)
    assert covered == pytest.approx(0.95, abs=0.0005)


def test_summary_counts():
    trials = [
        Trial(Score(5, 100, 0.95, (0, 1)), 0.02, (0.90, 0.98), reached)
        for reached in (0.94, 0.96, 0.98, 0.99)
    ]
    found = summary(trials, 50)
    assert (found["trials"], found["covered"]) == (4, 0.75)
    assert found["from"] < 0.75 < found["to"]
    assert (found["width"], found["images"]) == pytest.approx((0.08, 4))
    # From the middle, 0.94, they are 0, 1/2, 1 and 5/4 half-widths away.
    assert found["needed"] == pytest.approx(np.quantile([0, 0.5, 1, 1.25], 0.95))
    assert (found["gain"], found["real gain"]) == pytest.approx((0.02, 0.9675 - 0.95))


def check(rows):
    """Print a table, and refuse a coverage that chance does not explain."""
    table = pd.DataFrame(rows)
    print("", table.to_string(index=False, float_format="{:.5f}".format), sep="\n")
    assert table["covered"].mean() >= 0.95
    assert (table["to"] >= 0.95).all()


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_the_band_covers_the_scores_of_simulated_runs(accuracy):
    rows = []
    for correlation, members in ((0.76, 1), (0.90, 1), (0.95, 1), (0.95, 3)):
        rng = np.random.default_rng([SEED, members, round(100 * correlation)])
        trials = [simulated(rng, accuracy, correlation, members) for _ in range(TRIALS)]
        of_nets = {"members": members, "correlation": correlation}
        rows.append(of_nets | summary(trials, TEST_ROWS))
    check(rows)


@pytest.mark.slow
@pytest.mark.skipif("KAGGLE_DIGITS_DATA" not in os.environ, reason="needs the competition's files")
def test_the_band_covers_the_scores_on_digits_held_out_of_everything():
    digits = read_digits(find_source(os.environ["KAGGLE_DIGITS_DATA"]))
    images = digits.train_images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32)
    images = images.reshape(-1, 14 * 14) / 255
    rows = []
    for landmarks in (100, 250):
        rng = np.random.default_rng([SEED, landmarks])
        trials = [held_out(rng, images, digits.train_labels, landmarks) for _ in range(TRIALS)]
        rows.append({"landmarks": landmarks} | summary(trials, 4_000))
    check(rows)
