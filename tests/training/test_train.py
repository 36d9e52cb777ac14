import gc
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Augment, MemberSettings, Model, Stage, Train
from kaggle_digits.training import backend, batches, models, train
from kaggle_digits.training.batches import TrainingData
from kaggle_digits.training.callbacks import Hooks

ROWS = 44
TRAINING = np.arange(4, ROWS)  # the first four are held out
LABELS = np.arange(ROWS) % 10
NET = Model(stages=(Stage(width=3, kernel=5, stride=2, pool="last"),), dropout=0.25)
AS_DRAWN = Augment(stroke=0.0)  # images are not changed any more


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


def make_pixels(seed=1):
    """Noise, with a bright row of pixels at the place of the label."""
    pixels = np.random.default_rng(seed).integers(0, 128, (ROWS, 28, 28), np.uint8)
    pixels[np.arange(ROWS), 2 * LABELS + 4] = 255
    return pixels


def settings(net=NET, augment=AS_DRAWN, **changes):
    values = {
        "epochs": 2,
        "batch_size": 10,
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
        "warmup_epochs": 0.5,
        "ema_epochs": 0.0,
    } | changes
    return MemberSettings(model=net, train=Train(**values), augment=augment)


def fit(
    config=None,
    images=None,
    labels=LABELS,
    rows=TRAINING,
    clean=None,
    seed=5,
    checkpoint=None,
    heldout=(),
    **hooks,
):
    clean = make_pixels(9) if clean is None else clean
    heldout = np.array(heldout, np.int64)
    data = TrainingData(images or make_pixels, labels, rows, clean, heldout)
    return train.train(config or settings(), data, seed, checkpoint, Hooks(**hooks))


def weight_bytes(trained):
    return [weights.tobytes() for weights in trained.model.get_weights()]


@pytest.fixture(scope="module")
def usual():
    return fit(settings(ema_epochs=0.5))


# What a fit reads


def test_only_training_rows_are_read(usual):
    def poisoned(epoch):
        return np.concatenate([255 - make_pixels(epoch)[:4], make_pixels(epoch)[4:]])

    labels = np.concatenate([(LABELS[:4] + 3) % 10, LABELS[4:]])
    again = fit(settings(ema_epochs=0.5), images=poisoned, labels=labels, clean=poisoned(9))
    assert weight_bytes(again) == weight_bytes(usual)
    config = settings(augment=Augment(clean_epochs=1))
    again = fit(config, images=poisoned, labels=labels, clean=poisoned(9))
    assert weight_bytes(again) == weight_bytes(fit(config))


def test_every_training_input_is_read(usual):
    def changed_row(epoch):
        pixels = make_pixels(epoch)
        pixels[10] = 255 - pixels[10]
        return pixels

    labels = np.where(np.arange(ROWS) == 10, 7, LABELS)
    assert labels[10] != LABELS[10]
    config = settings(ema_epochs=0.5)
    for changed in ({"images": changed_row}, {"labels": labels}, {"clean": changed_row(9)}):
        assert weight_bytes(fit(config, **changed)) != weight_bytes(usual)


def test_variants_are_asked_for_in_order():
    asked = []

    def images(epoch):
        asked.append(epoch)
        return make_pixels(epoch)

    fit(settings(epochs=4), images=images)
    assert asked == sorted(asked)
    assert set(asked) == {0, 1, 2, 3}


def test_each_epoch_reads_its_own_variant(usual):
    def last_changed(epoch):
        return make_pixels(77 if epoch == 1 else epoch)

    changed = fit(settings(ema_epochs=0.5), images=last_changed)
    assert weight_bytes(changed) != weight_bytes(usual)
    assert changed.history[0]["loss"] == usual.history[0]["loss"]
    assert changed.history[1]["loss"] != usual.history[1]["loss"]


# What a fit leaves behind


def test_seconds_of_an_epoch_count_what_changes_its_images(monkeypatch):
    changed = batches.Batches._changed

    def slow(self):
        time.sleep(0.3 if self._epoch else 0)
        return changed(self)

    monkeypatch.setattr(batches.Batches, "_changed", slow)
    assert fit(settings()).history[1]["seconds"] > 0.3


