"""What happens while a net trains, as Keras callbacks with one job each.

`train` puts them in order: a checkpoint is kept before anyone else hears of an epoch or stops it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from kaggle_digits.config.train_section import Train
from kaggle_digits.training import monitoring
from kaggle_digits.training.batches import Batches
from kaggle_digits.training.hard_rows import BatchLosses


@dataclass(frozen=True)
class Checkpoint:
    """All that training resumes from after a whole epoch.

    Attributes:
        epochs: epochs done.
        arrays: every variable of the net (Dropout's seeds among them), then of the optimizer (its
            step count, moments and averages), in Keras's order. A saved model would not do: it
            loses the seeds.
        history: one dict for each epoch done.
        best: with early stopping the weights of the best epoch, as `finished_weights` returns
            them; else empty.
        losses: of each training row, as `Batches.losses`.
    """

    epochs: int
    arrays: list[np.ndarray]
    history: list[dict[str, float]]
    best: Sequence[np.ndarray] = ()
    losses: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Hooks:
    """Who hears of a training and has a say in it, which is no part of a fit's identity.

    Attributes:
        on_progress: is called with the epochs done, as a fraction, after each step, and after each
            epoch with its entry of the history too.
        on_checkpoint: is called with the checkpoint after each epoch.
        must_stop: is asked after each step, with the epochs done, whether training ends there.
        callbacks: factories of a user's own callbacks; each makes a new one for every net.
    """

    on_progress: Callable[[float, dict[str, float] | None], None] = lambda done, entry: None
    on_checkpoint: Callable[[Checkpoint], None] | None = None
    must_stop: Callable[[float], bool] = lambda done: False
    callbacks: Sequence[Callable[[], keras.callbacks.Callback]] = ()


def variables(model: keras.Model) -> list[keras.Variable]:
    """List what a checkpoint holds: the net's variables, then the optimizer's."""
    return [*model.variables, *model.optimizer.variables]


def _to_numpy(value) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def finished_weights(model: keras.Model) -> list[np.ndarray]:
    """Return the weights that a net in training would have if it ended now, its averages if any."""
    trained = [np.array(value) for value in map(_to_numpy, model.trainable_variables)]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    weights = [np.array(value) for value in map(_to_numpy, model.weights)]
    for variable, value in zip(model.trainable_variables, trained, strict=True):
        variable.assign(value)
    return weights


class History(keras.callbacks.Callback):
    """Keeps an entry for each whole epoch and ends a training whose loss is not finite.

    Args:
        entries: those of the epochs done.
        steps: batches in an epoch.
        images: images in an epoch.
        evaluate: returns figures of the held-out rows after an epoch; None: nobody looks at them.

    Attributes:
        epochs_done: as a fraction.
        is_kept: whether the epoch that has just ended is whole and its loss finite.
    """

    def __init__(
        self,
        entries: Sequence[dict[str, float]],
        steps: int,
        images: int,
        evaluate: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        super().__init__()
        self.entries, self.steps = list(entries), steps
        self.epochs_done, self.is_kept = float(len(self.entries)), False
        self._images, self._evaluate = images, evaluate or dict

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Start the clock."""
        self._epoch, self._start = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Count the step."""
        self._steps_done = batch + 1
        self.epochs_done = self._epoch + self._steps_done / self.steps

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Append the epoch's entry; one that was cut off has none, it is done again as a whole."""
        self.is_kept = False
        if self._steps_done < self.steps:
            return
        heldout = self._evaluate()
        seconds = time.monotonic() - self._start
        entry = {
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            **heldout,
            "learning_rate": float(_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": seconds,
            "images_per_second": self._images / seconds,
        }
        self.entries.append(entry)
        self.is_kept = math.isfinite(entry["loss"])
        if not self.is_kept:
            self.model.stop_training = True  # nothing good comes after it


class SetLearningRate(keras.callbacks.Callback):
    """Gives each epoch its learning rate, which follows from the epochs before."""

    def __init__(self, history: History, train: Train) -> None:
        super().__init__()
        self._history, self._train = history, train

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Set the rate."""
        rate = monitoring.learning_rate(self._train, self._history.entries)
        self.model.optimizer.learning_rate = rate


class EarlyStopping(keras.callbacks.Callback):
    """Keeps the weights of the best epoch and ends training some epochs after it.

    Keras's own does not know what it has seen before it was resumed.

    Args:
        history: whose entries it looks at.
        train: the `train` section.
        best: the weights of the best of the epochs done.

    Attributes:
        best: the weights of the best epoch so far.
    """

    def __init__(self, history: History, train: Train, best: Sequence[np.ndarray]) -> None:
        super().__init__()
        self._history, self._train = history, train
        self.best = best

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Look at the epoch."""
        if not self._history.is_kept:
            return
        if monitoring.best_epoch(self._train, self._history.entries) == epoch + 1:
            self.best = finished_weights(self.model)
        if monitoring.is_over(self._train, self._history.entries):
            self.model.stop_training = True


class RememberLosses(keras.callbacks.Callback):
    """Tells the batches after each epoch which rows were hard."""

    def __init__(self, history: History, batches: Batches, losses: BatchLosses) -> None:
        super().__init__()
        self._history, self._batches, self._losses = history, batches, losses

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Pass the losses on."""
        if self._history.is_kept:
            self._batches.remember(self._losses.of_images)


class SaveCheckpoint(keras.callbacks.Callback):
    """Makes a checkpoint after each epoch and passes it on."""

    def __init__(
        self,
        history: History,
        batches: Batches,
        on_checkpoint: Callable[[Checkpoint], None],
        early_stopping: EarlyStopping | None = None,
    ) -> None:
        super().__init__()
        self._history, self._batches, self._on_checkpoint = history, batches, on_checkpoint
        self._early_stopping = early_stopping

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Copy all variables."""
        if self._history.is_kept:
            arrays = [_to_numpy(value) for value in variables(self.model)]
            best = self._early_stopping.best if self._early_stopping else ()
            entries = list(self._history.entries)
            losses = self._batches.losses.copy()
            self._on_checkpoint(Checkpoint(epoch + 1, arrays, entries, best, losses))


class ReportProgress(keras.callbacks.Callback):
    """Says how far training is, after each step and each epoch."""

    def __init__(self, history: History, on_progress: Callable) -> None:
        super().__init__()
        self._history, self._on_progress = history, on_progress

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Report the step."""
        self._on_progress(self._history.epochs_done, None)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Report the epoch."""
        if self._history.is_kept:
            self._on_progress(epoch + 1.0, self._history.entries[-1])


class StopInTime(keras.callbacks.Callback):
    """Ends training where it is asked to.

    Attributes:
        has_stopped: whether it did.
    """

    def __init__(self, history: History, must_stop: Callable[[float], bool]) -> None:
        super().__init__()
        self._history, self._must_stop = history, must_stop
        self.has_stopped = False

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Ask after a step within an epoch."""
        if batch + 1 < self._history.steps:
            self._ask(self._history.epochs_done)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Ask after a whole epoch."""
        if self._history.is_kept:
            self._ask(epoch + 1.0)

    def _ask(self, epochs_done: float) -> None:
        if self._must_stop(epochs_done):
            self.has_stopped = self.model.stop_training = True
