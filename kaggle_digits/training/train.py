"""One fit: arrays in, a trained net and probabilities out; written with `keras` and numpy alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from kaggle_digits.config.schema import MemberSettings, Train
from kaggle_digits.training import backend, models

PREDICT_BATCH = 512
# Rows that the batch-norm statistics are estimated from again: with fewer the estimate is noisy,
# more change nothing that can be measured.
STATISTICS_ROWS = 8192


# Called with the epochs done, as a fraction, and the history's line at the end of each, else None.
Listener = Callable[[float, dict[str, float] | None], None]
# Called with the epochs done, as a fraction, after each step; true: go no further.
MustStop = Callable[[float], bool]


@dataclass(frozen=True)
class TrainingResult:
    """What a fit leaves behind.

    Attributes:
        make_model: makes the final net.
        history: one dict an epoch with `epoch`, `loss`, `accuracy` (of the training, on augmented
            images), `learning_rate`, `seconds`, `images_per_second`.
        seconds: wall time of the epochs.
        images: training images that were passed forward and backward in whole epochs.
        steps: steps in whole epochs.
        complete: all epochs were done. A net that was stopped has the average of its weights so
            far.
    """

    make_model: Callable[[], keras.Model]
    history: list[dict[str, float]]
    seconds: float
    images: int
    steps: int
    complete: bool

    @cached_property
    def model(self) -> keras.Model:
        """The averaged net with stock Keras layers only; uint8 pixels to logits.

        Made when it is first asked for: it costs seconds, and not every stopped fit needs it.
        """
        return self.make_model()


@dataclass(frozen=True)
class Checkpoint:
    """All that training goes on from after a whole epoch.

    Attributes:
        epochs: epochs done.
        arrays: every variable of the net (Dropout's seeds among them), then of the optimizer (its
            step count, moments and averages), in Keras's order. A saved model would not do: it
            loses the seeds.
        history: one dict for each epoch done.
    """

    epochs: int
    arrays: list[np.ndarray]
    history: list[dict[str, float]]


class _Batches(keras.utils.PyDataset):
    """Serves shuffled batches of one epoch; `begin` moves it to the next."""

    def __init__(self, images: Callable, labels: np.ndarray, rows: np.ndarray, size: int, seed):
        super().__init__(workers=0)
        self._images, self._rows, self._seed = images, rows, seed
        self._size = min(size, len(rows))
        self._targets = np.eye(10, dtype=np.float32)[labels]

    def begin(self, epoch: int) -> None:
        """Open the epoch's variant and draw its order, which follows from (seed, epoch) alone."""
        self._variant = self._images(epoch)
        self._order = np.random.default_rng([self._seed, epoch]).permutation(self._rows)

    @property
    def images(self) -> int:
        """Images an epoch."""
        return len(self) * self._size

    def __len__(self) -> int:
        # The rest of the order is left out: a smaller batch would be noise, and other rows are
        # left out in the next epoch.
        return len(self._rows) // self._size

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[step * self._size : (step + 1) * self._size]
        return self._variant[rows], self._targets[rows]


class _Progress(keras.callbacks.Callback):
    """Moves the batches to each epoch, keeps the history and hands on what was reached."""

    def __init__(
        self,
        batches: _Batches,
        history: list[dict[str, float]],
        listener: Listener | None,
        keep: Callable[[Checkpoint], None] | None,
        stop: MustStop | None,
    ):
        super().__init__()
        self._batches, self._listener, self._keep, self._stop = batches, listener, keep, stop
        self.history = list(history)

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self._epoch, self._start = epoch, time.monotonic()
        self._batches.begin(epoch)

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self._steps = batch + 1
        done = self._epoch + self._steps / len(self._batches)
        if self._listener:
            self._listener(done, None)
        if self._steps < len(self._batches) and self._stop and self._stop(done):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if self._steps < len(self._batches):
            return  # stopped on the way: the next process does the whole epoch
        seconds = time.monotonic() - self._start
        entry = {
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": seconds,
            "images_per_second": self._batches.images / seconds,
        }
        self.history.append(entry)
        if not math.isfinite(entry["loss"]):
            self.model.stop_training = True  # nothing good comes any more
            return
        if self._keep:
            arrays = [keras.ops.convert_to_numpy(value) for value in _variables(self.model)]
            self._keep(Checkpoint(epoch + 1, arrays, list(self.history)))
        if self._listener:
            self._listener(epoch + 1.0, entry)
        if self._stop and self._stop(epoch + 1.0):
            self.model.stop_training = True


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


