"""Candidates of a search, evaluated fold by fold."""

import io
import math
import threading
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_trials import (
    FLOPS,
    LESS_SURE,
    PARAMETERS,
    RATE,
    RIGHT,
    SETTINGS,
    WRONG,
    FakeTraining,
)
from rich.console import Console

from kaggle_digits.config import loading
from kaggle_digits.data import folds, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import backend, fit, resume
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.trial import TrialEvaluator, shortened
from kaggle_digits.tuning.trial_fits import SearchProgress, TimeLimitReached, TrialFits


def config(**changes):
    return loading.from_values(SETTINGS | changes)


@pytest.fixture(scope="module", autouse=True)
def quiet_backend():
    backend.configure(2)


class Progress(SearchProgress):
    """Calls a test at each step."""

    at_step = staticmethod(lambda name, epochs_done: None)

    def progress(self, progress):
        super().progress(progress)
        self.at_step(progress.spec.name, progress.epochs_done)


class Work:
    """An evaluator with all that it needs, as a search makes it."""

    def __init__(
        self, path, inputs, split, of=None, seconds_per_fit=None, max_parameters=None, cache=None
    ):
        self.folder = SearchFolder(path / "search")
        self.inputs, self.split = inputs, split
        self.budget = TimeBudget(1e9)
        self.reported = []  # the results of all trials, each time that one came
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.progress = Progress(Reporter(self.console))
        fits = TrialFits(
            inputs,
            split,
            Cache(cache or path / "cache"),
            self.budget,
            lambda: 0.0,
            self.progress,
            seconds_per_fit,
        )
        self.evaluator = TrialEvaluator(self.folder, of or config(), fits, max_parameters)

    def evaluate(self, trial, settings, folds):
        """Evaluate a candidate to its end; return its last result."""
        with closing(self.evaluator.evaluate(trial, settings, folds)) as results:
            for result in results:
                self.reported.append(self.folder.read_results())
                assert self.reported[-1][trial] == result
        return result

    def be_late(self):
        self.budget.limit = 0.0

    def said(self):
        return self.console.file.getvalue()

    def fits_of(self, result):
        return self.folder.candidate(result.candidate)

    def epochs_kept(self, result):
        return resume.read_checkpoint_facts(self.fits_of(result), "cnn", 0)["epochs"]

    def recomputed(self, result):
        """(errors, mean loss) of a trial from its fits' files."""
        wrong, losses = [], []
        for fold in range(result.folds):
            predicted = self.fits_of(result).read_fit_arrays("cnn", fold)["heldout"]
            labels = self.inputs.train_labels[self.split[fold]]
            wrong.extend(predicted.argmax(axis=1) != labels)
            losses.extend(
                -math.log(row[label]) for row, label in zip(predicted, labels, strict=True)
            )
        return sum(wrong), sum(losses) / len(losses)