def test_history(usual):
    assert [list(entry) for entry in usual.history] == 2 * [
        ["epoch", "loss", "accuracy", "learning_rate", "seconds", "images_per_second"]
    ]
    assert [entry["epoch"] for entry in usual.history] == [1, 2]
    # 8 steps, 2 of them up: after the first epoch 2 of the 6 steps down are done, at the end all.
    expected = [3e-3 * 0.5 * (1 + np.cos(np.pi / 3)), 0.0]
    found = [entry["learning_rate"] for entry in usual.history]
    assert found == pytest.approx(expected, abs=1e-8)
    for entry in usual.history:
        assert entry["images_per_second"] * entry["seconds"] == pytest.approx(40)
        assert 0 <= entry["accuracy"] <= 1
    assert usual.images == 80
    assert usual.seconds >= sum(entry["seconds"] for entry in usual.history)


def test_listener_hears_of_every_step_and_epoch():
    heard = []
    trained = fit(on_progress=lambda done, entry: heard.append((done, entry)))
    steps = [done for done, entry in heard if entry is None]
    assert steps == pytest.approx([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])
    assert [(done, entry) for done, entry in heard if entry] == [
        (1.0, trained.history[0]),
        (2.0, trained.history[1]),
    ]
    assert heard[4][0] == 1.0  # right after the epoch's last step


def test_a_fit_repeats_to_the_last_bit(usual):
    again, other = (fit(settings(ema_epochs=0.5), seed=seed) for seed in (5, 6))
    pixels = make_pixels(3)
    assert weight_bytes(again) == weight_bytes(usual)
    wanted = train.predict(usual.model, pixels).tobytes()
    assert train.predict(again.model, pixels).tobytes() == wanted
    assert weight_bytes(other) != weight_bytes(usual)
    assert train.predict(other.model, pixels).tobytes() != wanted


def test_training_goes_on_from_a_kept_state(usual):
    states = []

    def run(**options):
        return fit(settings(ema_epochs=0.5), on_checkpoint=states.append, **options)

    whole = run()
    assert weight_bytes(whole) == weight_bytes(usual)  # keeping changes nothing
    assert [state.epochs for state in states] == [1, 2]
    assert states[0].history == whole.history[:1]
    resumed = run(checkpoint=states[0])
    assert weight_bytes(resumed) == weight_bytes(usual)
    assert resumed.history[0] == whole.history[0]
    assert resumed.history[1]["loss"] == whole.history[1]["loss"]
    assert resumed.images == usual.images


def test_muon_and_images_that_a_fit_changes_go_on_from_a_kept_state(usual):
    states = []
    augment = Augment(shift=2, stroke=0.5, cutout=5, clean_epochs=1)
    config = settings(augment=augment, optimizer="muon", ema_epochs=0.5, mixup=0.4)
    whole = fit(config, on_checkpoint=states.append)
    assert weight_bytes(whole) != weight_bytes(usual)
    assert weight_bytes(fit(config, checkpoint=states[0])) == weight_bytes(whole)
    # Of a kernel it keeps no second moment.
    adamw = []
    fit(settings(ema_epochs=0.5, epochs=1), on_checkpoint=adamw.append)
    assert len(states[0].arrays) == len(adamw[0].arrays) - 1


# Stopping


def stopping_at(*moments):
    """A `stop` that answers yes at some moments, and all the moments that it was asked at."""
    asked = []

    def stop(done):
        asked.append(done)
        return any(done == pytest.approx(moment) for moment in moments)

    return stop, asked


