"""Measures the nets of configs on this machine: their speed, and how much of it is convolutions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.table import Table

from kaggle_digits.config.schema import Config, MemberSettings
from kaggle_digits.config.train_section import EarlyStopping, Precision
from kaggle_digits.data.digits import Digits
from kaggle_digits.diagnostics import baselines
from kaggle_digits.diagnostics.baselines import TRAINING_FLOPS, seconds_of
from kaggle_digits.system.console import Reporter

# More often would take long: each time Deotte's net is fed too.
REPETITIONS = 3


@dataclass(frozen=True)
class NetSpeed:
    """What a net costs here.

    Attributes:
        train: training images per second.
        predict: predicted images per second.
        overhead: seconds of a fit that do not depend on its images: building, tracing, saving.
        precision: what its maps are computed in while it is trained.
        over_deotte: its training speed over that of Deotte's net fed one image at a time, both in
            images per second; the median of the repetitions' ratios.
        of_convolutions: its floating-point operations per second over those of convolutions alone
            in the same precision; the median of the repetitions' ratios.
    """

    train: float
    predict: float
    overhead: float
    precision: Precision = "float32"
    over_deotte: float = 0.0
    of_convolutions: float = 0.0


def shortened(settings: MemberSettings, epochs: int) -> MemberSettings:
    """Shorten a training; nothing is held out, so it looks at no such rows.

    Args:
        settings: a member's resolved settings.
        epochs: of the short training.
    """
    changes: dict[str, object] = {"epochs": epochs, "early_stopping": EarlyStopping()}
    if settings.train.schedule == "plateau":
        changes["schedule"] = "constant"
    train = settings.train.model_copy(update=changes)
    return settings.model_copy(update={"train": train})


def measure_nets(
    shipped: Mapping[str, Config], digits: Digits, folder: Path, images: int, reporter: Reporter
) -> dict[str, dict[str, NetSpeed]]:
    """Measure each distinct net of some configs once.

    Args:
        shipped: the configs by name; nothing in them is `auto`.
        digits: the data.
        folder: where nets are saved.
        images: how many are trained on and predicted.
        reporter: where progress goes.

    Returns:
        Speeds by config and member.
    """
    sample = digits.train_images[:images], digits.train_labels[:images]
    measured: dict[tuple, NetSpeed] = {}
    speeds: dict[str, dict[str, NetSpeed]] = defaultdict(dict)
    for name, config in shipped.items():
        for member in config.members:
            settings = config.member(member)
            train = settings.train
            # What the time of a step depends on, but for cheap changes of images.
            options = train.batch_size, train.optimizer, train.averages, train.precision
            net = (settings.model, *options)
            if net not in measured:
                reporter.say(f"a short fit of {name}, member {member}")
                measured[net] = measure_net(settings, *sample, config.seed, folder)
            speeds[name][member] = measured[net]
    return speeds


def measure_net(
    settings: MemberSettings, images: np.ndarray, labels: np.ndarray, seed: int, folder: Path
) -> NetSpeed:
    """Measure one short fit, in turns with what it is compared with.

    Args:
        settings: the member's resolved settings.
        images: (n, 28, 28) uint8, trained on and predicted.
        labels: (n,) integers 0..9.
        seed: seed of the fit.
        folder: where the net is saved.

    Returns:
        The net's speeds.
    """
    import keras

    from kaggle_digits.training import models, train
    from kaggle_digits.training.callbacks import Hooks

    precision, batch_size = settings.train.precision, settings.train.batch_size
    deotte = baselines.deotte_one_at_a_time(images, labels, seed)
    convolutions = baselines.convolutions_alone(precision, batch_size, len(images))
    beside: list[tuple[float, float]] = []
    built: list[float] = []
    # The first epoch traces. What stands beside is measured between two epochs of the fit: their
    # seconds end before the callbacks of others are called.
    between = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: built.append(time.monotonic()),
        on_epoch_end=lambda epoch, logs: epoch and beside.append((deotte(), convolutions())),
    )
    start = time.monotonic()
    data = train.TrainingData(lambda epoch: images, labels, np.arange(len(images)), images)
    short = shortened(settings, 1 + REPETITIONS)
    trained = train.train(short, data, seed, hooks=Hooks(callbacks=(lambda: between,)))
    fitted = time.monotonic()
    train.predict(trained.model, images)
    predict_seconds = seconds_of(lambda: train.predict(trained.model, images))
    trained.model.save(folder / "model.keras")
    finished = time.monotonic()
    _, flops = models.cost(trained.model)
    timed = trained.history[1:]
    speeds = [entry["images_per_second"] for entry in timed]
    epoch_seconds = median(entry["seconds"] for entry in timed)
    tracing = trained.history[0]["seconds"] - epoch_seconds
    return NetSpeed(
        train=median(speeds),
        predict=len(images) / predict_seconds,
        overhead=built[0] - start + max(0.0, tracing) + finished - fitted - 2 * predict_seconds,
        precision=precision,
        over_deotte=median(speed / other for speed, (other, _) in zip(speeds, beside, strict=True)),
        of_convolutions=median(
            TRAINING_FLOPS * flops * speed / rate
            for speed, (_, rate) in zip(speeds, beside, strict=True)
        ),
    )


def nets_table(nets: Mapping[str, Mapping[str, NetSpeed]]) -> Table:
    """Make the table of the nets' speeds.

    Args:
        nets: speeds by config and member.
    """
    table = Table(
        title="The nets of the shipped configs, training",
        caption="x Deotte: images/s over those of Deotte's net fed one image at a time. "
        "of convolutions: FLOP/s over those of bare 3x3 convolutions of 64 channels in the same "
        f"precision. Medians of {REPETITIONS} ratios, each taken within seconds.",
    )
    for heading in ("config", "member", "precision"):
        table.add_column(heading)
    for heading in ("images/s", "x Deotte", "of convolutions"):
        table.add_column(heading, justify="right")
    for config, members in nets.items():
        for member, speed in members.items():
            table.add_row(
                config,
                member,
                speed.precision,
                f"{speed.train:,.0f}",
                f"{speed.over_deotte:.2f}",
                f"{speed.of_convolutions:.0%}",
            )
    return table