# Nets that are really trained


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Make work on rows of the demo data, all of it with one cache."""
    digits = read_digits(sources.Source("demo data", demo=True))
    images, labels = digits.train_images[:400], digits.train_labels[:400]
    inputs = Inputs(images, labels, images[:0])
    split = folds.stratified(labels, 4, 5)
    cache = tmp_path_factory.mktemp("cache")
    return lambda path, **more: Work(path, inputs, split, cache=cache, **more)


@pytest.fixture(scope="module")
def promoted(real, tmp_path_factory):
    """A trial of one fold, and one of the same candidate with two."""
    work = real(tmp_path_factory.mktemp("promoted"))
    first = work.evaluate("0", {RATE: 0.02}, 1)
    written = [path.stat().st_mtime_ns for path in work.folder.folder.rglob("fit.json")]
    second = work.evaluate("1", {RATE: 0.02}, 2)
    return SimpleNamespace(work=work, first=first, second=second, written=written)


def test_figures_are_those_of_the_fits(promoted):
    for result, count in ((promoted.first, 1), (promoted.second, 2)):
        errors, loss = promoted.work.recomputed(result)
        rows = sum(len(heldout) for heldout in promoted.work.split[:count])
        assert (result.status, result.reason, result.folds) == ("completed", None, count)
        assert (result.rows, result.errors) == (rows, errors)
        assert result.accuracy == result.objective == pytest.approx(1 - errors / rows)
        assert result.log_loss == pytest.approx(loss)
    assert promoted.first.candidate == promoted.second.candidate


def test_costs_are_those_of_the_fits(promoted):
    result, folder = promoted.second, promoted.work.fits_of(promoted.second)
    facts = [folder.read_fit("cnn", fold) for fold in (0, 1)]
    training = [each["seconds"]["train"] for each in facts]
    assert (result.parameters, result.flops) == (PARAMETERS, FLOPS)
    assert result.seconds_per_fit == pytest.approx(sum(training) / 2)
    predicting = sum(each["seconds"]["predict"] for each in facts)
    assert result.seconds == pytest.approx(sum(training) + predicting)
    # Of 300 rows 9 steps of 32 images in each of 2 epochs.
    assert [each["train_images"] for each in facts] == [576, 576]
    assert result.images_per_second == pytest.approx(2 * 576 / sum(training))
    assert result.peak_memory_bytes == max(each["peak_memory_bytes"] for each in facts)
    assert result.peak_memory_bytes > 50e6  # a backend takes more


def test_promoted_candidate_trains_only_the_new_fold(promoted):
    folder = promoted.work.fits_of(promoted.second)
    assert folder.finished_fits() == [("cnn", 0), ("cnn", 1)]
    assert promoted.written == [(folder.fits / "cnn-fold1" / "fit.json").stat().st_mtime_ns]
    assert promoted.work.folder.read_results() == {"0": promoted.first, "1": promoted.second}


def test_results_are_written_after_each_fold(promoted):
    stood = [
        [(trial, each.status, each.folds, each.folds_planned) for trial, each in results.items()][
            -1
        ]
        for results in promoted.work.reported
    ]
    assert stood == [
        ("0", "running", 0, 1),
        ("0", "completed", 1, 1),
        ("1", "running", 0, 2),
        ("1", "running", 1, 2),
        ("1", "completed", 2, 2),
    ]


def test_rows_tell_what_became_of_each(promoted):
    work, result = promoted.work, promoted.second
    found = work.folder.read_rows(result.candidate, pytest.fail)
    held = np.sort(np.concatenate(work.split[:2]))
    np.testing.assert_array_equal(found["rows"], held)
    np.testing.assert_array_equal(found["fold"], np.isin(held, work.split[1]))
    for fold in (0, 1):
        predicted = work.fits_of(result).read_fit_arrays("cnn", fold)["heldout"]
        wrong = predicted.argmax(axis=1) != work.inputs.train_labels[work.split[fold]]
        np.testing.assert_array_equal(found["wrong"][found["fold"] == fold], wrong)
    assert found["loss"].mean() == pytest.approx(result.log_loss)


def test_time_limit_within_a_fit_changes_nothing_but_the_time(real, promoted, tmp_path):
    work = real(tmp_path)

    def at_step(name, epochs_done):
        if (name, epochs_done) == ("cnn fold 1", 1 + 4 / 9):
            work.be_late()

    work.progress.at_step = at_step
    with pytest.raises(TimeLimitReached):
        work.evaluate("0", {RATE: 0.02}, 1)
    [unfinished] = work.reported[-1].values()
    assert (unfinished.status, unfinished.folds) == ("running", 0)
    folder = work.fits_of(unfinished)
    assert work.epochs_kept(unfinished) == 1
    assert work.progress.detail == "cnn fold 1, epoch 1.4/2"
    assert folder.finished_fits() == []

    again = real(tmp_path)
    result = again.evaluate("0", {RATE: 0.02}, 1)
    assert "cnn fold 1 resumes after epoch 1" in again.said()
    times = ("seconds_per_fit", "seconds", "images_per_second", "peak_memory_bytes")
    assert replace(result, **{name: getattr(promoted.first, name) for name in times}) == (
        promoted.first
    )
    undisturbed = promoted.work.fits_of(promoted.first)
    cut_off, whole = (each.read_fit_arrays("cnn", 0)["heldout"] for each in (folder, undisturbed))
    np.testing.assert_array_equal(cut_off, whole)


def test_net_that_diverges_is_a_failed_trial(real, tmp_path):
    work = real(tmp_path, of=config(train=SETTINGS["train"] | {"optimizer": "sgd"}))
    result = work.evaluate("0", {RATE: 1e38}, 2)
    assert work.folder.read_results() == {"0": result}
    assert result.status == "failed"
    assert result.reason.startswith("cnn fold 1 diverged: loss is ")
    assert (result.folds, result.objective, result.parameters) == (0, None, PARAMETERS)
    assert len(work.fits_of(result).read_failures("cnn", 0)) == fit.ATTEMPTS


# Nets whose predictions the test knows


ROWS = 200
LABELS = np.tile(np.arange(10, dtype=np.uint8), ROWS // 10)
SPLIT = [np.arange(first, first + 50) for first in range(0, ROWS, 50)]


def true_of(count, kind):
    """A fold's probabilities: `count` rows are as given, all others right."""
    return np.where(np.arange(50) < count, kind, RIGHT)


