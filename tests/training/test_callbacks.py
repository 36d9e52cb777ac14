import pickle
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kaggle_digits.training import callbacks
from kaggle_digits.training.callbacks import (
    Checkpoint,
    History,
    Hooks,
    RememberLosses,
    ReportProgress,
    SaveCheckpoint,
    StopInTime,
)

STEPS, IMAGES = 4, 40
LOGS = {"loss": 0.5, "accuracy": 0.75}


class FakeModel:
    """What callbacks see of a net in training; by hand there is no need to train one."""

    def __init__(self):
        self.variables = [np.float32([1.0, 2.0]), np.float32([3.0])]
        self.optimizer = SimpleNamespace(learning_rate=0.25, variables=[np.int64(7)])
        self.stop_training = False


class FakeBatches:
    """Batches of two rows."""

    losses = np.float32([np.nan, np.nan])

    def remember(self, losses):
        self.losses = losses.copy()


class Training:
    """Calls callbacks as `fit` does, by a clock of the test."""

    def __init__(self, monkeypatch, entries=(), **hooks):
        self.now, self.model = 100.0, FakeModel()
        monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: self.now))
        hooks = Hooks(**hooks)
        self.history = History(entries, STEPS, IMAGES)
        self.stop = StopInTime(self.history, hooks.must_stop)
        self.batches = FakeBatches()
        losses = SimpleNamespace(of_images=np.float32([0.5, 0.25]))
        saving = [SaveCheckpoint(self.history, self.batches, hooks.on_checkpoint)]
        self.all = [
            self.history,
            RememberLosses(self.history, self.batches, losses),
            *(saving if hooks.on_checkpoint else []),
            ReportProgress(self.history, hooks.on_progress),
            self.stop,
        ]
        for each in self.all:
            each.set_model(self.model)

    def begin(self, epoch):
        for each in self.all:
            each.on_epoch_begin(epoch)

    def steps(self, *numbers):
        for number in numbers:
            self.now += 0.5
            for each in self.all:
                each.on_train_batch_end(number)

    def end(self, epoch, logs=LOGS):
        for each in self.all:
            each.on_epoch_end(epoch, logs)

    def epoch(self, epoch, logs=LOGS):
        self.begin(epoch)
        self.steps(*range(STEPS))
        self.end(epoch, logs)


@pytest.fixture
def make_training(monkeypatch):
    return lambda *args, **hooks: Training(monkeypatch, *args, **hooks)


def entry(epoch, **changes):
    """Return the history's entry of an epoch of four steps of half a second."""
    values = {"epoch": epoch, "loss": 0.5, "accuracy": 0.75, "learning_rate": 0.25}
    return values | {"seconds": 2.0, "images_per_second": 20.0} | changes


# The history


def test_history_has_an_entry_for_each_whole_epoch(make_training):
    training = make_training()
    history = training.history
    assert (history.entries, history.epochs_done, history.is_kept) == ([], 0.0, False)
    training.epoch(0)
    assert (history.entries, history.epochs_done, history.is_kept) == ([entry(1)], 1.0, True)
    training.model.optimizer.learning_rate = 0.125
    training.begin(1)
    training.steps(0, 1, 2)
    assert history.epochs_done == 1.75
    training.now += 2.0  # the clock counts what happens between steps
    training.steps(3)
    training.end(1, {"loss": 0.25, "accuracy": 1.0})
    second = entry(2, loss=0.25, accuracy=1.0, learning_rate=0.125)
    assert history.entries[1] == second | {"seconds": 4.0, "images_per_second": 10.0}
    assert all(type(value) in (int, float) for value in history.entries[1].values())
    assert training.model.stop_training is False


def test_history_goes_on_after_the_epochs_done(make_training):
    before = [entry(1), entry(2)]
    training = make_training(before)
    assert training.history.epochs_done == 2.0
    training.epoch(2)
    assert training.history.entries == [*before, entry(3)]
    assert before == [entry(1), entry(2)]  # which is a checkpoint's


def test_an_epoch_that_was_cut_off_has_no_entry(make_training):
    training = make_training()
    training.epoch(0)
    training.begin(1)
    training.steps(0, 1)
    training.end(1)
    assert training.history.entries == [entry(1)]
    assert (training.history.epochs_done, training.history.is_kept) == (1.5, False)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_ends_training(make_training, loss):
    training = make_training()
    training.epoch(0, {"loss": loss, "accuracy": 0.1})
    assert training.model.stop_training is True
    assert [each["epoch"] for each in training.history.entries] == [1]
    assert training.history.is_kept is False