def test_it_is_asked_after_each_step_whether_to_stop(usual):
    config, states, told = settings(ema_epochs=0.5), [], []
    stop, asked = stopping_at(2.0)  # the end of the last epoch

    def keep(state):
        states.append(state)
        told.append(len(asked))

    trained = fit(config, must_stop=stop, on_checkpoint=keep)
    assert asked == pytest.approx([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])
    assert told == [3, 7]  # an epoch is kept before anybody can stop
    # Whoever says yes at the very end stops nothing.
    assert weight_bytes(trained) == weight_bytes(usual)
    for each in (trained, usual):
        assert (each.complete, each.steps, each.images) == (True, 8, 80)
    # Where all epochs were done already, only the average is made.
    stop, asked = stopping_at()
    again = fit(config, checkpoint=states[-1], must_stop=stop)
    assert asked == []
    assert weight_bytes(again) == weight_bytes(usual)
    assert (again.complete, again.steps, again.images) == (True, 8, 80)


def test_stop_in_the_middle_of_an_epoch(monkeypatch, usual):
    states, heard, config = [], [], settings(ema_epochs=0.5)
    stop, _ = stopping_at(1.5)
    trained, steps = follow(
        monkeypatch, config, must_stop=stop, on_checkpoint=states.append, heard=heard
    )
    assert len(steps) == 6
    assert trained.complete is False
    # Nothing of the second epoch is told or kept.
    assert [entry["epoch"] for entry in trained.history] == [1]
    assert [entry["epoch"] for entry in heard] == [1]
    assert [state.epochs for state in states] == [1]
    assert (trained.steps, trained.images) == (4, 40)
    assert trained.seconds == trained.history[0]["seconds"]
    # But its steps are in the net, which has the average of the weights.
    check_average(trained, steps, momentum=0.5)
    assert np.isfinite(train.predict(trained.model, make_pixels())).all()
    # The next process does the whole epoch, as if nobody had stopped.
    resumed = fit(config, checkpoint=states[-1])
    assert weight_bytes(resumed) == weight_bytes(usual)
    assert (resumed.complete, resumed.steps, resumed.images) == (True, 8, 80)


def test_stop_at_the_end_of_an_epoch():
    states = []
    config = settings(epochs=3, ema_epochs=0.5)
    trained = fit(config, must_stop=stopping_at(2.0)[0], on_checkpoint=states.append)
    assert trained.complete is False
    assert [entry["epoch"] for entry in trained.history] == [1, 2]
    assert [state.epochs for state in states] == [1, 2]
    assert (trained.steps, trained.images) == (8, 80)


def test_stop_in_the_first_epoch():
    states = []
    trained = fit(
        settings(ema_epochs=0.5), must_stop=stopping_at(0.25)[0], on_checkpoint=states.append
    )
    assert (trained.complete, trained.history, states) == (False, [], [])
    assert (trained.steps, trained.images, trained.seconds) == (0, 0, 0)
    assert np.isfinite(train.predict(trained.model, make_pixels())).all()


def diverging(**changes):
    values = {"optimizer": "sgd", "learning_rate": 1e38, "warmup_epochs": 0.0} | changes
    return settings(**values)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_loss_that_is_no_number_ends_training(epochs):
    states, told = [], []
    trained = fit(
        diverging(epochs=epochs),
        on_progress=lambda done, entry: told.append(entry),
        on_checkpoint=states.append,
    )
    assert [entry["epoch"] for entry in trained.history] == [1]
    assert not np.isfinite(trained.history[0]["loss"])
    assert trained.complete is False  # nor is it where this was the last epoch
    assert states == []
    assert told == [None] * 4


def test_fits_leave_nothing_behind():
    def graphs():
        gc.collect()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    config = monitored(epochs=2)
    fit(config, heldout=HELDOUT)
    before = graphs()
    for seed in range(3):
        fit(config, heldout=HELDOUT, seed=seed)
    # TensorFlow keeps the graph of a step with which it registers a gradient function.
    assert graphs() <= before


def test_returned_net_has_stock_layers_only(usual):
    assert {type(layer).__module__.partition(".")[0] for layer in usual.model.layers} == {"keras"}


def test_rows_that_fill_no_batch_are_left_out():
    trained = fit(settings(batch_size=16))
    assert trained.images == 2 * 2 * 16  # two batches of 16 of the 40 rows


