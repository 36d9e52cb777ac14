import io
import json
import math
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from kaggle_digits.config.loading import Config
from kaggle_digits.data.digits_csv import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.runs import fitting, pipeline, summary
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import time_budget
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec

ROWS, TEST_ROWS, STEPS, EPOCHS = 100, 20, 5, 4  # of each fit: 50 rows in 5 steps
LABELS = np.tile(np.arange(10, dtype=np.uint8), 10)
TEST_LABELS = np.tile(np.uint8([3, 1, 4, 0, 5, 9, 2, 6, 8, 7]), 2)
SPLIT = [np.arange(0, 50), np.arange(50, 100)]
CONFIG = Config(
    seed=11,
    folds={"count": 2},
    train={"epochs": EPOCHS, "batch_size": 10, "learning_rate": 0.008},
    members={"a": {}},
)


def test_forecast_of_the_time_left(monkeypatch):
    # Two fits of 80 rows and 2 epochs: 320 images.
    now = [100.0]
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    train = SimpleNamespace(epochs=2)
    specs = [
        SimpleNamespace(name=name, heldout_rows=range(20), settings=SimpleNamespace(train=train))
        for name in ("first", "second")
    ]
    forecast = fitting._Forecast(specs, rows=100)
    forecast.at(specs[0], 0.0)
    now[0] = 110.0
    assert forecast.at(specs[0], 0.5) == pytest.approx((0.25, 8.0, 30.0))
    now[0] = 130.0
    assert forecast.at(specs[1], 0.5) == pytest.approx((0.75, 8.0, 10.0))
    now[0] = 150.0
    assert forecast.at(specs[1], 1.0) == pytest.approx((1.0, 6.4, 0.0))


# Fits that take their time by a clock of the test


def sure(labels):
    """Probabilities: 0.91 for the given classes, 0.01 for each other."""
    return np.where(np.eye(10)[labels] == 1, 0.91, 0.01).astype(np.float32)


class FakeNet:
    def save(self, path):
        path.write_bytes(b"a net")


