"""The optimizer of a fit and its learning-rate schedule."""

from __future__ import annotations

import keras

from kaggle_digits.config.schema import Train
from kaggle_digits.training import backend


def make_optimizer(config: Train, steps_per_epoch: int) -> keras.Optimizer:
    """Make the optimizer with its schedule: linear warm-up, then cosine to zero.

    Args:
        config: the `train` section.
        steps_per_epoch: batches in an epoch.

    Returns:
        AdamW (Loshchilov & Hutter 2019) or SGD with Nesterov momentum; weight decay is decoupled
        and leaves batch norm and biases alone; with `ema_epochs` the weights are averaged with a
        momentum of 1 - 1 / (ema_epochs * steps_per_epoch).
    """
    # An average over fewer than two steps is no average, and its momentum would leave [0, 1).
    span = config.ema_epochs * steps_per_epoch
    common = {
        "learning_rate": make_schedule(config, steps_per_epoch),
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


def make_schedule(
    config: Train, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make the learning-rate schedule: a linear rise over the warm-up, then a cosine to zero.

    Source: I. Loshchilov, F. Hutter (2017), SGDR: stochastic gradient descent with warm restarts,
    without the restarts.

    Args:
        config: the `train` section; `learning_rate` is the top of the schedule.
        steps_per_epoch: batches in an epoch.

    Returns:
        The schedule by step.
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
