"""Measures this machine: each stage's speed beside baselines, and how long a run would take here.

It stands beside the pipeline and drives the same stages, in a temporary folder, so that the user's
cache is neither used nor changed. The kit and the baselines take turns within each repetition; each
is timed over an epoch of as many images, on a net that has been traced before.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from rich.table import Table

from kaggle_digits.augmentation import bank
from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import sources
from kaggle_digits.data.competition import TEST_ROWS, TRAIN_ROWS
from kaggle_digits.data.digits import Digits, read_digits
from kaggle_digits.diagnostics import baselines
from kaggle_digits.diagnostics.baselines import KIT, seconds_of
from kaggle_digits.diagnostics.net_speed import NetSpeed, measure_nets, nets_table, shortened
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.training import backend, fit_spec, machine_settings

# Stages and rows of the table.
CSV_COLD = "train.csv and test.csv, cold"
BANK, BANK_ROW = "augmentation bank", "start of its processes included"


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the defaults take five to ten minutes on two cores.

    Attributes:
        repetitions: how often everything is measured, in turn.
        bank_rows: rows of each variant of the bank, which gets one variant per core.
        train_images: images of a timed epoch.
        predict_images: images of a timed prediction.
        net_images: images of an epoch and of a prediction with each net of the shipped configs.
    """

    repetitions: int = 5
    bank_rows: int = bank.IMAGES_WORTH_A_PROCESS  # fewer would not start a process per core
    train_images: int = 3072
    predict_images: int = 4096
    net_images: int = 1024


FULL = Sizes()


@dataclass(frozen=True)
class Measurements:
    """What was measured, one number per repetition.

    Attributes:
        title: what was measured on which data.
        rows: (training rows, test rows).
        csv: row of the table -> seconds to hash, read, unpack and check.
        speeds: stage -> row of the table -> images per second; the kit is the first row.
        estimates: config -> part of a run -> seconds.
        nets: config -> member -> the speed of its net.
    """

    title: str
    rows: tuple[int, int]
    csv: Mapping[str, Sequence[float]]
    speeds: Mapping[str, Mapping[str, Sequence[float]]]
    estimates: Mapping[str, Mapping[str, float]]
    nets: Mapping[str, Mapping[str, NetSpeed]]

    def ratio(self, stage: str, baseline: str) -> float:
        """Return the kit's speed over a baseline's: the median of each repetition's ratio."""
        pairs = zip(self.speeds[stage][KIT], self.speeds[stage][baseline], strict=True)
        return median(kit / other for kit, other in pairs)


def run(
    config: Config, name: str, data_path: Path | None, reporter: Reporter, sizes: Sizes = FULL
) -> Measurements:
    """Measure everything and show it.

    Args:
        config: the config whose first member's net is measured.
        name: its name.
        data_path: value of --data, or None.
        reporter: where progress and the tables go.
        sizes: how much is measured.

    Returns:
        The figures of the tables.

    Raises:
        UserError: the data, a shipped config or the setting of the backend is invalid.
    """
    shipped = {each: loading.load(each) for each in loading.shipped_names()}
    source = sources.find_source(data_path or config.data.path)
    backend.name()  # one that is not installed is refused now
    digits = read_digits(source)
    rows_read = len(digits.train_images) + len(digits.test_images)
    if digits.demo:
        digits = _enlarged(digits)
    rows = len(digits.train_images), len(digits.test_images)
    config = machine_settings.as_begun(config)
    machine_settings.start_backend(config, reporter)
    shipped = {each: machine_settings.as_begun(its) for each, its in shipped.items()}
    for title, text in environment.description().items():
        reporter.say(f"{title}: {text}")
    reporter.say(f"measured on: {time.strftime('%Y-%m-%d')}")

    with tempfile.TemporaryDirectory(prefix="kaggle-digits-") as temporary:
        folder = Path(temporary)
        csv, speeds = _measure_rounds(config, source, digits, folder, sizes, reporter)
        nets = measure_nets(shipped, digits, folder, sizes.net_images, reporter)
    costs = median(csv[CSV_COLD]) * sum(rows) / rows_read, median(speeds[BANK][BANK_ROW])
    estimates = {
        each: estimate(shipped[each], rows, *costs, speeds_of) for each, speeds_of in nets.items()
    }
    measurements = Measurements(
        title=f"{name}, member {next(iter(config.members))}; data: {digits.source}",
        rows=rows,
        csv=csv,
        speeds=speeds,
        estimates=estimates,
        nets=nets,
    )
    reporter.show(speed_table(measurements))
    reporter.show(nets_table(nets))
    reporter.show(estimate_table(measurements))
    return measurements


def _enlarged(digits: Digits) -> Digits:
    """Repeat the demo data's rows until there are as many as in the competition."""
    images, labels = digits.train_images, digits.train_labels
    return replace(
        digits,
        train_images=np.resize(images, (TRAIN_ROWS, *images.shape[1:])),
        train_labels=np.resize(labels, TRAIN_ROWS),
        test_images=np.resize(digits.test_images, (TEST_ROWS, *images.shape[1:])),
        source=f"{digits.source}, its rows repeated",
    )