def make_optimizer(config: Train, steps_per_epoch: int) -> keras.Optimizer:
    """Make the optimizer with its schedule: linear warm-up, then cosine to zero.

    Args:
        config: the `train` section.
        steps_per_epoch: batches an epoch.

    Returns:
        AdamW (Loshchilov & Hutter 2019) or SGD with Nesterov momentum; weight decay is decoupled
        and leaves batch norm and biases alone; with `ema_epochs` the weights are averaged with a
        momentum of 1 - 1 / (ema_epochs * steps_per_epoch).
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    # An average over fewer than two steps is no average, and its momentum would leave [0, 1).
    span = config.ema_epochs * steps_per_epoch
    common = {
        "learning_rate": schedule,
        "weight_decay": config.weight_decay or None,
        "use_ema": span >= 2,
        "ema_momentum": 1 - 1 / max(span, 2),
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=config.momentum, nesterov=True, **common)
    else:
        optimizer = keras.optimizers.AdamW(**common | {"weight_decay": config.weight_decay})
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    backend.leave_out_replicas(optimizer)
    return optimizer


def train(
    settings: MemberSettings,
    images: Callable[[int], np.ndarray],
    labels: np.ndarray,
    rows: np.ndarray,
    clean: np.ndarray,
    seed: int,
    listener: Listener | None = None,
    state: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
    stop: MustStop | None = None,
) -> TrainingResult:
    """Train one net for a fixed number of epochs.

    A loss that is infinite or not a number ends it at the end of its epoch, which is not kept.

    Args:
        settings: the member's resolved settings.
        images: epoch (from 0) -> (n, 28, 28) uint8, all rows, augmented for that epoch.
        labels: (n,) integers 0..9.
        rows: the fit's training rows, indices into `labels`; no other row is read.
        clean: (n, 28, 28) uint8, all rows as they came; the batch-norm statistics come from its
            training rows.
        seed: start of the weights, of Dropout and of the order of the rows.
        listener: is called after each step and each epoch.
        state: where an earlier call with the same arguments was after an epoch; training goes on
            there and ends with the same bytes as if it had never stopped.
        keep: is called with the state after each epoch.
        stop: is asked after each step whether training shall end there.

    Returns:
        The trained net, its history and its speed.
    """
    keras.utils.set_random_seed(seed)
    config = settings.train
    batches = _Batches(images, labels, rows, config.batch_size, seed)
    batches.begin(0)
    model = models.build(settings.model, seed, fused=True)
    model.compile(
        optimizer=make_optimizer(config, len(batches)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=["accuracy"],
    )
    if state:
        model.optimizer.build(model.trainable_variables)
        for variable, array in zip(_variables(model), state.arrays, strict=True):
            variable.assign(array)
    progress = _Progress(batches, state.history if state else [], listener, keep, stop)
    # One call of fit for all epochs: at its end Keras replaces the weights by their average.
    model.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=state.epochs if state else 0,
        shuffle=False,
        verbose=0,
        callbacks=[progress],
    )
    seconds = sum(entry["seconds"] for entry in progress.history)

    def make_model() -> keras.Model:
        final = models.build(settings.model, seed)
        final.set_weights(model.get_weights())
        if model.optimizer.use_ema:
            order = np.random.default_rng([seed, config.epochs]).permutation(rows)
            picked = np.sort(order[:STATISTICS_ROWS])
            estimate_statistics(final, clean[picked], config.batch_size)
        return final

    epochs = len(progress.history)
    return TrainingResult(
        make_model=make_model,
        history=progress.history,
        seconds=seconds,
        images=epochs * batches.images,
        steps=epochs * len(batches),
        complete=epochs == config.epochs and math.isfinite(progress.history[-1]["loss"]),
    )


def estimate_statistics(model: keras.Model, images: np.ndarray, batch_size: int) -> None:
    """Estimate every batch norm's mean and variance again, for the weights as they are now.

    An average of weights leaves these statistics behind: they belong to nets that are no more. As
    in Izmailov et al. 2018 (stochastic weight averaging), they are averaged over batches.

    Args:
        model: changed in place.
        images: (n, 28, 28) uint8 training images.
        batch_size: images a batch.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [n.momentum for n in norms], [d.rate for d in dropouts]
    sums = [
        [np.zeros(v.shape, np.float64) for v in (n.moving_mean, n.moving_variance)] for n in norms
    ]
    for norm in norms:
        norm.momentum = 0.0  # the moving value is then the batch's own
    for dropout in dropouts:
        dropout.rate = 0.0  # at prediction there is none
    count = max(1, len(images) // batch_size)
    for batch in np.array_split(images, count):
        model(batch, training=True)
        for norm, (mean, variance) in zip(norms, sums, strict=True):
            mean += keras.ops.convert_to_numpy(norm.moving_mean)
            variance += keras.ops.convert_to_numpy(norm.moving_variance)
    for norm, momentum, (mean, variance) in zip(norms, momenta, sums, strict=True):
        norm.momentum = momentum
        norm.moving_mean.assign((mean / count).astype(np.float32))
        norm.moving_variance.assign((variance / count).astype(np.float32))
    for dropout, rate in zip(dropouts, rates, strict=True):
        dropout.rate = rate


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Predict probabilities.

    Args:
        model: uint8 pixels to logits.
        images: (n, 28, 28) uint8.

    Returns:
        (n, 10) float32; each row sums to 1.
    """
    if not len(images):
        return np.zeros((0, 10), np.float32)  # Keras refuses to predict nothing
    logits = model.predict(images, batch_size=PREDICT_BATCH, verbose=0).astype(np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