class Run:
    """Real files and results; instead of training there is a second a step, and two before them.

    The contract is that of `train.train`: the listener hears of each step and epoch, an epoch is
    kept before anybody can stop, and a loss that is no number ends training.
    """

    def __init__(self, path, limit=None, config=CONFIG, missing=(), draw_seconds=0.0):
        images = np.random.default_rng(1).integers(0, 256, (ROWS + TEST_ROWS, 28, 28), np.uint8)
        digits = Digits(
            train_images=images[:ROWS],
            train_labels=LABELS,
            test_images=images[ROWS:],
            test_labels=None,
            key="k",
            hashes={},
            source="somewhere",
            demo=False,
            duplicates=0,
        )
        self.now = 0.0
        self.stop = TimeBudget(limit)
        self.inputs = fit_spec.Inputs.of(images[:ROWS], LABELS, images[ROWS:])
        self.folder = RunFolder(path / "run")
        self.specs = fit_spec.plan(config, self.inputs, SPLIT, "tensorflow")
        self.results = summary.Results(self.folder, config, digits, self.specs, {}, self.stop)
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.cache = Cache(path / "cache")
        for number in set(range(EPOCHS)) - set(missing):
            self.cache.write_variant(self.specs[0].bank_key, number, images[:2])
        self.draw_seconds = draw_seconds
        # What a test may change.
        self.start_seconds, self.step_seconds, self.finish_seconds = 2.0, 1.0, 0.0
        self.losses = {}  # by fold and attempt
        self.heldout = {}  # by fold and attempt
        self.provisional = sure(TEST_LABELS)
        self.at_step = {}  # steps done in this process -> what happens then
        # What happened.
        self.steps = 0
        self.begun, self.predicted, self.resumed = [], [], []

    def fit(self, metrics=None):
        """Train what is to do; return the names of the fits that are not done."""
        self.fitting = fitting.Fitting(
            self.folder,
            self.cache,
            self.inputs,
            self.results,
            metrics or {},
            self.draw_seconds,
            self.stop,
            Reporter(self.console),
        )
        return [spec.name for spec in self.fitting.run(self.specs)]

    def train_fit(self, spec, inputs, cache, listener, state, keep, stop):
        self.begun.append((spec.name, spec.attempt))
        self.resumed.append(state.epochs if state else 0)
        self.now += self.start_seconds
        history = list(state.history) if state else []
        loss = self.losses.get((spec.fold, spec.attempt), 0.5)
        for epoch in range(len(history), EPOCHS):
            for step in range(1, STEPS + 1):
                self.now += self.step_seconds
                self.steps += 1
                self.at_step.get(self.steps, lambda: None)()
                done = epoch + step / STEPS
                listener(done, None)
                if step < STEPS and stop(done):
                    return self.trained(history)
            entry = {"epoch": epoch + 1, "loss": loss, "accuracy": 0.9, "images_per_second": 10.0}
            history.append(entry)
            if not math.isfinite(loss):
                return self.trained(history)
            keep(SimpleNamespace(epochs=epoch + 1, arrays=[np.zeros(3)], history=history))
            listener(epoch + 1.0, entry)
            if stop(epoch + 1.0):
                break
        return self.trained(history)

    def trained(self, history):
        complete = len(history) == EPOCHS and math.isfinite(history[-1]["loss"])
        steps = STEPS * len(history)
        return SimpleNamespace(model="a net", history=history, steps=steps, complete=complete)

    def finish_fit(self, spec, inputs, trained):
        self.now += self.finish_seconds
        right = sure(LABELS[list(spec.heldout_rows)])
        return fits.FitResult(
            model=FakeNet(),
            heldout=self.heldout.get((spec.fold, spec.attempt), right),
            test=sure(TEST_LABELS),
            history=trained.history,
            train_seconds=20.0,
            predict_seconds=self.finish_seconds,
            train_images=200,
        )

    def predict(self, model, images):
        assert (model, images.shape) == ("a net", (TEST_ROWS, 28, 28))
        self.predicted.append(self.now)
        return self.provisional

    def saved(self):
        """Epochs that unfinished fits have saved, by fold."""
        facts = [fits.read_state_facts(self.folder, spec.member, spec.fold) for spec in self.specs]
        return [found and found["epochs"] for found in facts]

    def metrics(self):
        return files.read_json(self.folder.metrics)

    def said(self):
        return self.console.file.getvalue()


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Make a run whose clock and whose training are the test's."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    runs = []

    def make(**options):
        runs.append(Run(tmp_path, **options))
        runs[0].stop.watch()
        return runs[0]

    clock = SimpleNamespace(monotonic=lambda: runs[0].now if runs else 0.0)
    for module in (fitting, time_budget):
        monkeypatch.setattr(module, "time", clock)
    for name, value in (("EXIT_SECONDS", 4.0), ("EXIT_SHARE", 0.0), ("FORWARD_SPEEDUP", 2.0)):
        monkeypatch.setattr(fitting, name, value)
    monkeypatch.setattr(time_budget, "GRACE", 20.0)
    monkeypatch.setattr(fitting.backend, "configure", lambda threads: None)
    monkeypatch.setattr(fits, "train_fit", lambda *args, **kw: runs[0].train_fit(*args, **kw))
    monkeypatch.setattr(fits, "finish_fit", lambda *args: runs[0].finish_fit(*args))
    monkeypatch.setattr(
        "kaggle_digits.training.train.predict", lambda *args: runs[0].predict(*args)
    )
    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)


FIRST, SECOND = ("a fold 1", 1), ("a fold 2", 1)