@pytest.fixture
def training(monkeypatch):
    fake = FakeTraining()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def make_work(tmp_path, training):
    images = np.zeros((ROWS, 28, 28), np.uint8)
    inputs = Inputs(images, LABELS, images[:0])
    return lambda **more: Work(tmp_path, inputs, SPLIT, **more)


def test_figures_are_of_the_members_together(make_work, training):
    half = {"train": {"learning_rate": 0.01}}
    work = make_work(of=config(members={"a": {}, "b": half}))
    # Row 0 and 1: the sure one of two outvotes the other. Row 2: both are wrong.
    training.true = {
        (0.02, 0): [0.1, 0.9, 0.1, *[0.9] * 47],
        (0.01, 0): [0.6, 0.3, 0.2, *[0.9] * 47],
    }
    result = work.evaluate("0", {RATE: 0.02}, 1)
    assert training.begun == [("a fold 1", 0), ("b fold 1", 0)]
    assert (result.rows, result.errors) == (50, 2)
    mean = [0.35, 0.6, 0.15, *[0.9] * 47]
    assert result.log_loss == pytest.approx(-np.log(mean).mean())
    assert (result.parameters, result.flops) == (2 * PARAMETERS, 2 * FLOPS)
    assert (result.seconds_per_fit, result.seconds) == (2.0, 4.5)
    assert result.images_per_second == 600 / 4.0


# The race


def raced(make_work, of, baseline, candidate, training, rival_folds=4):
    """Evaluate a baseline, then a candidate, whose probabilities differ as given by fold."""
    work = make_work(of=of)
    training.true = {(0.02, fold): true for fold, true in baseline.items()}
    training.true |= {(0.01, fold): true for fold, true in candidate.items()}
    best = work.evaluate("0", {RATE: 0.02}, rival_folds)
    assert best.status == "completed"
    result = work.evaluate("1", {RATE: 0.01}, 4)
    assert work.folder.read_results() == {"0": best, "1": result}
    return best, result


@pytest.mark.parametrize(
    ("more_mistakes", "level", "folds_done"),
    [
        # Rows that only the candidate gets wrong: luck has a chance of 1/2 each. The one that both
        # get wrong does not count.
        (4, 0.05, 4),  # 1/16
        (5, 0.05, 1),  # 1/32
        (5, 0.03, 4),
        (6, 0.03, 1),  # 1/64
        (50, 0.0, 4),
    ],
)
def test_race_on_accuracy(make_work, training, more_mistakes, level, folds_done):
    baseline = {0: true_of(1, WRONG), 2: true_of(3, WRONG)}
    candidate = {0: true_of(min(50, 1 + more_mistakes), WRONG)}
    of = config(tune={"racing_alpha": level})
    best, result = raced(make_work, of, baseline, candidate, training)
    assert (best.errors, best.rows) == (4, 200)
    assert result.folds == folds_done
    assert ("cnn fold 2", 0) in training.begun[4:] or folds_done == 1
    if folds_done == 4:
        assert (result.status, result.reason) == ("completed", None)
        assert result.objective == result.accuracy
        return
    assert result.status == "stopped early"
    assert result.reason == (
        f"after 1 of 4 folds significantly worse than trial 0 (p = {0.5**more_mistakes:.2g})"
    )
    # What it has, and what its oracle is given: the best's accuracy, less the difference on fold 1.
    assert (result.rows, result.errors) == (50, 1 + more_mistakes)
    assert result.accuracy == pytest.approx(1 - (1 + more_mistakes) / 50)
    assert result.objective == pytest.approx(0.98 - more_mistakes / 50)