# Checkpoints


def test_checkpoint_after_each_whole_epoch(make_training):
    kept = []
    training = make_training([entry(1)], on_checkpoint=kept.append)
    training.epoch(1)
    training.model.variables[0] += 10
    training.epoch(2)
    training.begin(3)
    training.steps(0)
    training.end(3)
    assert [checkpoint.epochs for checkpoint in kept] == [2, 3]
    # The net's variables, then the optimizer's.
    assert [array.tolist() for array in kept[1].arrays] == [[11.0, 12.0], [3.0], 7]
    # A later epoch changes no earlier checkpoint.
    assert [each["epoch"] for each in kept[0].history] == [1, 2]
    assert [each["epoch"] for each in kept[1].history] == [1, 2, 3]


def test_losses_of_whole_epochs_are_remembered_and_in_the_checkpoint(make_training):
    kept = []
    training = make_training(on_checkpoint=kept.append)
    training.begin(0)
    training.steps(0)
    training.end(0)  # cut off
    assert np.isnan(training.batches.losses).all()
    training.epoch(0)
    assert training.batches.losses.tolist() == [0.5, 0.25]
    training.batches.losses[:] = 9  # by a later epoch
    assert kept[0].losses.tolist() == [0.5, 0.25]


def test_no_checkpoint_of_an_epoch_whose_loss_is_not_finite(make_training):
    kept = []
    training = make_training(on_checkpoint=kept.append)
    training.epoch(0, {"loss": np.nan, "accuracy": 0.1})
    assert kept == []


def test_checkpoint_can_be_pickled():
    checkpoint = Checkpoint(2, [np.arange(3)], [entry(1), entry(2)])
    back = pickle.loads(pickle.dumps(checkpoint))
    assert (back.epochs, back.history) == (2, [entry(1), entry(2)])
    assert back.arrays[0].tolist() == [0, 1, 2]


def test_variables_of_a_net_and_its_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    model.compile(optimizer=keras.optimizers.SGD(momentum=0.5))
    model.optimizer.build(model.trainable_variables)
    found = [variable.path.rpartition("/")[2] for variable in callbacks.variables(model)]
    assert found[:4] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert found[4:6] == ["iteration", "learning_rate"]
    assert len(found) == 6 + 2  # a momentum for each that is learnt


# Progress, and the end in time


def test_progress_after_each_step_and_each_whole_epoch(make_training):
    heard = []
    training = make_training(on_progress=lambda done, entry: heard.append((done, entry)))
    training.epoch(0)
    training.begin(1)
    training.steps(0, 1)
    training.end(1)
    steps = [(done, None) for done in (0.25, 0.5, 0.75, 1.0)]
    assert heard == [*steps, (1.0, entry(1)), (1.25, None), (1.5, None)]


def test_it_is_asked_once_after_each_step_whether_training_ends(make_training):
    asked = []

    def must_stop(done):
        asked.append(done)
        return done == 1.5

    training = make_training(must_stop=must_stop)
    training.epoch(0)
    assert asked == [0.25, 0.5, 0.75, 1.0]
    assert (training.stop.has_stopped, training.model.stop_training) == (False, False)
    training.begin(1)
    training.steps(0, 1)
    assert (training.stop.has_stopped, training.model.stop_training) == (True, True)
    training.end(1)
    assert asked[4:] == [1.25, 1.5]


def test_an_epoch_is_kept_and_reported_before_training_ends(make_training):
    order = []
    training = make_training(
        on_checkpoint=lambda checkpoint: order.append("kept"),
        on_progress=lambda done, entry: order.append("reported") if entry else None,
        must_stop=lambda done: order.append("asked") or done == 1.0,
    )
    training.epoch(0)
    assert order == ["asked"] * 3 + ["kept", "reported", "asked"]
    assert training.stop.has_stopped is True


def test_nobody_is_asked_after_a_loss_that_is_not_finite(make_training):
    asked, heard = [], []
    training = make_training(
        must_stop=lambda done: asked.append(done), on_progress=lambda *given: heard.append(given)
    )
    training.epoch(0, {"loss": np.nan, "accuracy": 0.1})
    assert asked == [0.25, 0.5, 0.75]
    assert [entry for _, entry in heard] == [None] * 4
    # Training ends by its own fault.
    assert (training.stop.has_stopped, training.model.stop_training) == (False, True)


def test_without_hooks_nothing_happens(make_training):
    training = make_training()
    training.epoch(0)
    assert training.model.stop_training is False
    assert Hooks().callbacks == ()