def test_without_a_limit_all_fits_are_done(make_run):
    run = make_run()
    assert run.fit() == []
    assert run.begun == [FIRST, SECOND]
    assert run.now == 2 * (2 + 20)
    assert run.predicted == []
    assert run.saved() == [None, None]
    metrics = run.metrics()
    assert metrics == run.fitting.metrics
    assert (metrics["complete"], metrics["provisional"]) == (True, False)
    assert (metrics["fits_finished"], metrics["oof_errors"]) == (2, 0)
    assert run.folder.read_seconds()["wall"] == 44.0
    for line in (
        "a fold 1, epoch 4/4: loss 0.5000, training accuracy 0.9000, 10 images/s, ",
        "a fold 2 finished: 0 of 50 held-out rows wrong, accuracy 1.00000, out-of-fold accuracy so "
        "far 1.00000",
    ):
        assert line in run.said()


def test_seconds_are_noted_after_each_epoch_so_that_a_kill_takes_little(make_run):
    run, noted = make_run(), []
    run.at_step = dict.fromkeys((6, 11), lambda: noted.append(run.folder.read_seconds()["wall"]))
    run.fit()
    assert noted == [7.0, 12.0]


# The clock by hand. The first step is done at 3 s. From then on 10 images a second are seen; an
# epoch of 50 takes 5 s. Predictions take 3 s (as the first step: they are compiled too), 10 s for
# the statistics of 100 rows, and half of what training would take for 20 test rows and, for a whole
# fit, 50 held-out rows: 14 s and 16.5 s. 4 s are kept free for the end. So a provisional submission
# needs 18 s, a whole fit's predictions 20.5 s, a further fit's first epoch 4 + 3 + 5 s.


def test_time_that_is_kept_free_for_the_end(monkeypatch):
    monkeypatch.setattr(fitting, "EXIT_SECONDS", 4.0)
    monkeypatch.setattr(fitting, "EXIT_SHARE", 0.01)
    assert fitting.exit_seconds(TimeBudget()) == 4.0
    assert fitting.exit_seconds(TimeBudget(300.0)) == 7.0


def test_before_the_first_fit_is_whole_it_goes_on_to_the_last_batch(make_run):
    run = make_run(limit=27.5)
    assert run.fit() == ["a fold 1", "a fold 2"]
    # After 7 steps, at 9 s, 18.5 s are left, after 8 only 17.5 s.
    assert (run.steps, run.predicted) == (8, [10.0])
    assert run.saved() == [1, None]
    metrics = run.metrics()
    assert metrics == run.fitting.metrics
    assert (metrics["provisional"], metrics["provisional_fit"]) == (True, "a fold 1")
    assert run.folder.submission.read_text().startswith("ImageId,Label\n1,3\n2,1\n")
    assert "provisional submission: from a fold 1, which is not finished" in run.said()
    assert run.folder.read_seconds()["wall"] == 10.0


@pytest.mark.parametrize(
    ("missing", "draw_seconds", "steps"),
    [
        (range(EPOCHS), 5.0, 5),  # 20.5 s are left, and 23 s needed
        (range(EPOCHS), 2.0, 8),
        ((), 5.0, 8),
    ],
)
def test_an_epoch_whose_variant_is_not_drawn_yet_takes_longer(
    make_run, missing, draw_seconds, steps
):
    run = make_run(limit=27.5, missing=missing, draw_seconds=draw_seconds)
    run.fit()
    assert (run.steps, run.saved()) == (steps, [1, None])
    assert run.metrics()["provisional"] is True


def test_without_time_for_predictions_there_is_no_submission(make_run):
    run = make_run(limit=30.0)
    run.at_step = {8: lambda: setattr(run, "now", run.now + 12.0)}  # the machine slept
    assert run.fit() == ["a fold 1", "a fold 2"]
    assert (run.steps, run.predicted, run.saved()) == (8, [], [1, None])
    assert not run.folder.submission.exists()
    assert run.fitting.metrics == run.metrics() == {}
    assert run.folder.read_seconds()["wall"] == 22.0


