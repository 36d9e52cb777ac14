"""One fit: arrays in, a trained net and probabilities out; written with `keras` and numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import keras
import numpy as np

from kaggle_digits.config.schema import MemberSettings
from kaggle_digits.config.train_section import Train
from kaggle_digits.errors import UserError
from kaggle_digits.training import callbacks, models, monitoring
from kaggle_digits.training.batches import DIRECTIONS, Batches, TrainingData, moved
from kaggle_digits.training.callbacks import Checkpoint, Hooks
from kaggle_digits.training.hard_rows import BatchLosses
from kaggle_digits.training.optimizers import make_optimizer

PREDICT_BATCH = 512
# Rows that the batch-norm statistics are estimated from again: with fewer the estimate is noisy,
# more change nothing that can be measured.
STATISTICS_ROWS = 8192
# What a net gives this probability hardly ever becomes another class when it is moved by a pixel,
# and nearly all digits are such: looking at the others five times costs little.
SURE = 0.9


@dataclass(frozen=True)
class TrainingResult:
    """What a training ends with.

    Attributes:
        make_model: makes the final net.
        history: one dict for each epoch with `epoch`, `loss`, `accuracy` (of the training, on
            augmented images), `learning_rate`, `seconds`, `images_per_second`; where the settings
            look at held-out rows also `val_loss` and `val_accuracy`, of the net in training, not of
            its average.
        seconds: wall time of the epochs.
        images: training images that were passed forward and backward in whole epochs.
        steps: steps in whole epochs.
        complete: all epochs were done, or early stopping or a callback of the user's ended them. A
            net that was stopped in time has the average of its weights so far.
        kept_epoch: the epoch, from 1, whose weights the net has; None: the last.
    """

    make_model: Callable[[], keras.Model]
    history: list[dict[str, float]]
    seconds: float
    images: int
    steps: int
    complete: bool
    kept_epoch: int | None = None

    @property
    def kept(self) -> dict[str, float] | None:
        """The entry of the history that belongs to the net; None: there is none."""
        return self.history[(self.kept_epoch or 0) - 1] if self.history else None

    @cached_property
    def model(self) -> keras.Model:
        """The averaged net with stock Keras layers only, in float32; uint8 pixels to logits.

        Made when it is first asked for: it costs seconds, and not every stopped fit needs it.
        """
        return self.make_model()


def train(
    settings: MemberSettings,
    data: TrainingData,
    seed: int,
    checkpoint: Checkpoint | None = None,
    hooks: Hooks | None = None,
) -> TrainingResult:
    """Train one net for a fixed number of epochs, or until early stopping ends it.

    A loss that is infinite or not a number ends it at the end of its epoch, which is not kept.
    Resumed, it ends with the same bytes on TensorFlow and a CPU; other backends and devices do not
    promise the last bits.

    Args:
        settings: the member's resolved settings.
        data: what it is trained on.
        seed: start of the weights, of Dropout, of the order of the rows and of all that changes
            their images in each epoch.
        checkpoint: where an earlier call with the same arguments was after an epoch; training
            resumes there and ends with the same bytes as if it had never stopped.
        hooks: who hears of it and may end it.

    Returns:
        The trained net, its history and its speed.
    """
    hooks = hooks or Hooks()
    keras.utils.set_random_seed(seed)
    config = settings.train
    epochs_before = checkpoint.epochs if checkpoint else 0
    batches = Batches(data, settings, seed)
    if checkpoint:
        batches.losses[:] = checkpoint.losses
    # Keras looks at a batch before it begins an epoch, also where none is left.
    batches.begin(min(epochs_before, config.epochs - 1))
    losses = BatchLosses(len(batches), batches.size) if len(batches.losses) else None
    model = models.build(settings.model, seed, fused=True, precision=config.precision)
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    model.compile(
        optimizer=make_optimizer(config, len(batches)),
        loss=loss,
        metrics=["accuracy", *filter(None, [losses])],
    )
    # A loss is scaled with a variable of the optimizer, which has to be there before it is traced.
    if checkpoint or config.precision == "float16":
        model.optimizer.build(model.trainable_variables)
    if checkpoint:
        for variable, array in zip(callbacks.variables(model), checkpoint.arrays, strict=True):
            variable.assign(array)
    history = callbacks.History(
        checkpoint.history if checkpoint else [],
        len(batches),
        batches.images,
        partial(_evaluate, _judge(model, loss), data) if config.picks_on_heldout else None,
    )
    early = None
    if config.early_stopping.patience is not None:
        early = callbacks.EarlyStopping(history, config, checkpoint.best if checkpoint else ())
    stop = callbacks.StopInTime(history, hooks.must_stop)
    ours = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.begin(epoch)),
        history,
        callbacks.RememberLosses(history, batches, losses) if losses else None,
        callbacks.SetLearningRate(history, config) if config.schedule != "cosine" else None,
        early,
        callbacks.SaveCheckpoint(history, batches, hooks.on_checkpoint, early)
        if hooks.on_checkpoint
        else None,
        callbacks.ReportProgress(history, hooks.on_progress),
        stop,
    ]
    # One call of fit for all epochs: at its end Keras replaces the weights by their average.
    model.fit(
        batches,
        epochs=epochs_before if monitoring.is_over(config, history.entries) else config.epochs,
        initial_epoch=epochs_before,
        shuffle=False,
        verbose=0,
        callbacks=[*filter(None, ours), *(make() for make in hooks.callbacks)],
    )

    def make_model() -> keras.Model:
        # Always float32: what it predicts anybody's Keras predicts with the saved net.
        final = models.build(settings.model, seed)
        final.set_weights(early.best if early and complete else model.get_weights())
        if statistics_rows(config, len(data.rows)):
            order = np.random.default_rng([seed, config.epochs]).permutation(data.rows)
            picked = np.sort(order[: statistics_rows(config, len(order))])
            estimate_statistics(final, data.clean[picked], config.batch_size)
        return final

    epochs = len(history.entries)
    ended_by_callback = model.stop_training and not stop.has_stopped
    if ended_by_callback and not history.entries:
        raise UserError("callbacks: one ended training within its first epoch; let it train longer")
    ended = (
        epochs == config.epochs or monitoring.is_over(config, history.entries) or ended_by_callback
    )
    complete = ended and all(math.isfinite(entry["loss"]) for entry in history.entries)
    return TrainingResult(
        make_model=make_model,
        history=history.entries,
        seconds=sum(entry["seconds"] for entry in history.entries),
        images=epochs * batches.images,
        steps=epochs * len(batches),
        complete=complete,
        kept_epoch=monitoring.kept_epoch(config, history.entries) if complete else None,
    )


def _judge(model: keras.Model, loss: keras.losses.Loss) -> keras.Model:
    """Return the same net, with the same variables, that only measures loss and accuracy.

    Keras's `evaluate` would go through the metrics of training too, among them `BatchLosses`.
    """
    judge = keras.Model(model.inputs, model.outputs)
    judge.compile(loss=loss, metrics=["accuracy"])
    return judge


def _evaluate(model: keras.Model, data: TrainingData) -> dict[str, float]:
    """Return a net's figures on the held-out rows, clean, as Keras's `fit` names them."""
    targets = np.eye(10, dtype=np.float32)[data.labels[data.heldout]]
    figures = model.evaluate(
        data.clean[data.heldout], targets, batch_size=PREDICT_BATCH, verbose=0, return_dict=True
    )
    return {f"val_{name}": float(figures[name]) for name in ("loss", "accuracy")}


def statistics_rows(config: Train, rows: float) -> float:
    """Count the training rows that a finished net's batch-norm statistics are estimated from.

    Args:
        config: the `train` section.
        rows: number of training rows.
    """
    return min(STATISTICS_ROWS, rows) if config.norm_statistics == "estimated" else 0


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


def predict(model: keras.Model, images: np.ndarray, test_shift: int = 0) -> np.ndarray:
    """Predict probabilities.

    Args:
        model: uint8 pixels to logits.
        images: (n, 28, 28) uint8.
        test_shift: where the net is unsure, average over copies moved by this many pixels.

    Returns:
        (n, 10) float32; each row sums to 1.
    """
    probabilities = _predict(model, images)
    unsure = np.flatnonzero(probabilities.max(axis=1) < SURE)
    if test_shift and len(unsure):
        moves = test_shift * DIRECTIONS
        copies = [moved(images[unsure], move, test_shift) for move in moves]
        of_copies = _predict(model, np.concatenate(copies)).reshape(len(copies), len(unsure), -1)
        looks = np.stack([probabilities[unsure], *of_copies])
        probabilities[unsure] = looks.mean(axis=0)
    return probabilities


def _predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    if not len(images):
        return np.zeros((0, 10), np.float32)  # Keras refuses to predict nothing
    from scipy.special import softmax

    logits = model.predict(images, batch_size=PREDICT_BATCH, verbose=0).astype(np.float64)
    with np.errstate(all="ignore"):  # of a net that has diverged, which is noticed later
        return softmax(logits, axis=1).astype(np.float32)
