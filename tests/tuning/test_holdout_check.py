"""The best config against another one on rows that no trial saw, and the file it is written to."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from fake_trials import RATE, RIGHT, SETTINGS, WRONG, FakeTraining
from found import search, trial
from rich.console import Console

from kaggle_digits.config import loading
from kaggle_digits.config.schema import TuningProvenance
from kaggle_digits.data import folds
from kaggle_digits.results.search_records import HoldoutComparison, HoldoutScore
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import backend
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.tuning import holdout_check
from kaggle_digits.tuning.holdout_check import HoldoutOutcome
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.trial_fits import SearchProgress, TimeLimitReached, TrialFits

ROWS = 200
LABELS = np.tile(np.arange(10, dtype=np.uint8), ROWS // 10)
SPLIT = [np.arange(first, first + 50) for first in range(0, ROWS, 50)]


def config(**changes):
    return loading.from_values(SETTINGS | changes)


@pytest.fixture(scope="module", autouse=True)
def quiet_backend():
    backend.configure(2)


@pytest.fixture
def training(monkeypatch):
    fake = FakeTraining()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def check(tmp_path, training):
    """Return a function that evaluates a config on the last two of four folds."""
    images = np.zeros((ROWS, 28, 28), np.uint8)
    console = Console(file=io.StringIO(), soft_wrap=True)
    fits = TrialFits(
        Inputs(images, LABELS, images[:0]),
        SPLIT,
        Cache(tmp_path / "cache"),
        TimeBudget(1000.0),
        lambda: 12.0,
        SearchProgress(Reporter(console)),
    )
    folder = SearchFolder(tmp_path / "search")

    def evaluate(name="the best", **changes):
        return holdout_check.evaluate(folder, fits, name, config(**changes), [2, 3])

    return SimpleNamespace(evaluate=evaluate, folder=folder, said=console.file.getvalue)


def first_wrong(count):
    return np.where(np.arange(50) < count, WRONG, RIGHT)


# What a config predicts on the holdout folds


def test_outcome_is_of_the_holdout_folds(check, training):
    training.true = {(0.02, 2): first_wrong(3), (0.02, 3): first_wrong(1)}
    training.seconds = [2.0, 1.5]
    outcome = check.evaluate()
    assert training.begun == [("cnn fold 3", 0), ("cnn fold 4", 0)]
    np.testing.assert_array_equal(np.flatnonzero(outcome.wrong), [0, 1, 2, 50])
    assert (len(outcome.wrong), outcome.seconds_per_fit) == (100, 3.5)
    assert check.said() == "check of the best on the holdout folds: 4 of 100 rows wrong\n"


def test_score_is_counted(check):
    outcome = HoldoutOutcome(np.arange(100) < 4, 3.5)
    score = outcome.score
    assert (score.rows, score.errors, score.accuracy) == (100, 4, 0.96)
    assert score.seconds_per_fit == 3.5
    # Wilson's interval of 96 of 100: (p + z2/2n +- z sqrt(p q / n + z2/4n2)) / (1 + z2/n).
    assert score.interval == pytest.approx((0.901629, 0.984337), abs=1e-6)


def test_repeated_check_trains_nothing(check, training):
    first = check.evaluate()
    again = check.evaluate("the same", tune={"max_trials": 7}, callbacks=["builtins:list"])
    assert len(training.begun) == 2
    np.testing.assert_array_equal(first.wrong, again.wrong)
    assert len(check.folder.all_candidates()) == 1
    check.evaluate("another", train=SETTINGS["train"] | {"learning_rate": 0.01})
    assert len(training.begun) == 4
    assert len(check.folder.all_candidates()) == 2


def test_fits_have_the_configs_callbacks(check, training):
    check.evaluate(callbacks=["keras.callbacks:Callback"])
    made = [[type(each).__name__ for each in of_fit] for of_fit in training.callbacks]
    assert made == [["Callback"], ["Callback"]]


def test_config_that_diverges_has_no_outcome(check, training):
    training.losses = {(3, attempt): float("nan") for attempt in (1, 2)}
    assert check.evaluate("the start") is None
    assert check.said().splitlines()[-1] == (
        "no check of the start on the holdout folds: cnn fold 4 diverged: loss is nan in epoch 1"
    )


def test_time_limit_ends_the_check(check, training):
    training.seconds = [600.0, 600.0]
    with pytest.raises(TimeLimitReached):
        check.evaluate()


# The comparison


def test_comparison_counts_rows_that_only_one_predicts_wrongly():
    reference = HoldoutOutcome(np.arange(100) < 10, 2.0)  # rows 0..9
    best = HoldoutOutcome((np.arange(100) >= 8) & (np.arange(100) < 11), 3.0)  # rows 8..10
    found = holdout_check.compare([2, 3], reference, best)
    # Eight rows against one: McNemar's exact test, 2 (1 + 9) / 2 ** 9.
    assert found == HoldoutComparison((3, 4), reference.score, best.score, 8, 1, 20 / 512)
    assert isinstance(found.best, HoldoutScore)


# The best config's file


DIGITS = SimpleNamespace(
    train_images=np.random.default_rng(3).integers(0, 256, (ROWS, 28, 28), dtype=np.uint8),
    train_labels=LABELS,
    demo=False,
    not_for_upload=None,
)


def written(of=None, digits=DIGITS, **record):
    best = trial(1, settings={RATE: 0.03, "train.optimizer": "adamw"})
    record.setdefault("start", {RATE: 0.02, "train.optimizer": "adamw"})
    found = search(trial(0), best, **record)
    return holdout_check.best_yaml(of or config(), found, best, digits)


def test_best_config_says_how_it_was_found():
    lines = [line for line in written().splitlines() if line.startswith("#")]
    assert lines == [
        "# Found by kaggle-digits tune: trial 1 of 2, bayesian search for the best accuracy.",
        "# On folds 1 to 3 of 4 (seed 5), 100 % of their rows and 100 % of the epochs: 0.99000 (10 "
        "of 1,000 wrong).",
        "# That figure is optimistic: this trial was picked because of it.",
        "# Changed by the search:",
        f"#   {RATE}: 0.02 -> 0.03",
    ]
    demo = SimpleNamespace(**vars(DIGITS) | {"demo": True})
    assert "# DEMO DATA: these settings mean nothing." in written(digits=demo).splitlines()
    mnist = SimpleNamespace(**vars(DIGITS) | {"not_for_upload": "trained on MNIST"})
    assert "# NOT FOR UPLOAD: its nets were trained on MNIST." in written(digits=mnist).splitlines()


def test_best_config_is_the_start_with_the_trials_settings(tmp_path):
    of = config(tune={"holdout_folds": 2, "row_fraction": 0.5}, callbacks=["builtins:list"])
    path = tmp_path / "best.yaml"
    path.write_text(written(of))
    found = loading.load(str(path))
    held_out = np.isin(np.arange(ROWS), np.concatenate(folds.stratified(LABELS, 4, 5)[2:]))
    images = DIGITS.train_images
    tuned = TuningProvenance(
        train_data=files.digest(images, LABELS),
        holdout_digest=files.digest(images[held_out], LABELS[held_out]),
        searched_digest=files.digest(images[~held_out], LABELS[~held_out]),
        seed=5,
        folds=4,
        holdout_folds=2,
        trials=2,
    )
    assert found.tuned == (tuned,)
    assert found.callbacks == ("builtins:list",)
    assert found.tune == loading.from_values({}).tune
    of_trial = {"learning_rate": 0.03, "optimizer": "adamw"}
    expected = config(train=SETTINGS["train"] | of_trial)
    assert found.identity() == expected.model_copy(update={"tuned": (tuned,)}).identity()


def test_search_from_the_best_of_another_search_names_both(tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text(written())
    first = loading.load(str(path))
    path.write_text(written(first))
    both = loading.load(str(path)).tuned
    assert both == (first.tuned[0], first.tuned[0])


@pytest.mark.parametrize("changed", ["train_labels", "train_images"])
def test_one_changed_row_is_other_data(tmp_path, changed):
    # A corrected label may move rows between folds, so what the search saw is another set.
    arrays = {name: getattr(DIGITS, name).copy() for name in ("train_images", "train_labels")}
    arrays[changed][0] = (arrays[changed][0] + 1) % 10
    tuned = []
    for digits in (DIGITS, SimpleNamespace(**arrays, demo=False, not_for_upload=None)):
        path = tmp_path / "best.yaml"
        path.write_text(written(digits=digits))
        tuned.append(loading.load(str(path)).tuned[0])
    assert tuned[0].train_data != tuned[1].train_data
    pairs = [(each.holdout_digest, each.searched_digest) for each in tuned]
    assert pairs[0] != pairs[1]