def test_fewer_rows_than_a_batch():
    trained = fit(settings(batch_size=128, ema_epochs=1.0), rows=np.arange(7))
    assert trained.images == 2 * 7
    assert np.isfinite(train.predict(trained.model, make_pixels())).all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_net_learns(optimizer):
    rate = {"adamw": 0.02, "sgd": 0.1}[optimizer]
    net = Model(stages=(Stage(width=8, kernel=5, stride=2, pool="last"),), dropout=0.1)
    config = settings(net, optimizer=optimizer, epochs=20, learning_rate=rate, ema_epochs=1.0)
    trained = fit(config)
    answers = train.predict(trained.model, make_pixels(33)).argmax(axis=1)
    assert (answers == LABELS).mean() > 0.9


# The loss


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_with_label_smoothing_by_hand(smoothing):
    net = NET.model_copy(update={"dropout": 0.0})
    config = settings(net, epochs=1, batch_size=40, warmup_epochs=0.0, label_smoothing=smoothing)
    first = fit(config).history[0]
    # One step, so its loss is that of the fresh net.
    fresh = models.build(net, seed=5)
    logits = keras.ops.convert_to_numpy(fresh(make_pixels(0)[TRAINING], training=True))
    logits = logits.astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.eye(10)[LABELS[TRAINING]] * (1 - smoothing) + smoothing / 10
    assert first["loss"] == pytest.approx(-(targets * log_shares).sum(axis=1).mean(), rel=1e-4)
    expected = (logits.argmax(axis=1) == LABELS[TRAINING]).mean()
    assert first["accuracy"] == pytest.approx(expected)


# Averaged weights


def follow(monkeypatch, config, heard=None, **options):
    """Train; return the fit and the training net's weights after each step."""
    built, steps = [], []
    build = models.build

    def recording_build(*args, **kwargs):
        built.append(build(*args, **kwargs))
        return built[-1]

    def listener(done, entry):
        if entry is None:
            getattr(built[0], "jax_state_sync", lambda: None)()
            steps.append([np.array(weights) for weights in built[0].get_weights()])
        elif heard is not None:
            heard.append(entry)

    monkeypatch.setattr(train.models, "build", recording_build)
    return fit(config, on_progress=listener, **options), steps


def check_average(trained, steps, momentum):
    """Compare a net with the moving average of the weights after each step."""
    average = steps[0]
    for weights in steps[1:]:
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights, strict=True)]
    found = dict(
        zip((v.path for v in trained.model.weights), trained.model.get_weights(), strict=True)
    )
    expected = dict(zip(found, average, strict=True))
    learnt = [path for path in found if "moving" not in path and "seed" not in path]
    assert len(learnt) == 5
    for path in learnt:
        np.testing.assert_allclose(found[path], expected[path], rtol=1e-4, atol=1e-6)


def test_without_averaging_the_last_weights_stay(monkeypatch):
    trained, steps = follow(monkeypatch, settings(ema_epochs=0.0))
    assert len(steps) == 8
    for variable, last in zip(trained.model.weights, steps[-1], strict=True):
        # The statistics come from clean images all the same, see below.
        if "moving" not in variable.path:
            assert np.array(variable).tobytes() == last.tobytes()


