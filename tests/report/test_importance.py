import math

import numpy as np
import pytest
from found import START, failed, search, trial, two_kinds

from kaggle_digits.report import importance


def test_importance_finds_the_one_setting_that_matters():
    random = np.random.default_rng(7)
    trials = []
    for number in range(24):
        rate = float(10 ** random.uniform(-4, -2))
        settings = {
            "train.learning_rate": rate,
            "model.width": int(random.integers(8, 64)),
            "train.optimizer": str(random.choice(["adamw", "sgd"])),
        }
        accuracy = 0.99 - 0.01 * abs(math.log10(rate) + 3)
        trials.append(trial(number, settings=settings, objective=accuracy))
    fractions = importance.importance(search(*trials))
    assert next(iter(fractions)) == "train.learning_rate"
    assert fractions["train.learning_rate"] > 0.9
    assert fractions.keys() == START.keys()
    assert min(fractions.values()) >= 0
    assert sum(fractions.values()) == pytest.approx(1)


def test_importance_of_a_choice_counts_trials_stopped_early():
    assert importance.importance(search(*two_kinds(8))) == {
        "train.optimizer": 1.0,
        "train.learning_rate": 0.0,
        "model.width": 0.0,
    }
    early = two_kinds(8, status="stopped early")
    assert importance.importance(search(*early))["train.optimizer"] == 1


def test_importance_takes_a_candidate_by_its_most_folds():
    first = two_kinds(8, folds=1, objective=0.9)  # all the same
    assert importance.importance(search(*first)) is None
    for order in (first + two_kinds(8), two_kinds(8) + first):
        assert importance.importance(search(*order))["train.optimizer"] == 1


@pytest.mark.parametrize(
    "trials",
    [
        [],
        two_kinds(7),
        [*two_kinds(7), failed(7)],
        [*two_kinds(7), trial(7, candidate="candidate6")],  # promoted: one candidate
        [*two_kinds(7), trial(7, objective=None)],
        [trial(number, settings=START, objective=number / 10) for number in range(9)],
        [trial(number, objective=0.9) for number in range(9)],
    ],
    ids=["none", "few", "failed", "promoted", "no figure", "same settings", "same objective"],
)
def test_importance_is_unknown(trials):
    assert importance.importance(search(*trials)) is None


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([1, 2, 10], [1, 2, 10]),
        ([1e-4, 1e-3, 1e-2], np.log([1e-4, 1e-3, 1e-2])),
        ([0, 1, 100], [0, 1, 100]),  # zero has no logarithm
        (["sgd", "adamw", "sgd"], [1, 0, 1]),
        ([True, False, False], [1, 0, 0]),
        ([[3, 3], [5], [3, 3]], [0, 1, 0]),
        ([4, None, 6], [4, 8, 6]),  # not in force: the start's
    ],
)
def test_settings_as_numbers(values, codes):
    trials = [
        trial(number, settings={} if value is None else {"model.width": value})
        for number, value in enumerate(values)
    ]
    found = importance._encoded(search(*trials), trials, "model.width")
    np.testing.assert_allclose(found, codes)