@pytest.mark.parametrize(("limit", "finished"), [(42.25, False), (42.75, True)])
def test_first_fit_is_finished_only_with_time_for_its_predictions(make_run, limit, finished):
    run = make_run(limit=limit)
    left = run.fit()
    if finished:
        assert left == ["a fold 2"]
        assert run.predicted == []
        assert run.metrics()["fits_finished"] == 1
        # The rest of the time goes into the next fit's epochs.
        assert (run.begun, run.saved()) == ([FIRST, SECOND], [None, 2])
    else:
        assert left == ["a fold 1", "a fold 2"]
        assert run.begun == [FIRST]
        assert run.predicted == [22.0]
        assert run.saved() == [4, None]
        assert run.metrics()["provisional"] is True


# In the second fit, after k steps at 24 + k s, the speed is (190 + 10 k) / (21 + k): an epoch takes
# 5.35 s after 10 steps, and a whole fit's predictions 3 s and 14.2 s at its end, at 44 s.


@pytest.mark.parametrize(("limit", "epochs"), [(43.0, 2), (43.75, 3)])
def test_no_epoch_is_begun_that_cannot_be_whole(make_run, limit, epochs):
    run = make_run(limit=limit)
    assert run.fit() == ["a fold 2"]
    assert (run.steps, run.saved()) == (20 + STEPS * epochs, [None, epochs])
    # What the first fit has made stays.
    assert run.predicted == []
    metrics = run.metrics()
    assert (metrics["provisional"], metrics["complete"], metrics["fits_finished"]) == (
        False,
        False,
        1,
    )


@pytest.mark.parametrize(("limit", "finished"), [(57.5, False), (58.5, True)])
def test_further_fit_is_finished_only_with_time_for_its_predictions(make_run, limit, finished):
    # TrainingResult at 48 s; to finish the first fit took 4 s, so with the end 4 + 1.5 * 4 are wanted.
    run = make_run(limit=limit)
    run.finish_seconds = 4.0
    assert run.fit() == ([] if finished else ["a fold 2"])
    assert run.steps == 40
    assert run.saved() == [None, None if finished else 4]
    assert run.predicted == []
    assert run.metrics()["complete"] is finished


@pytest.mark.parametrize(("limit", "begun"), [(42.75, [FIRST]), (43.25, [FIRST, SECOND])])
def test_no_fit_is_begun_without_room_for_an_epoch(make_run, limit, begun):
    run = make_run(limit=limit)
    run.finish_seconds = 9.0  # at 31 s the first fit is finished, and 12 s are needed
    assert run.fit() == ["a fold 2"]
    assert run.begun == begun
    assert run.metrics()["fits_finished"] == 1


def test_no_fit_is_begun_whose_start_takes_all_the_time_left(make_run):
    run = make_run(limit=24.5)
    run.start_seconds, run.step_seconds, run.finish_seconds = 8.0, 0.125, 8.0
    assert run.fit() == ["a fold 2"]
    # The first fit is finished at 18.5 s. The second would make its first step at 26.6 s.
    assert run.begun == [FIRST]
    assert run.now == 18.5


def test_an_epoch_that_takes_longer_than_forecast_is_cut_off(make_run):
    run = make_run(limit=43.75)
    run.at_step = {33: lambda: setattr(run, "now", run.now + 3.0)}
    assert run.fit() == ["a fold 2"]
    # At 40 s, in the middle of the third epoch, 3.75 s are left.
    assert (run.steps, run.now, run.saved()) == (33, 40.0, [None, 2])


def test_a_provisional_submission_of_before_does_not_count_as_a_fit(make_run):
    run = make_run(limit=27.5)
    assert run.fit({"provisional": True, "fits_finished": 0}) == ["a fold 1", "a fold 2"]
    assert (run.steps, run.predicted) == (8, [10.0])


# Going on


