"""Fits of a search's configs: what is there already, how each ends, what they predict."""

import io
import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from fake_trials import SETTINGS, FakeTraining
from rich.console import Console

from kaggle_digits.augmentation import bank
from kaggle_digits.config import loading
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import backend, fit, resume
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.tuning import trial_fits
from kaggle_digits.tuning.trial_fits import (
    SearchProgress,
    TimeLimitReached,
    TrialFailed,
    TrialFits,
)

ROWS = 200
LABELS = np.tile(np.arange(10, dtype=np.uint8), ROWS // 10)
SPLIT = [np.arange(first, first + 50) for first in range(0, ROWS, 50)]
TWO_MEMBERS = {"members": {"a": {}, "b": {"augment": {"rotate": [-5, 5]}}}}


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
def console():
    return Console(file=io.StringIO(), soft_wrap=True)


@pytest.fixture
def fits(tmp_path, training, console):
    images = np.zeros((ROWS, 28, 28), np.uint8)
    return TrialFits(
        Inputs(images, LABELS, images[:0]),
        SPLIT,
        Cache(tmp_path / "cache"),
        TimeBudget(1000.0),
        lambda: 0.0,
        SearchProgress(Reporter(console)),
    )


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "fits-of-one")


def plan(fits, *folds, of=None):
    return [spec for specs in fits.plan(of or config(), folds) for spec in specs]


def names(specs):
    return [spec.name for spec in specs]


# What there is to do


def test_fits_are_planned_fold_by_fold(fits):
    planned = fits.plan(config(**TWO_MEMBERS), [1, 3])
    assert [names(specs) for specs in planned] == [
        ["a fold 2", "b fold 2"],
        ["a fold 4", "b fold 4"],
    ]
    assert [spec.heldout_rows[0] for spec in planned[1]] == [150, 150]


def test_finished_fits_are_not_to_do(fits, folder, training):
    specs = plan(fits, 0, 1)
    fits.run(folder, specs[:1], ())
    assert training.begun == [("cnn fold 1", 0)]
    state = fits.prepare(folder, specs)
    assert (names(state.finished), names(state.to_do)) == (["cnn fold 1"], ["cnn fold 2"])


def test_damaged_fit_is_reported_and_to_do_again(fits, folder, training, console):
    specs = plan(fits, 0, 1)
    fits.run(folder, specs, ())
    path = folder.fit_folder("cnn", 0) / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    state = fits.prepare(folder, specs)
    assert names(state.to_do) == ["cnn fold 1"]
    assert f"damaged: {path}" in console.file.getvalue()
    assert folder.finished_fits() == [("cnn", 1)]


def test_fit_that_diverged_for_good_fails_its_trial(fits, folder):
    specs = plan(fits, 0, 1)
    for spec in (specs[1], specs[1].next_attempt()):
        resume.note_divergence(folder, spec, f"reason {spec.attempt}")
    with pytest.raises(TrialFailed, match=r"^cnn fold 2 diverged: reason 2$") as caught:
        fits.prepare(folder, specs)
    assert caught.value.status == "failed"


def test_fit_that_diverged_once_is_at_its_second_attempt(fits, folder, training):
    [spec] = plan(fits, 0)
    resume.note_divergence(folder, spec, "a reason")
    state = fits.prepare(folder, [spec])
    assert [each.attempt for each in state.to_do] == [2]


def test_fits_of_other_package_versions_are_refused_unless_allowed(fits, folder, monkeypatch):
    specs = plan(fits, 0)
    fits.run(folder, specs, ())
    monkeypatch.setattr(resume.environment, "package_versions", lambda: {"keras": "0.0.1"})
    with pytest.raises(UserError, match=r"here is 0\.0\.1; .*--allow-changed-versions"):
        fits.prepare(folder, specs)
    assert replace(fits, allow_changed_versions=True).prepare(folder, specs).is_complete


# Banks