@pytest.mark.parametrize("ema_epochs", [0.0, 1.0])
def test_statistics_come_from_clean_images_with_and_without_averaging(ema_epochs):
    trained = fit(settings(ema_epochs=ema_epochs))
    again = models.build(NET, seed=1)
    again.set_weights(trained.model.get_weights())
    picked = np.sort(np.random.default_rng([5, 2]).permutation(TRAINING))
    train.estimate_statistics(again, make_pixels(9)[picked], 10)
    for a, b in zip(trained.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


class Counting(keras.callbacks.Callback):
    made = 0
    stop_after = None

    def __init__(self):
        super().__init__()
        type(self).made += 1

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 == self.stop_after


def test_callbacks_of_a_users_own(usual, monkeypatch):
    monkeypatch.setattr(Counting, "made", 0)
    config = settings(ema_epochs=0.5)
    assert weight_bytes(fit(config, callbacks=[Counting, Counting])) == weight_bytes(usual)
    assert Counting.made == 2
    # One that ends training ends the fit: it is not taken for one that time cut off.
    monkeypatch.setattr(Counting, "stop_after", 1)
    trained = fit(config, callbacks=[Counting])
    assert (len(trained.history), trained.complete) == (1, True)


def test_average_of_the_weights_by_hand(monkeypatch):
    trained, steps = follow(monkeypatch, settings(ema_epochs=1.0))  # over 4 steps
    assert len(steps) == 8
    check_average(trained, steps, momentum=0.75)
    # The statistics are those of the averaged net on clean images, all batches weighing the same.
    again = models.build(NET, seed=1)
    again.set_weights(trained.model.get_weights())
    picked = np.sort(np.random.default_rng([5, 2]).permutation(TRAINING))
    train.estimate_statistics(again, make_pixels(9)[picked], 10)
    for a, b in zip(trained.model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_statistics_come_from_a_limited_number_of_training_rows(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "STATISTICS_ROWS", 12)
    monkeypatch.setattr(
        train, "estimate_statistics", lambda model, images, size: seen.append((images, size))
    )
    trained = fit(settings(ema_epochs=1.0))
    assert seen == []  # not every fit's net is asked for
    assert trained.model is trained.model
    ((images, size),) = seen
    clean = make_pixels(9)
    rows = [int(np.flatnonzero((clean == image).all(axis=(1, 2))).item()) for image in images]
    assert (len(set(rows)), size) == (12, 10)
    assert set(rows) <= set(TRAINING.tolist())


# Schedules by epochs, held-out rows, early stopping

HELDOUT = np.arange(4)
PLATEAU = {"monitor": "val_loss", "factor": 0.5, "patience": 1}


def monitored(epochs=6, schedule="constant", patience=2, **changes):
    """Settings whose fits look at the held-out rows; with large steps these get worse at times."""
    return settings(
        epochs=epochs,
        learning_rate=0.05,
        schedule=schedule,
        plateau=PLATEAU,
        early_stopping={"patience": patience},
        **changes,
    )


def test_rates_of_an_exponential_schedule():
    config = settings(epochs=3, schedule="exponential", learning_rate=0.5, decay_factor=0.5)
    rates = [entry["learning_rate"] for entry in fit(config).history]
    assert rates == pytest.approx([0.5, 0.25, 0.125])
    trained = fit(config)
    assert "val_loss" not in trained.history[0]  # nobody asks for it
    assert (trained.kept_epoch, trained.kept) == (None, trained.history[-1])


def test_figures_of_the_held_out_rows_by_hand():
    trained = fit(monitored(epochs=1, norm_statistics="moving"), heldout=HELDOUT)
    (entry,) = trained.history
    assert list(entry) == [
        *("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"),
        *("seconds", "images_per_second"),
    ]
    probabilities = train.predict(trained.model, make_pixels(9)[HELDOUT]).astype(np.float64)
    targets = np.eye(10)[LABELS[HELDOUT]] * (1 - 0.05) + 0.05 / 10
    expected = -(targets * np.log(probabilities)).sum(axis=1).mean()
    assert entry["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert entry["val_accuracy"] == (probabilities.argmax(axis=1) == LABELS[HELDOUT]).mean()


def test_looking_at_held_out_rows_changes_nothing_but_the_end():
    config = settings(epochs=3, ema_epochs=0.5)
    patient = settings(epochs=3, ema_epochs=0.5, early_stopping={"patience": 9})
    states, patient_states = [], []
    fit(config, on_checkpoint=states.append)
    fit(patient, on_checkpoint=patient_states.append, heldout=HELDOUT)
    for one, other in zip(states, patient_states, strict=True):
        assert all(same_arrays(one.arrays, other.arrays))


def same_arrays(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


@pytest.fixture(scope="module")
def ended():
    """A fit that early stopping has ended, with its checkpoints."""
    states = []
    config = monitored(epochs=30, ema_epochs=0.5)
    return config, fit(config, heldout=HELDOUT, on_checkpoint=states.append), states


def test_early_stopping_ends_a_fit_and_keeps_its_best_weights(ended):
    config, trained, states = ended
    losses = [entry["val_loss"] for entry in trained.history]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 30
    assert (trained.complete, trained.steps) == (True, 4 * len(losses))
    assert trained.kept_epoch == best
    assert trained.kept is trained.history[best - 1]
    # The same training of fewer epochs ends with these weights, but for the rows of its statistics.
    shorter = fit(config.model_copy(update={"train": fixed(config, best)}))
    names = [variable.path for variable in trained.model.weights]
    pairs = zip(names, trained.model.get_weights(), shorter.model.get_weights(), strict=True)
    for name, one, other in pairs:
        assert "moving" in name or np.array_equal(one, other), name
    assert len(states[-1].best) == len(names)


def fixed(config, epochs):
    """The `train` section with a number of epochs, without a look at held-out rows."""
    values = config.train.model_dump() | {"epochs": epochs, "early_stopping": {}}
    return Train(**values)


def test_without_an_early_end_the_best_weights_count_too():
    config = monitored(epochs=3, patience=9, norm_statistics="moving")
    weights = []
    trained = fit(
        config,
        heldout=HELDOUT,
        on_checkpoint=lambda state: weights.append([*map(np.array, state.best)]),
    )
    assert len(trained.history) == 3
    assert trained.complete
    best = int(np.argmin([entry["val_loss"] for entry in trained.history]))
    assert all(same_arrays(trained.model.get_weights(), weights[best]))
    assert all(same_arrays(trained.model.get_weights(), weights[-1]))


@pytest.mark.parametrize(
    "config",
    [
        monitored(epochs=30, ema_epochs=0.5),
        monitored(4, "plateau", patience=None, norm_statistics="moving"),
        monitored(4, "plateau", patience=3, ema_momentum=0.9, ema_warmup=True),
        settings(epochs=3, schedule="exponential", optimizer="adam", ema_warmup=True),
        settings(epochs=5, row_fraction=0.5, ema_epochs=0.5),
        monitored(5, "plateau", patience=9, row_fraction=0.5),
    ],
)
def test_a_fit_ends_with_the_same_bytes_wherever_it_was_killed(config):
    states = []
    whole = fit(config, heldout=HELDOUT, on_checkpoint=states.append)
    expected = weight_bytes(whole)
    assert len(states) == len(whole.history)
    for state in states:
        resumed = fit(config, heldout=HELDOUT, checkpoint=state)
        assert weight_bytes(resumed) == expected, state.epochs
        assert figures(resumed) == figures(whole)
        assert resumed.complete


def figures(trained):
    """The history without what the clock says."""
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in entry.items() if k not in clock} for entry in trained.history]


def test_a_plateau_lowers_the_rate_as_the_history_says():
    trained = fit(monitored(schedule="plateau", patience=None), heldout=HELDOUT)
    found = [entry["learning_rate"] for entry in trained.history]
    expected, best = [0.05], np.inf
    for entry in trained.history[:-1]:
        better = entry["val_loss"] < best - 1e-4
        best = entry["val_loss"] if better else best
        expected.append(expected[-1] * (1 if better else 0.5))
    assert found == pytest.approx(expected)
    assert found[-1] < 0.05


def test_a_fit_that_time_stops_has_the_weights_at_hand():
    config = monitored(patience=5, norm_statistics="moving")
    trained = fit(config, heldout=HELDOUT, must_stop=stopping_at(2.25)[0])
    assert trained.complete is False
    shorter = fit(config, heldout=HELDOUT, must_stop=stopping_at(2.0)[0])
    assert weight_bytes(trained) != weight_bytes(shorter)


def test_early_stopping_and_a_stop_in_time_at_once_are_an_end(ended):
    config, trained, _ = ended
    stop, _ = stopping_at(float(len(trained.history)))
    again = fit(config, heldout=HELDOUT, must_stop=stop)
    assert again.complete
    assert weight_bytes(again) == weight_bytes(trained)


def test_moving_statistics_are_those_of_training(monkeypatch):
    trained, steps = follow(monkeypatch, settings(norm_statistics="moving"))
    assert all(same_arrays(trained.model.get_weights(), steps[-1]))


# Batch-norm statistics


def make_norms():
    """Two batch norms in a row behind a Dropout; no convolution, so numpy follows easily."""
    inputs = keras.Input((28, 28), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.5, seed=1, name="dropout")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=0.01, name="first")(x)
    x = keras.layers.BatchNormalization(momentum=0.8, epsilon=0.01, name="second")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(12, 6, [6, 6]), (11, 4, [6, 5]), (3, 8, [3])]
)
def test_statistics_against_numpy(count, batch_size, sizes):
    model, images = make_norms(), make_pixels()[:count]
    first, second = model.get_layer("first"), model.get_layer("second")
    gamma, beta = np.full(784, 3, np.float32), np.full(784, 0.5, np.float32)
    first.set_weights([gamma, beta, np.full(784, 9, np.float32), np.full(784, 9, np.float32)])
    train.estimate_statistics(model, images, batch_size)
    batches = np.split(images.reshape(count, 784) / 255, np.cumsum(sizes)[:-1])
    mean = np.mean([batch.mean(axis=0) for batch in batches], axis=0)
    variance = np.mean([batch.var(axis=0) for batch in batches], axis=0)
    found = first.get_weights()
    np.testing.assert_allclose(found[2], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[3], variance, rtol=1e-3, atol=1e-6)
    assert np.array_equal(found[0], gamma)
    assert np.array_equal(found[1], beta)
    # The second one sees what the first makes of each batch: mean 0.5 and 9 var / (var + epsilon).
    shares = [9 * batch.var(axis=0) / (batch.var(axis=0) + 0.01) for batch in batches]
    np.testing.assert_allclose(second.get_weights()[2], 0.5, atol=1e-4)
    np.testing.assert_allclose(second.get_weights()[3], np.mean(shares, axis=0), rtol=1e-3)