@pytest.mark.parametrize(
    ("less_sure", "level", "folds_done"),
    [
        # A fraction q of 50 rows has the same difference: z = q / sqrt(q (1 - q) / 49).
        (2, 0.05, 4),  # 1.43
        (3, 0.05, 1),  # 1.77
        (3, 0.03, 4),
        (4, 0.03, 1),  # 2.06
    ],
)
def test_race_on_log_loss(make_work, training, less_sure, level, folds_done):
    of = config(tune={"racing_alpha": level, "objective": "log_loss"})
    best, result = raced(make_work, of, {}, {0: true_of(less_sure, LESS_SURE)}, training)
    assert best.objective == best.log_loss == pytest.approx(-math.log(RIGHT))
    assert result.errors == 0
    assert (result.folds, result.status) == (
        folds_done,
        "completed" if folds_done == 4 else "stopped early",
    )
    behind = less_sure / 50 * math.log(RIGHT / LESS_SURE)
    if folds_done == 1:
        assert result.log_loss == pytest.approx(best.log_loss + behind)
        assert result.objective == pytest.approx(best.log_loss + behind)
    else:
        assert result.objective == result.log_loss == pytest.approx(best.log_loss + behind / 4)


def test_race_counts_all_folds_so_far(make_work, training):
    # 3 more mistakes a fold: 1/8, then 1/64.
    candidate = dict.fromkeys(range(4), true_of(3, WRONG))
    _, result = raced(make_work, config(), {}, candidate, training)
    assert (result.status, result.folds) == ("stopped early", 2)
    assert "after 2 of 4 folds significantly worse than trial 0 (p = 0.016)" in result.reason
    assert result.objective == pytest.approx(1 - 6 / 100)


def test_mistakes_of_either_count_against_each_other(make_work, training):
    # Only the candidate: 6 rows; only the baseline: 3. P(6 or more of 9) = 130/512.
    baseline, candidate = {0: true_of(3, WRONG)}, {0: true_of(6, WRONG)[::-1]}
    _, result = raced(make_work, config(), baseline, candidate, training)
    assert (result.status, result.folds) == ("completed", 4)


def test_nobody_is_raced_after_the_last_fold_of_the_best(make_work, training):
    candidate = {1: true_of(50, WRONG)}
    _, result = raced(make_work, config(), {}, candidate, training, rival_folds=2)
    assert (result.status, result.folds, result.errors) == ("completed", 4, 50)


def test_candidate_is_not_raced_against_itself(make_work, training):
    work = make_work()
    best = work.evaluate("0", {RATE: 0.02}, 4)
    # As if it had had better luck when it was evaluated before.
    work.folder.write_result(replace(best, candidate=best.candidate, accuracy=1.0))
    for fold in range(2):
        work.fits_of(best).remove_fit("cnn", fold)
    training.true = {(0.02, 0): true_of(50, WRONG)}
    again = work.evaluate("1", {RATE: 0.02}, 2)
    assert (again.status, again.folds, again.errors) == ("completed", 2, 50)


def test_trials_that_are_not_whole_race_nobody(make_work, training):
    work = make_work()
    best = work.evaluate("0", {RATE: 0.02}, 4)
    training.true = {(0.01, 0): true_of(50, WRONG)}
    for number, status in enumerate(("running", "failed", "out of bounds", "stopped early"), 1):
        work.folder.write_result(replace(best, status=status))
        trial = work.evaluate(str(number), {RATE: 0.01}, 2)
        assert (trial.status, trial.folds) == ("completed", 2), status
        (work.fits_of(trial).folder / f"trial-{number}.json").unlink()


def test_damaged_rows_are_reported_and_race_nobody(make_work, training):
    work = make_work()
    best = work.evaluate("0", {RATE: 0.02}, 4)
    path = work.folder.candidate(best.candidate).folder / "rows.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    training.true = {(0.01, 0): true_of(50, WRONG)}
    result = work.evaluate("1", {RATE: 0.01}, 4)
    assert result.status == "completed"
    assert f"damaged: {path}: its checksum differs; no trial is raced against it" in work.said()


def test_rows_that_another_worker_is_just_writing_race_nobody(make_work, training):
    # A promoted trial of the best candidate writes its rows again, fold by fold.
    work = make_work()
    best = work.evaluate("0", {RATE: 0.02}, 4)
    rows = work.folder.read_rows(best.candidate, pytest.fail)
    first_fold = {name: array[:50] for name, array in rows.items()}
    work.folder.write_rows(best.candidate, first_fold)
    training.true = {(0.01, 1): true_of(50, WRONG)}
    result = work.evaluate("1", {RATE: 0.01}, 2)
    assert (result.status, result.folds) == ("completed", 2)


