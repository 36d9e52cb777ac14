"""What training decides by the figures of its epochs: the learning rate, the best epoch, the end.

All of it follows from the history alone, so that a training that resumes decides as one that never
stopped. A history is one dict for each whole epoch, see `train.TrainingResult`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kaggle_digits.config.train_section import Monitored, Train

History = Sequence[dict[str, float]]
# What a better figure has to gain before a plateau is over: the default of Keras.
PLATEAU_MIN_DELTA = 1e-4


def learning_rate(train: Train, history: History) -> float:
    """Return the learning rate of the epoch that follows, where it changes between epochs only.

    As Keras's LearningRateScheduler and ReduceLROnPlateau do.

    Args:
        train: the `train` section, whose schedule is not cosine.
        history: of the epochs done.
    """
    rate = train.learning_rate
    if train.schedule == "exponential":
        return rate * train.decay_factor ** len(history)
    if train.schedule == "plateau":
        plateau, best, waited = train.plateau, math.inf, 0
        for figure in _to_minimise(history, plateau.monitor):
            if figure < best - PLATEAU_MIN_DELTA:
                best, waited = figure, 0
                continue
            waited += 1
            if waited >= plateau.patience:
                rate = min(rate, max(rate * plateau.factor, plateau.min_learning_rate))
                waited = 0
    return rate


def best_epoch(train: Train, history: History) -> int:
    """Return the epoch, from 1, whose weights early stopping keeps: the first with the best figure.

    Args:
        train: the `train` section.
        history: of at least one epoch.
    """
    best, lowest = 1, math.inf
    for epoch, figure in enumerate(_to_minimise(history, train.early_stopping.monitor), 1):
        if figure < lowest:
            best, lowest = epoch, figure
    return best


def kept_epoch(train: Train, history: History) -> int | None:
    """Return the epoch, from 1, whose weights early stopping keeps at the end.

    Args:
        train: the `train` section.
        history: of a training that has come to its end.

    Returns:
        The epoch; None without early stopping, which keeps the last, or where there is no epoch.
    """
    if train.early_stopping.patience is None or not history:
        return None
    return best_epoch(train, history)


def is_over(train: Train, history: History) -> bool:
    """Return whether early stopping ends training after the epochs done."""
    patience = train.early_stopping.patience
    if patience is None or not history:
        return False
    return len(history) - best_epoch(train, history) >= patience


def what_is_kept(train: Train, history: History) -> str | None:
    """Say for people which epoch early stopping has kept; None without early stopping."""
    best, monitor = kept_epoch(train, history), train.early_stopping.monitor
    if best is None:
        return None
    figure = history[best - 1][monitor]
    return (
        f"trained {len(history)} of {train.epochs} epochs, keeps the weights of epoch {best} "
        f"({monitor} {figure:.5f} on the rows that it holds out)"
    )


def _to_minimise(history: History, monitor: Monitored) -> list[float]:
    sign = -1 if monitor == "val_accuracy" else 1
    return [sign * entry[monitor] for entry in history]