def test_each_bank_is_drawn_once_for_all_that_read_it(fits, folder, monkeypatch):
    drawn = []

    def fill(cache, its_bank, images, variants, listener, stop):
        drawn.append((its_bank, sorted(variants), images is fits.inputs.train_images))
        listener(1, 7)
        assert fits.progress.detail == "augmentation 1/7"

    monkeypatch.setattr(bank, "fill", fill)
    specs = plan(fits, 0, 1, of=config(**TWO_MEMBERS))
    fits.prepare(folder, specs)
    assert drawn == [(specs[0].bank, [0, 1], True), (specs[1].bank, [0, 1], True)]
    assert specs[0].bank != specs[1].bank
    fits.run(folder, specs, ())
    fits.prepare(folder, specs)
    assert len(drawn) == 2  # nobody reads them any more


def test_bank_that_is_not_drawn_in_time_ends_the_trial(fits, folder, monkeypatch, training):
    def fill(cache, its_bank, images, variants, listener, stop):
        assert not stop()
        training.now = 991.0
        assert stop()

    monkeypatch.setattr(bank, "fill", fill)
    with pytest.raises(TimeLimitReached):
        replace(fits, reserve=lambda: 10.0).prepare(folder, plan(fits, 0))


# How fits end


def test_all_fits_are_run_with_the_callbacks(fits, folder, training):
    names = ["Callback", "TerminateOnNaN"]
    fits.run(folder, plan(fits, 0, 2), [f"keras.callbacks:{name}" for name in names])
    assert training.begun == [("cnn fold 1", 0), ("cnn fold 3", 0)]
    made = [[type(each).__name__ for each in of_fit] for of_fit in training.callbacks]
    assert made == [names, names]
    assert training.callbacks[0][1] is not training.callbacks[1][1]  # new ones for each net
    assert folder.finished_fits() == [("cnn", 0), ("cnn", 2)]


def test_callback_that_cannot_be_imported_is_named(fits, folder, training):
    with pytest.raises(UserError, match=r"^callbacks: no_such:thing: cannot be imported"):
        fits.run(folder, plan(fits, 0), ("no_such:thing",))
    assert training.begun == []


def test_progress_says_where_the_search_is(fits, folder, training):
    seen = []
    training.at_epoch = lambda spec, epoch: seen.append(fits.progress.detail)
    fits.run(folder, plan(fits, 1), ())
    assert seen == [f"cnn fold 2, epoch {epoch}/2" for epoch in ("0.5", "1.0", "1.5", "2.0")]
    fits.progress.begin("trial 7")
    assert (fits.progress.stage, fits.progress.detail) == ("trial 7", "")


def test_diverged_fit_fails_its_trial_and_ends_it(fits, folder, training):
    training.losses = {(0, attempt): math.nan for attempt in (1, 2)}
    with pytest.raises(TrialFailed, match=r"^cnn fold 1 diverged: loss is nan in ep") as caught:
        fits.run(folder, plan(fits, 0, 1), ())
    assert caught.value.status == "failed"
    assert training.begun == [("cnn fold 1", 0)] * 2


def test_slow_fit_puts_its_trial_out_of_bounds(fits, folder, training):
    training.seconds = [6.0, 6.0]
    with pytest.raises(TrialFailed, match=r"^a fit would train 12 s, more than") as caught:
        replace(fits, seconds_per_fit=11.0).run(folder, plan(fits, 0, 1), ())
    assert caught.value.status == "out of bounds"
    assert training.begun == [("cnn fold 1", 0)]


def test_memory_that_is_too_small_fails_a_trial(fits, folder, training):
    def no_room(spec, epoch):
        raise MemoryError

    training.at_epoch = no_room
    with pytest.raises(TrialFailed, match=r"^cnn fold 1: not enough memory for ") as caught:
        fits.run(folder, plan(fits, 0, 1), ())
    assert caught.value.status == "failed"


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        # Two epochs of 10 s. The second one is begun only with 10 s left for it.
        (10 + 9, 1),
        # To predict takes as long as the first step did, and training on 200 rows for the
        # statistics and half of the 50 held-out rows, at 150 rows in 10 s: 5 + 15.
        (20 + 19, 2),
        (20 + 21, None),
    ],
)
def test_time_limit_keeps_whole_epochs(fits, folder, training, limit, kept):
    training.seconds = [10.0, 10.0]
    limited = replace(fits, budget=TimeBudget(limit + 7.0), reserve=lambda: 7.0)
    with nullcontext() if kept is None else pytest.raises(TimeLimitReached):
        limited.run(folder, plan(fits, 0), ())
    facts = resume.read_checkpoint_facts(folder, "cnn", 0)
    assert (facts and facts["epochs"]) == kept
    assert folder.finished_fits() == ([("cnn", 0)] if kept is None else [])
    assert training.now <= limit