# What a candidate may cost


def test_too_many_parameters(make_work, training):
    work = make_work(max_parameters=PARAMETERS - 1)
    result = work.evaluate("0", {RATE: 0.02}, 4)
    assert work.folder.read_results() == {"0": result}
    assert (result.status, result.folds, result.objective) == ("out of bounds", 0, None)
    assert result.reason == ("its nets have 2,022 parameters, more than --max-parameters 2,021")
    assert training.begun == []
    allowed = make_work(max_parameters=PARAMETERS)
    assert allowed.evaluate("0", {RATE: 0.02}, 1).status == "completed"


FOUR_EPOCHS = config(train=SETTINGS["train"] | {"epochs": 4})


@pytest.mark.parametrize(
    ("seconds", "limit", "forecast"),
    [
        ([10.0, 10.0, 10.0, 10.0], 39.0, (2, 40)),
        ([10.0, 10.0, 10.0, 10.0], 41.0, None),
        ([25.0, 5.0, 5.0, 5.0], 41.0, None),  # the first one started the backend up
        ([5.0, 5.0, 15.0, 5.0], 39.0, (3, 40)),
        ([5.0, 5.0, 5.0, 30.0], 39.0, (4, 45)),
    ],
)
def test_too_slow(make_work, training, seconds, limit, forecast):
    training.seconds = seconds
    work = make_work(of=FOUR_EPOCHS, seconds_per_fit=limit)
    if forecast is None:
        assert work.evaluate("0", {RATE: 0.02}, 1).status == "completed"
        return
    result = work.evaluate("0", {RATE: 0.02}, 4)
    epochs, whole = forecast
    assert work.folder.read_results() == {"0": result}
    assert (result.status, result.folds) == ("out of bounds", 0)
    assert result.reason == (
        f"a fit would train {whole} s, more than --max-seconds-per-fit {limit:g}"
    )
    assert work.fits_of(result).finished_fits() == []
    assert work.epochs_kept(result) == epochs


def test_too_slow_in_its_only_epoch(make_work, training):
    training.seconds = [10.0]
    short = config(train=SETTINGS["train"] | {"epochs": 1})
    work = make_work(of=short, seconds_per_fit=9.0)
    result = work.evaluate("0", {RATE: 0.02}, 4)
    assert (result.status, result.folds) == ("out of bounds", 0)
    assert result.reason.startswith("a fit would train 10 s")


@pytest.mark.parametrize("epochs", [1, 4])
def test_what_was_too_slow_is_so_again(make_work, training, epochs):
    # Cut off before its end was known, or proposed twice.
    training.seconds = [10.0] * epochs
    of = config(train=SETTINGS["train"] | {"epochs": epochs})
    work = make_work(of=of, seconds_per_fit=9.0)
    for trial in ("0", "1"):
        result = work.evaluate(trial, {RATE: 0.02}, 1)
        assert result.status == "out of bounds"
        assert work.epochs_kept(result) == min(epochs, 2)
    assert training.begun == [("cnn fold 1", 0)]
    assert [each.status for each in work.folder.read_results().values()] == ["out of bounds"] * 2


def test_late_fold_out_of_bounds_keeps_the_figures_before(make_work, training):
    work = make_work(seconds_per_fit=9.0)
    training.at_epoch = lambda spec, epoch: (
        training.seconds.__setitem__(slice(None), [5.0, 5.0]) if spec.fold == 2 else None
    )
    result = work.evaluate("0", {RATE: 0.02}, 4)
    assert work.folder.read_results() == {"0": result}
    assert (result.status, result.folds, result.rows) == ("out of bounds", 2, 100)
    assert result.reason.startswith("a fit would train 10 s")


# What can go wrong


def test_diverged_fit_is_retried(make_work, training):
    training.losses = {(1, 1): math.nan}
    work = make_work()
    result = work.evaluate("0", {RATE: 0.02}, 2)
    assert (result.status, result.folds) == ("completed", 2)
    assert training.begun == [("cnn fold 1", 0), ("cnn fold 2", 0), ("cnn fold 2", 0)]
    facts = work.fits_of(result).read_fit("cnn", 1)
    assert facts["identity"]["attempt"] == 2
    assert facts["identity"]["settings"]["train"]["learning_rate"] == 0.01
    assert (
        "cnn fold 2 diverged (loss is nan in epoch 1); retrying with a new seed and learning rate "
        "0.01 (attempt 2 of 2)"
    ) in work.said()


