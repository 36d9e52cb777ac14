"""The optimizer of a fit and its learning-rate schedule."""

from __future__ import annotations

import keras

from kaggle_digits.config.schema import Train
from kaggle_digits.training import backend


class _WarmingAverage:
    """Makes the average of the weights shorter at first: momentum min(m, (1 + n) / (10 + n)).

    n is the number of steps before this one; the average begins with the weights after the first.
    A mixin for optimizers of Keras, which has a constant momentum. Its own steps count n, so that
    nothing more is in a checkpoint and the graph of a step is the same for all steps.

    Source: S. An et al. (2020), An ensemble of simple convolutional neural network models for MNIST
    digit recognition, arXiv 2008.10400.
    """

    @property
    def ema_momentum(self):
        """The momentum of this step, a scalar tensor."""
        steps = keras.ops.cast(self.iterations, "float32")
        return keras.ops.minimum(self._final_momentum, (1.0 + steps) / (10.0 + steps))

    @ema_momentum.setter
    def ema_momentum(self, momentum: float) -> None:
        self._final_momentum = momentum


def make_optimizer(config: Train, steps_per_epoch: int) -> keras.Optimizer:
    """Make the optimizer with its schedule.

    Args:
        config: the `train` section.
        steps_per_epoch: batches in an epoch.

    Returns:
        AdamW (Loshchilov & Hutter 2019), Adam, or SGD with Nesterov momentum; weight decay is
        decoupled and leaves batch norm and biases alone. The weights are averaged with
        `ema_momentum`, or else with 1 - 1 / (ema_epochs * steps_per_epoch). In float16, whose
        smallest gradients would be 0, the loss is scaled (Micikevicius et al. 2018, mixed precision
        training): doubled after 2,000 steps, halved at a gradient that is not finite.
    """
    # An average over fewer than two steps is no average, and its momentum would leave [0, 1).
    span = config.ema_epochs * steps_per_epoch
    common = {
        "learning_rate": make_schedule(config, steps_per_epoch),
        "use_ema": config.ema_momentum is not None or span >= 2,
        "ema_momentum": config.ema_momentum or 1 - 1 / max(span, 2),
    }
    kind, options = {
        "adamw": (keras.optimizers.AdamW, {"weight_decay": config.weight_decay}),
        "adam": (keras.optimizers.Adam, {}),
        "sgd": (
            keras.optimizers.SGD,
            {
                "momentum": config.momentum,
                "nesterov": True,
                "weight_decay": config.weight_decay or None,
            },
        ),
    }[config.optimizer]
    if config.ema_warmup:
        kind = type(kind.__name__, (_WarmingAverage, kind), {})
    optimizer = kind(**options, **common)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    backend.leave_out_replicas(optimizer)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def make_schedule(
    config: Train, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """Make the learning-rate schedule: a linear rise over the warm-up, then a cosine to zero.

    Source: I. Loshchilov, F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts,
    without the restarts.

    Args:
        config: the `train` section; `learning_rate` is the top of the schedule.
        steps_per_epoch: batches in an epoch.

    Returns:
        The schedule by step. Of any other than cosine the first epoch's learning rate: it changes
        between epochs only, see `monitoring.learning_rate`.
    """
    if config.schedule != "cosine":
        return config.learning_rate
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