def test_no_fit_begins_without_time_for_it(fits, folder, training):
    with pytest.raises(TimeLimitReached):
        replace(fits, reserve=lambda: 1001.0).run(folder, plan(fits, 0), ())
    assert training.begun == []


def test_signal_within_a_fit_is_raised_when_its_epoch_is_kept(fits, folder, training):
    def interrupt(spec, epoch):
        if epoch == 1.5:
            fits.budget.signals.received = 15

    training.at_epoch = interrupt
    with pytest.raises(Stopped) as caught:
        fits.run(folder, plan(fits, 0, 1), ())
    assert caught.value.number == 15
    assert resume.read_checkpoint_facts(folder, "cnn", 0)["epochs"] == 1
    assert training.begun == [("cnn fold 1", 0)]


@pytest.mark.parametrize("failure", ["diverged", "too slow", "out of memory"])
def test_signal_while_a_fit_fails_is_raised(fits, folder, training, monkeypatch, failure):
    def interrupt():
        fits.budget.signals.received = 15

    def finish_fit(spec, inputs, trained):
        if spec.attempt == 2:
            interrupt()
        return training.finish_fit(spec, inputs, trained)

    def no_room(spec, epoch):
        interrupt()
        raise MemoryError

    if failure == "diverged":
        training.true = {(rate, 0): [math.nan] * 50 for rate in (0.02, 0.01)}
        monkeypatch.setattr(fit, "finish_fit", finish_fit)
    elif failure == "too slow":
        fits = replace(fits, seconds_per_fit=1.0)
        training.at_epoch = lambda spec, epoch: epoch == 2.0 and interrupt()
    else:
        training.at_epoch = no_room
    with pytest.raises(Stopped) as caught:
        fits.run(folder, plan(fits, 0, 1), ())
    assert caught.value.number == 15
    assert {name for name, _ in training.begun} == {"cnn fold 1"}


# Waiting for another process


def test_waiting_ends_with_the_time(fits, training, monkeypatch):
    naps = []
    monkeypatch.setattr(trial_fits.time, "sleep", naps.append)
    fits.wait()
    assert naps == [trial_fits.POLL_SECONDS]
    training.now = 1001.0
    with pytest.raises(TimeLimitReached):
        fits.wait()


# What finished fits predict


def test_out_of_fold_rows_are_those_of_the_fits(fits, folder, training):
    training.true = {(0.02, 1): [0.8] * 50, (0.02, 3): [0.7] * 50}
    specs = plan(fits, 1, 3)
    fits.run(folder, specs, ())
    rows, probabilities = fits.out_of_fold(folder, specs, config())
    np.testing.assert_array_equal(rows, [*range(50, 100), *range(150, 200)])
    true = probabilities[np.arange(100), LABELS[rows]]
    np.testing.assert_allclose(true, [*[0.8] * 50, *[0.7] * 50], rtol=1e-6)
    rows, probabilities = fits.out_of_fold(folder, specs[1:], config())
    assert (rows[0], len(rows), probabilities.shape) == (150, 50, (50, 10))


def test_members_are_averaged(fits, folder, training):
    of = config(members={"a": {}, "b": {"train": {"learning_rate": 0.01}}})
    training.true = {(0.02, 0): [0.8] * 50, (0.01, 0): [0.4] * 50}
    specs = plan(fits, 0, of=of)
    fits.run(folder, specs, ())
    rows, probabilities = fits.out_of_fold(folder, specs, of)
    np.testing.assert_allclose(probabilities[np.arange(50), LABELS[rows]], 0.6, rtol=1e-6)