def test_statistics_leave_momenta_and_dropout_as_they_were():
    model = make_norms()
    train.estimate_statistics(model, make_pixels(), 10)
    assert model.get_layer("first").momentum == 0.9
    assert model.get_layer("second").momentum == 0.8
    assert model.get_layer("dropout").rate == 0.5


# Prediction


def make_constant(logits):
    """A net that answers the same logits for every image."""
    inputs = keras.Input((28, 28), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1.0)(inputs))
    x = keras.layers.Dense(10, kernel_initializer="zeros", name="logits")(x)
    model = keras.Model(inputs, x)
    model.get_layer("logits").set_weights([np.zeros((784, 10)), np.float32(logits)])
    return model


def test_softmax_by_hand():
    # Logits log 1, log 2 ... log 10: the probabilities are 1/55, 2/55 ... 10/55.
    found = train.predict(make_constant(np.log(np.arange(1, 11))), make_pixels()[:3])
    assert (found.shape, found.dtype) == ((3, 10), np.float32)
    np.testing.assert_allclose(found, np.tile(np.arange(1, 11) / 55, (3, 1)), rtol=1e-5)


def test_softmax_of_huge_logits():
    found = train.predict(make_constant([5000.0, 5000.0, *[-5000.0] * 8]), make_pixels()[:1])
    assert found.tolist() == [[0.5, 0.5, *[0.0] * 8]]