def test_a_fit_goes_on_after_its_last_saved_epoch(make_run):
    run = make_run()
    history = [
        {"epoch": epoch, "loss": 0.7, "accuracy": 0.8, "images_per_second": 10.0}
        for epoch in (1, 2, 3)
    ]
    saved = SimpleNamespace(epochs=3, arrays=[np.zeros(3)], history=history)
    fits.save_state(run.folder, run.specs[0], saved)
    assert run.fit() == []
    assert (run.resumed, run.steps) == ([3, 0], 25)
    assert "a fold 1 goes on after epoch 3, saved before it was cut off" in run.said()
    lines = (run.folder.fit_folder("a", 0) / "history.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        *([str(epoch), "0.7"] for epoch in (1, 2, 3)),
        ["4", "0.5"],
    ]


def test_damaged_epochs_are_told_and_the_fit_starts_over(make_run):
    run = make_run()
    saved = SimpleNamespace(epochs=3, arrays=[np.zeros(3)], history=[{}] * 3)
    fits.save_state(run.folder, run.specs[0], saved)
    path = run.folder.fits / "a-fold1.state"
    path.write_bytes(path.read_bytes()[:-1])
    assert run.fit() == []
    assert run.resumed == [0, 0]
    assert f"damaged: {path}: its checksum differs; a fold 1 starts over" in run.said()


# Signals


def test_signal_before_the_first_fit_is_whole(make_run):
    run = make_run()
    run.at_step = {8: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped) as caught:
        run.fit()
    assert caught.value.number == signal.SIGTERM
    # The batch at hand is the last one, and what it led to makes a submission.
    assert (run.steps, run.predicted, run.saved()) == (8, [10.0], [1, None])
    assert run.metrics()["provisional"] is True
    assert run.folder.submission.exists()