def test_fit_that_diverges_again_fails_its_trial_for_good(make_work, training):
    training.losses = {(1, 1): math.nan, (1, 2): math.inf}
    work = make_work()
    result = work.evaluate("0", {RATE: 0.02}, 4)
    assert work.folder.read_results() == {"0": result}
    assert (result.status, result.folds, result.rows) == ("failed", 1, 50)
    assert result.reason == "cnn fold 2 diverged: loss is inf in epoch 1"
    # Whoever tries the same settings again hears of it without training.
    training.begun.clear()
    other = work.evaluate("1", {RATE: 0.02}, 4)
    assert (other.status, other.reason) == ("failed", result.reason)
    assert training.begun == []


def reasons(work, result):
    """What is noted of the first fold's attempts: (attempt, reason) each."""
    attempts = work.fits_of(result).read_failures("cnn", 0)
    return [(each["attempt"], each["reason"]) for each in attempts]


NOT_FINITE = "its predictions are not finite"


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_fit_whose_predictions_are_not_finite_is_retried(make_work, training, wrong):
    training.true = {(0.02, 0): [wrong] * 50}  # the second attempt has half the rate
    work = make_work()
    result = work.evaluate("0", {RATE: 0.02}, 1)
    assert (result.status, result.errors) == ("completed", 0)
    assert training.begun == [("cnn fold 1", 0)] * 2
    assert work.fits_of(result).read_fit("cnn", 0)["identity"]["attempt"] == 2
    assert reasons(work, result) == [(1, NOT_FINITE)]
    assert f"cnn fold 1 diverged ({NOT_FINITE}); retrying with a new seed" in work.said()


def test_predictions_that_are_never_finite_fail_a_trial(make_work, training):
    training.true = {(rate, 0): [math.nan] * 50 for rate in (0.02, 0.01)}
    work = make_work()
    result = work.evaluate("0", {RATE: 0.02}, 4)
    assert (result.status, result.folds) == ("failed", 0)
    assert result.reason == f"cnn fold 1 diverged: {NOT_FINITE}"
    assert training.begun == [("cnn fold 1", 0)] * 2
    assert reasons(work, result) == [(1, NOT_FINITE), (2, NOT_FINITE)]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")]
)
def test_too_large_for_the_memory_fails_a_trial(make_work, training, error):
    def no_room(spec, epoch):
        if spec.settings.train.learning_rate == 0.02:
            raise error

    training.at_epoch = no_room
    work = make_work()
    failed = work.evaluate("0", {RATE: 0.02}, 4)
    assert failed.status == "failed"
    assert "cnn fold 1: not enough memory for train.batch_size=32; " in failed.reason
    other = work.evaluate("1", {RATE: 0.01}, 4)
    assert other.status == "completed"
    assert work.folder.read_results() == {"0": failed, "1": other}


@pytest.mark.parametrize("error", [UserError("the disk is full"), ValueError("a bug")])
def test_what_is_not_the_candidates_fault_fails_no_trial(make_work, training, monkeypatch, error):
    def fail(*args):
        raise error

    work = make_work()
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_fit", fail)
        with pytest.raises(type(error)) as caught:
            work.evaluate("0", {RATE: 0.02}, 4)
    assert caught.value is error
    [result] = work.folder.read_results().values()
    assert (result.status, result.reason) == ("running", None)
    training.begun.clear()
    assert work.evaluate("0", {RATE: 0.02}, 1).status == "completed"
    assert training.begun == [("cnn fold 1", 2)]  # both epochs were kept


def test_settings_that_do_not_fit_together_fail_a_trial(make_work):
    # Each two of them fit, so a space's check may let them through: 28, 14, 7, 3, 1, 0 pixels.
    stages = [{"width": 4}] * 5
    work = make_work(of=config(model={"stages": stages}))
    pooled = {f"model.stages.{place}.pool": "first" for place in range(5)}
    result = work.evaluate("0", pooled, 4)
    assert work.folder.read_results() == {"0": result}
    assert (result.status, result.settings) == ("failed", pooled)
    assert "nothing is left of the image" in result.reason