def _measure_rounds(
    config: Config,
    source: sources.Source,
    digits: Digits,
    folder: Path,
    sizes: Sizes,
    reporter: Reporter,
) -> tuple[dict[str, list[float]], dict[str, dict[str, list[float]]]]:
    """Measure everything once per repetition, in turn; return `csv` and `speeds`."""
    import keras

    from kaggle_digits.training import train

    keras.utils.set_random_seed(config.seed)
    settings, seed = config.member(next(iter(config.members))), config.seed
    images, labels = digits.train_images, digits.train_labels
    bank_images = images[: sizes.bank_rows]
    source_bank = bank.Bank(files.digest(bank_images), settings.augment, seed)
    variants = max(environment.usable_cores(), 2)  # one for each of two epochs
    # Spread over the bank, as the rows of a fit are.
    rows = np.random.default_rng(seed).permutation(len(bank_images))[: sizes.train_images]
    training = baselines.training_baselines(settings, images[rows], labels[rows], seed)
    prediction = baselines.predictors(settings, images[: sizes.predict_images], seed)

    csv: dict[str, list[float]] = defaultdict(list)
    speeds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for repetition in range(1, sizes.repetitions + 1):
        reporter.say(f"repetition {repetition} of {sizes.repetitions}")
        cache = Cache(folder / f"cache{repetition}")
        for state in ("cold", "from cache"):
            train_seconds, both_seconds = measure_csv(source, cache.folder)
            csv[f"train.csv, {state}"].append(train_seconds)
            csv[f"train.csv and test.csv, {state}"].append(both_seconds)
        fill = partial(bank.fill, cache, source_bank, bank_images, range(variants))
        speeds[BANK][BANK_ROW].append(variants * len(bank_images) / seconds_of(fill))
        read = partial(cache.read_variant, source_bank.key)
        data = train.TrainingData(read, labels, rows, images)
        trained = train.train(shortened(settings, 2), data, seed)
        speeds["training"][KIT].append(trained.history[1]["images_per_second"])
        for stage, measures in (("training", training), ("prediction", prediction)):
            for row, measure in measures.items():
                speeds[stage][row].append(measure())
    return dict(csv), {stage: dict(measured) for stage, measured in speeds.items()}


def measure_csv(source: sources.Source, cache_folder: Path) -> tuple[float, float]:
    """Time how a run gets its arrays, content hashes included.

    Args:
        source: where the files come from.
        cache_folder: the first call finds nothing in it, a second one finds everything.

    Returns:
        (seconds until train.csv was read, seconds until both files were read and compared).
    """
    cache = Cache(cache_folder)
    finished = []

    def cached(key: str, make: Callable[[], files.Arrays]) -> files.Arrays:
        arrays = cache.arrays(key, make)
        finished.append(time.monotonic())
        return arrays

    start = time.monotonic()
    read_digits(source, cached)
    return finished[0] - start, time.monotonic() - start


def estimate(
    config: Config,
    rows: tuple[int, int],
    csv_seconds: float,
    bank_speed: float,
    nets: Mapping[str, NetSpeed],
) -> dict[str, float]:
    """Estimate the wall time of a run, from an empty cache, with measured speeds.

    Args:
        config: the run's config.
        rows: (training rows, test rows).
        csv_seconds: time to parse both files.
        bank_speed: augmented images per second.
        nets: speeds by member.

    Returns:
        Seconds by part of the run.
    """
    from kaggle_digits.training.train import statistics_rows

    train_rows, test_rows = rows
    fits, heldout = config.folds.fits, config.folds.heldout_fraction
    train_seconds = predict_seconds = 0.0
    for member, speed in nets.items():
        settings = config.member(member)
        epochs = settings.train.epochs
        fit_rows = train_rows * (1 - heldout)
        passes = fits * epochs * settings.train.rows_an_epoch(round(fit_rows))
        train_seconds += passes / speed.train
        # The batch-norm statistics take a forward pass too.
        predicted = train_rows * heldout + test_rows + statistics_rows(settings.train, fit_rows)
        predict_seconds += fits * predicted / speed.predict
    return {
        "data and bank": csv_seconds + fit_spec.bank_variants(config) * train_rows / bank_speed,
        "training": train_seconds,
        "prediction": predict_seconds,
        "other": fits * sum(speed.overhead for speed in nets.values()),
    }


def speed_table(measurements: Measurements) -> Table:
    """Make the table of what was measured, with the kit's ratio to each baseline."""
    repetitions = len(measurements.csv[CSV_COLD])
    table = Table(
        title=measurements.title,
        caption=f"Medians over {repetitions} interleaved repetitions, with the lowest and the "
        "highest. Ratios are taken within each repetition.",
    )
    table.add_column("measured")
    for heading in ("median", "range", "kit / this"):
        table.add_column(heading, justify="right")
    for row, seconds in measurements.csv.items():
        table.add_row(row, *_summary(seconds, ".2f", "s"))
    for stage, rows in measurements.speeds.items():
        table.add_section()
        for row, speeds in rows.items():
            is_baseline = KIT in rows and row != KIT
            ratio = f"{measurements.ratio(stage, row):.2f}" if is_baseline else ""
            table.add_row(f"{stage}: {row}", *_summary(speeds, ",.0f", "images/s"), ratio)
    return table


def _summary(values: Sequence[float], digits: str, unit: str) -> tuple[str, str]:
    lowest, middle, highest = (format(f(values), digits) for f in (min, median, max))
    return f"{middle} {unit}", f"{lowest} to {highest}"


def estimate_table(measurements: Measurements) -> Table:
    """Make the table of each shipped config's wall time."""
    train_rows, test_rows = measurements.rows
    table = Table(
        title=f"Estimated wall time here, {train_rows:,} training and {test_rows:,} test rows",
        caption="From the speeds above and a short fit of each net, with the measured config's "
        "threads; the cache is empty at first.",
    )
    for heading in ("config", "data and bank", "training", "prediction", "other", "total"):
        table.add_column(heading, justify="left" if heading == "config" else "right")
    for name, parts in sorted(
        measurements.estimates.items(), key=lambda item: sum(item[1].values())
    ):
        table.add_row(name, *map(duration, (*parts.values(), sum(parts.values()))))
    return table