def test_nothing_is_predicted_for_no_rows(usual):
    found = train.predict(usual.model, make_pixels()[:0])
    assert (found.shape, found.dtype) == ((0, 10), np.float32)


def test_predicted_rows_sum_to_one(usual):
    found = train.predict(usual.model, make_pixels())
    assert found.shape == (ROWS, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found >= 0).all()


def make_lookup(logits):
    """A net whose answer to one bright pixel stands in a table: (row, column) -> {class: logit}."""
    kernel = np.zeros((28, 28, 10), np.float32)
    for (row, column), answers in logits.items():
        for digit, value in answers.items():
            kernel[row, column, digit] = value / 255
    model = make_constant(np.zeros(10))
    model.get_layer("logits").set_weights([kernel.reshape(784, 10), np.zeros(10, np.float32)])
    return model


def test_unsure_predictions_are_means_over_moved_copies():
    above_and_below = {(9, 10): {3: 50}, (11, 10): {3: 50}}
    beside = {(10, 9): {4: 50}, (10, 11): {5: 50}}
    sure = {(3, 3): {7: 50}, (3, 4): {8: 50}, (4, 3): {8: 50}}
    net = make_lookup(above_and_below | beside | sure)
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 10, 10] = images[1, 3, 3] = 255

    # By itself 0.1 for each class; two copies say 3, one 4 and one 5.
    expected = [0.02, 0.02, 0.02, 0.42, 0.22, 0.22, *[0.02] * 4]
    found = train.predict(net, images, test_shift=1)
    np.testing.assert_allclose(found, [expected, np.eye(10)[7]], atol=1e-6)
    # Two pixels away is nothing, and without a shift nobody looks.
    for shift in (0, 2):
        found = train.predict(net, images, test_shift=shift)
        np.testing.assert_allclose(found, [[0.1] * 10, np.eye(10)[7]], atol=1e-6)