def test_signal_within_a_fit_stops_after_its_last_epoch_is_kept(make_work, training):
    work = make_work()

    def interrupt(spec, epoch):
        if epoch == 1.5:
            work.budget.signals.received = 15

    training.at_epoch = interrupt
    with pytest.raises(Stopped) as caught:
        work.evaluate("0", {RATE: 0.02}, 4)
    assert caught.value.number == 15
    [result] = work.folder.read_results().values()
    assert result.status == "running"
    assert work.epochs_kept(result) == 1


def test_no_fit_begins_without_time_for_it(make_work, training):
    work = make_work()
    work.be_late()
    with pytest.raises(TimeLimitReached):
        work.evaluate("0", {RATE: 0.02}, 4)
    assert [each.status for each in work.folder.read_results().values()] == ["running"]
    assert training.begun == []


def test_candidate_that_another_worker_evaluates_is_waited_for(make_work, training):
    work = make_work()
    digest = files.digest_json({RATE: 0.02})
    begun, done = threading.Event(), threading.Event()

    def other():
        with work.folder.candidate(digest).locked():
            begun.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert begun.wait(60)
        threading.Timer(0.3, done.set).start()
        assert work.evaluate("0", {RATE: 0.02}, 1).status == "completed"
        assert done.is_set()
    finally:
        done.set()
        thread.join()


# Shorter schedules


def test_shortened_schedules_keep_their_shape():
    members = {"a": {}, "b": {"train": {"epochs": 6}}, "c": {"train": {"warmup_epochs": 2}}}
    whole = config(train={"epochs": 10, "warmup_epochs": 1.0, "ema_epochs": 0.5}, members=members)
    short = shortened(whole, 0.3)
    found = {
        name: (train.epochs, train.warmup_epochs, train.ema_epochs)
        for name, train in ((name, short.member(name).train) for name in members)
    }
    assert found == {
        "a": (3, pytest.approx(0.3), pytest.approx(0.15)),
        "b": (2, pytest.approx(0.3), pytest.approx(0.15)),
        "c": (3, pytest.approx(0.6), pytest.approx(0.15)),
    }
    restored = {"train": whole.train, "members": whole.members}
    assert short.model_copy(update=restored) == whole


def test_shortened_schedules_of_other_kinds_keep_their_shape():
    train = {
        "epochs": 8,
        "decay_factor": 0.81,
        "plateau": {"patience": 4},
        "early_stopping": {"patience": 5},
    }
    members = {"a": {}, "b": {"train": {"early_stopping": {"patience": 1}}}, "c": {"train": {}}}
    short = shortened(config(train=train, members=members), 0.5)
    # Four epochs end where eight did: 0.81 ** 8 is 0.6561 ** 4.
    assert short.train.decay_factor == pytest.approx(0.81**2)
    assert short.train.plateau.patience == 2
    found = [short.member(name).train.early_stopping.patience for name in members]
    assert found == [2, 1, 2]
    assert shortened(config(), 0.5).train.early_stopping.patience is None


def test_shortened_trainings_end_with_fewer_clean_epochs():
    members = {"a": {}, "b": {"augment": {"clean_epochs": 5}}}
    short = shortened(config(augment={"clean_epochs": 2}, members=members), 0.4)
    assert [short.member(name).augment.clean_epochs for name in members] == [1, 2]


def test_shortened_schedules_are_capped_as_whole_ones_are():
    # Five epochs of which 4.9 are warm-up: half of that is two and 2.45.
    train = shortened(config(train={"epochs": 5, "warmup_epochs": 4.9}), 0.5).train
    assert (train.epochs, train.warmup) == (2, pytest.approx(0.4))
    train = shortened(config(train={"epochs": 8, "warmup_epochs": 20}), 0.5).train
    assert (train.epochs, train.warmup) == (4, pytest.approx(0.8))  # half of 1.6


def test_shortened_schedules_have_an_epoch_at_least():
    assert shortened(config(), 0.05).train.epochs == 1
    assert shortened(config(), 1) == config()


def test_trials_have_shortened_schedules(make_work, training):
    tune = config(tune={"epoch_fraction": 0.5}).tune
    work = make_work(of=FOUR_EPOCHS.model_copy(update={"tune": tune}))
    training.seconds = [1.0, 2.0]
    result = work.evaluate("0", {RATE: 0.02}, 1)
    assert result.seconds_per_fit == 3.0
    train = work.fits_of(result).read_fit("cnn", 0)["identity"]["settings"]["train"]
    assert (train["epochs"], train["warmup_epochs"]) == (2, 0.25)