def test_signal_in_a_further_fit(make_run):
    run = make_run()
    run.at_step = {27: lambda: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(Stopped) as caught:
        run.fit()
    assert caught.value.number == signal.SIGINT
    assert (run.steps, run.predicted, run.saved()) == (27, [], [None, 1])
    assert (run.metrics()["provisional"], run.metrics()["fits_finished"]) == (False, 1)


def test_signal_at_the_first_fits_last_step_lets_it_finish(make_run):
    run = make_run()
    run.start_seconds = 1.0  # so that 19.5 s are needed of the 20 s after a signal
    run.at_step = {20: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert (run.begun, run.predicted) == ([FIRST], [])
    assert run.metrics()["fits_finished"] == 1


def test_signal_at_a_further_fits_last_step_leaves_it_for_the_next_time(make_run):
    run = make_run()
    run.at_step = {40: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert run.saved() == [None, 4]
    assert run.metrics()["fits_finished"] == 1


def test_signal_before_the_net_has_learnt_anything_is_still_a_signal(make_run, monkeypatch):
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_SHARES", 1)
    run = make_run()
    run.provisional = sure(np.zeros(TEST_ROWS, int))  # one class: no sane submission
    run.at_step = {1: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert "no provisional submission yet: submission.csv, lines 2 to 21: " in run.said()
    assert not run.folder.submission.exists()
    assert run.metrics() == {}


# Sick fits


def test_a_sick_fit_is_tried_again(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan, (1, 1): math.nan}
    assert run.fit() == []
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND, ("a fold 2", 2)]
    assert (
        "a fold 1 is sick: the loss was nan in epoch 1; it is trained once more with another seed "
        "and learning rate 0.004"
    ) in run.said()
    assert "left out" not in run.said()
    metrics = run.metrics()
    assert (metrics["complete"], metrics["skipped"], metrics["fits_finished"]) == (True, {}, 2)
    manifest = json.loads(run.folder.manifest.read_text())
    for spec, fold in zip(run.specs, ("a-fold1", "a-fold2"), strict=True):
        again = spec.next_attempt()
        assert run.folder.read_fit("a", spec.fold)["identity"]["attempt"] == 2
        assert manifest["fits"][fold]["identity"] == again.digest()
        assert manifest["fits"][fold]["seed"] == again.seed_for("fit")
        assert fits.diverged_attempts(run.folder, spec) == ["the loss was nan in epoch 1"]


def test_predictions_that_are_not_numbers_are_sick(make_run):
    run = make_run()
    run.heldout = {(0, 1): np.full((50, 10), np.nan, np.float32)}
    assert run.fit() == []
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND]
    assert "a fold 1 is sick: its predictions are not numbers; it is trained" in run.said()
    assert run.metrics()["fits_finished"] == 2


def test_a_fit_that_is_sick_again_is_left_out(make_run):
    run = make_run()
    run.losses = {(1, 1): math.nan, (1, 2): math.inf}
    assert run.fit() == []
    assert run.begun == [FIRST, SECOND, ("a fold 2", 2)]
    reason = "the loss was inf in epoch 1"
    assert f"WARNING: a fold 2 is left out: {reason}, in its last attempt too" in run.said()
    metrics = run.metrics()
    assert metrics == run.fitting.metrics
    assert (metrics["complete"], metrics["skipped"]) == (True, {"a fold 2": reason})
    assert (metrics["fits_finished"], metrics["oof_rows"]) == (1, 50)


def test_all_fits_sick(make_run):
    run = make_run()
    run.losses = dict.fromkeys(((0, 1), (1, 1)), math.nan)
    run.losses |= dict.fromkeys(((0, 2), (1, 2)), math.inf)
    assert run.fit() == []
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND, ("a fold 2", 2)]
    assert run.fitting.metrics == {}
    assert not run.folder.submission.exists()
    message = r"all 2 fits were sick and left out \(the first: the loss was inf in epoch 1\)"
    with pytest.raises(UserError, match=message):
        run.results.update()


def test_a_sick_fit_is_not_tried_again_without_time_to_start(make_run):
    run = make_run(limit=24.5)
    run.start_seconds, run.step_seconds = 8.0, 0.125
    run.losses = {(1, 1): math.nan}
    assert run.fit() == ["a fold 2"]
    # The first fit is finished at 10.5 s; the second is sick at 19.125 s, and would start at 27.
    assert run.begun == [FIRST, SECOND]
    assert run.now == 19.125
    # The next process begins with the second attempt.
    assert fits.diverged_attempts(run.folder, run.specs[1]) == ["the loss was nan in epoch 1"]


def test_speed_of_a_further_attempt_is_measured_anew(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    train = SimpleNamespace(epochs=2)
    spec = SimpleNamespace(
        name="fit", heldout_rows=range(20), settings=SimpleNamespace(train=train)
    )
    forecast = fitting._Forecast([spec], rows=100)
    forecast.at(spec, 0.0)
    now[0] = 110.0
    assert forecast.at(spec, 0.5) == pytest.approx((0.5, 8.0, 10.0))
    forecast.begin_again()
    forecast.at(spec, 0.0)
    now[0] = 120.0
    assert forecast.at(spec, 0.25) == pytest.approx((0.25, 4.0, 30.0))


@pytest.mark.parametrize("limit", [None, 27.5])
def test_want_of_memory_for_predictions_is_told_too(make_run, monkeypatch, limit):
    def fail(*given):
        raise MemoryError

    run = make_run(limit=limit)
    monkeypatch.setattr(fits, "finish_fit", fail)
    monkeypatch.setattr("kaggle_digits.training.train.predict", fail)
    with pytest.raises(UserError, match=r"^a fold 1: the memory does not suffice"):
        run.fit()


def test_signal_in_a_sick_attempt(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan}
    run.at_step = {5: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert fits.diverged_attempts(run.folder, run.specs[0]) == ["the loss was nan in epoch 1"]
    assert not run.folder.finished_fits()


# All of it with real, tiny nets


def write_data(folder):
    """20 training rows of 5 pixels that tell the class, and 10 test rows."""
    folder.mkdir()
    pixels = np.zeros((20, 784), np.uint8)
    labels = np.arange(20) % 10
    pixels[np.arange(20), 28 * 14 + 2 * labels + 4] = 255
    header = ",".join(f"pixel{index}" for index in range(784))
    rows = [",".join(map(str, row)) for row in pixels]
    lines = [f"{label},{row}" for label, row in zip(labels, rows, strict=True)]
    (folder / "train.csv").write_text("\n".join([f"label,{header}", *lines]) + "\n")
    (folder / "test.csv").write_text("\n".join([header, *rows[:10]]) + "\n")


WITH_A_WILD_MEMBER = Config(
    folds={"count": 2},
    augment={"elastic": {"p": 0}, "variants": 1},
    model={"stages": [{"width": 2, "kernel": 5, "stride": 2, "pool": "first"}]},
    train={"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "ema_epochs": 0},
    members={"wild": {"train": {"optimizer": "sgd", "learning_rate": 1e38}}, "tame": {}},
)


def test_a_wild_member_is_left_out(tmp_path):
    write_data(tmp_path / "data")

    def run():
        console = Console(file=io.StringIO(), soft_wrap=True)
        request = pipeline.Request(
            config=WITH_A_WILD_MEMBER,
            name="wild",
            data=str(tmp_path / "data"),
            out=tmp_path / "run",
            root=tmp_path,
            cache=tmp_path / "cache",
        )
        folder = pipeline.run(request, Reporter(console), TimeBudget())
        return folder, " ".join(console.file.getvalue().split())  # tables pad their columns

    folder, said = run()
    metrics = files.read_json(folder.metrics)
    reason = "the loss was nan in epoch 1"
    assert metrics["skipped"] == {"wild fold 1": reason, "wild fold 2": reason}
    assert (metrics["complete"], metrics["fits_finished"], metrics["fits_planned"]) == (True, 2, 4)
    assert list(metrics["members"]) == ["tame"]
    assert metrics["oof_rows"] == 20
    assert sorted(path.name for path in folder.fits.iterdir()) == [
        *("tame-fold1", "tame-fold2", "wild-fold1.failed.json", "wild-fold2.failed.json")
    ]
    for fold in (1, 2):
        name = f"wild fold {fold}"
        assert said.count(f"{name} is sick: {reason}; it is trained once more") == 1
        assert "learning rate 5e+37" in said
        assert said.count(f"WARNING: {name} is left out: {reason}, in its last attempt too") == 1
        assert f"WARNING: left out │ {name}: {reason}" in said
    # Repeated, nothing is tried a third time.
    before = {path: path.stat().st_mtime_ns for path in folder.fits.rglob("*")}
    folder, said = run()
    assert {path: path.stat().st_mtime_ns for path in folder.fits.rglob("*")} == before
    assert "reused: 2 of 4 fits, finished earlier" in said
    assert said.count(f"WARNING: wild fold 2 is left out: {reason}, in its last attempt too") == 1
    assert f"WARNING: left out │ wild fold 1: {reason}" in said
    assert "is sick" not in said
    again = files.read_json(folder.metrics)
    assert (again["skipped"], again["complete"]) == (metrics["skipped"], True)


HELD_UP = """
import sys, time
from kaggle_digits import cli
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec

train_fit = fits.train_fit

def held_up(spec, *given, **options):
    if spec.fold == 1:
        time.sleep(1000)
    return train_fit(spec, *given, **options)

fits.train_fit = held_up
sys.argv = ["kaggle-digits", "run", "--out", "run", "--cache", "cache", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.chaos
def test_process_that_is_held_up_ends_in_time_with_what_is_finished(tmp_path, process_env):
    settings = ["folds.count=2", "train.epochs=2", "model.stages=[{width: 6, pool: first}]"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HELD_UP, "--time-limit", "60s", *overrides],
        env=process_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - start < 60
    assert "time limit of 1 min 0 s: ended in the middle of a step" in done.stdout
    assert (tmp_path / "run" / "submission.csv").is_file()
    assert "cnn fold 1 finished" in (tmp_path / "run" / "run.log").read_text()
