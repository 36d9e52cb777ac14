"""One fit: arrays in, a trained net and probabilities out; written with `keras` and numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from kaggle_digits.config.schema import MemberSettings
from kaggle_digits.errors import UserError
from kaggle_digits.training import callbacks, models
from kaggle_digits.training.callbacks import Checkpoint, Hooks
from kaggle_digits.training.optimizers import make_optimizer

PREDICT_BATCH = 512
# Rows that the batch-norm statistics are estimated from again: with fewer the estimate is noisy,
# more change nothing that can be measured.
STATISTICS_ROWS = 8192


@dataclass(frozen=True)
class TrainingData:
    """What a net is trained on.

    Attributes:
        images: epoch (from 0) -> (n, 28, 28) uint8, all rows, augmented for that epoch.
        labels: (n,) integers 0..9.
        rows: the fit's training rows, indices into `labels`; no other row is read.
        clean: (n, 28, 28) uint8, all rows as they came; the batch-norm statistics come from its
            training rows.
    """

    images: Callable[[int], np.ndarray]
    labels: np.ndarray
    rows: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True)
class TrainingResult:
    """What a training ends with.

    Attributes:
        make_model: makes the final net.
        history: one dict for each epoch with `epoch`, `loss`, `accuracy` (of the training, on
            augmented images), `learning_rate`, `seconds`, `images_per_second`.
        seconds: wall time of the epochs.
        images: training images that were passed forward and backward in whole epochs.
        steps: steps in whole epochs.
        complete: all epochs were done, or a callback of the user's ended them. A net that was
            stopped in time has the average of its weights so far.
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


class _Batches(keras.utils.PyDataset):
    """Serves shuffled batches of one epoch; `begin` moves it to the next."""

    def __init__(self, data: TrainingData, size: int, seed: int):
        super().__init__(workers=0)
        self._data, self._seed = data, seed
        self._size = min(size, len(data.rows))
        self._targets = np.eye(10, dtype=np.float32)[data.labels]

    def begin(self, epoch: int) -> None:
        """Open the epoch's variant and draw its order, which follows from (seed, epoch) alone."""
        self._variant = self._data.images(epoch)
        self._order = np.random.default_rng([self._seed, epoch]).permutation(self._data.rows)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self) * self._size

    def __len__(self) -> int:
        # The rest of the order is left out: a smaller batch would be noise, and other rows are
        # left out in the next epoch.
        return len(self._data.rows) // self._size

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[step * self._size : (step + 1) * self._size]
        return self._variant[rows], self._targets[rows]


def train(
    settings: MemberSettings,
    data: TrainingData,
    seed: int,
    checkpoint: Checkpoint | None = None,
    hooks: Hooks | None = None,
) -> TrainingResult:
    """Train one net for a fixed number of epochs.

    A loss that is infinite or not a number ends it at the end of its epoch, which is not kept.
    Resumed, it ends with the same bytes on TensorFlow and a CPU; other backends and devices do not
    promise the last bits.

    Args:
        settings: the member's resolved settings.
        data: what it is trained on.
        seed: start of the weights, of Dropout and of the order of the rows.
        checkpoint: where an earlier call with the same arguments was after an epoch; training
            resumes there and ends with the same bytes as if it had never stopped.
        hooks: who hears of it and may end it.

    Returns:
        The trained net, its history and its speed.
    """
    hooks = hooks or Hooks()
    keras.utils.set_random_seed(seed)
    config = settings.train
    batches = _Batches(data, config.batch_size, seed)
    batches.begin(0)
    model = models.build(settings.model, seed, fused=True)
    model.compile(
        optimizer=make_optimizer(config, len(batches)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=["accuracy"],
    )
    if checkpoint:
        model.optimizer.build(model.trainable_variables)
        for variable, array in zip(callbacks.variables(model), checkpoint.arrays, strict=True):
            variable.assign(array)
    history = callbacks.History(
        checkpoint.history if checkpoint else [], len(batches), batches.images
    )
    stop = callbacks.StopInTime(history, hooks.must_stop)
    ours = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.begin(epoch)),
        history,
        *([callbacks.SaveCheckpoint(history, hooks.on_checkpoint)] if hooks.on_checkpoint else []),
        callbacks.ReportProgress(history, hooks.on_progress),
        stop,
    ]
    # One call of fit for all epochs: at its end Keras replaces the weights by their average.
    model.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=checkpoint.epochs if checkpoint else 0,
        shuffle=False,
        verbose=0,
        callbacks=[*ours, *(make() for make in hooks.callbacks)],
    )

    def make_model() -> keras.Model:
        final = models.build(settings.model, seed)
        final.set_weights(model.get_weights())
        order = np.random.default_rng([seed, config.epochs]).permutation(data.rows)
        picked = np.sort(order[:STATISTICS_ROWS])
        estimate_statistics(final, data.clean[picked], config.batch_size)
        return final

    epochs = len(history.entries)
    ended_by_callback = model.stop_training and not stop.has_stopped
    if ended_by_callback and not history.entries:
        raise UserError("callbacks: one ended training within its first epoch; let it train longer")
    ended = epochs == config.epochs or ended_by_callback
    return TrainingResult(
        make_model=make_model,
        history=history.entries,
        seconds=sum(entry["seconds"] for entry in history.entries),
        images=epochs * batches.images,
        steps=epochs * len(batches),
        complete=ended and all(math.isfinite(entry["loss"]) for entry in history.entries),
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
    if not norms:
        return
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
    from scipy.special import softmax

    logits = model.predict(images, batch_size=PREDICT_BATCH, verbose=0).astype(np.float64)
    with np.errstate(all="ignore"):  # of a net that has diverged, which is noticed later
        return softmax(logits, axis=1).astype(np.float32)