OF_ANY_BACKEND = ("test_models.py", "test_optimizers.py", "test_callbacks.py", "test_train.py")


# Precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_learns_is_float32(precision):
    nets, states = [], []

    class Seen(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            nets.append(self.model)

    config = settings(NET.model_copy(update={"dense": (6,)}), ema_epochs=0.5, precision=precision)
    trained = fit(config, on_checkpoint=states.append, callbacks=[Seen])
    net = nets[0]
    assert net.get_layer("stage1_1_conv").compute_dtype == precision
    kinds = {variable.dtype for variable in (*net.variables, *net.optimizer.variables)}
    assert kinds - {"int32", "int64"} == {"float32"}  # the others count steps, or are seeds
    pixels, targets = make_pixels(), np.eye(10, dtype=np.float32)[LABELS]
    logits = net(pixels, training=True)
    loss = net.compute_loss(y=keras.ops.convert_to_tensor(targets), y_pred=logits)
    kinds = [keras.backend.standardize_dtype(each.dtype) for each in (logits, loss)]
    assert kinds == ["float32", "float32"]
    # What is kept is a plain net with the same weights.
    assert {layer.dtype_policy.name for layer in trained.model.layers[1:]} == {"float32"}
    assert {type(layer).__module__.partition(".")[0] for layer in trained.model.layers} == {"keras"}
    kernels = [layer.kernel for layer in (*net.layers, *trained.model.layers) if has_kernel(layer)]
    half = len(kernels) // 2
    for one, other in zip(kernels[:half], kernels[half:], strict=True):
        np.testing.assert_array_equal(one, other)


def has_kernel(layer):
    return hasattr(layer, "kernel")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_ends_with_the_same_bytes_wherever_it_was_killed(precision, usual):
    config, states = settings(ema_epochs=0.5, precision=precision), []
    whole = fit(config, on_checkpoint=states.append)
    assert weight_bytes(fit(config, checkpoint=states[0])) == weight_bytes(whole)
    # Nearly what float32 comes to, and not the same.
    assert whole.history[-1]["loss"] == pytest.approx(usual.history[-1]["loss"], rel=0.02)
    assert weight_bytes(whole) != weight_bytes(usual)


def test_the_scale_of_the_loss_is_in_a_checkpoint():
    states = []
    fit(settings(precision="float16"), on_checkpoint=states.append)
    scalars = [array.item() for array in states[0].arrays if array.shape == ()]
    # After the four steps of an epoch: how many since it changed, and what Keras begins with.
    assert (4.0, 2.0**15) in itertools.pairwise(scalars)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_net_learns_in_low_precision(precision, optimizer):
    config = settings(epochs=12, learning_rate=0.02, precision=precision, optimizer=optimizer)
    assert fit(config, images=lambda epoch: make_pixels(epoch)).history[-1]["accuracy"] > 0.5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_training_on_jax():
    files = [str(Path(__file__).with_name(name)) for name in OF_ANY_BACKEND]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
