"""How long fits will take: by their size before they begin, by their speed from then on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate

from kaggle_digits.config.train_section import Train
from kaggle_digits.training import backend, precision
from kaggle_digits.training.fit_spec import FitSpec

# Floating-point operations a second of one CPU thread in training, of the large nets of `best`, for
# which the warning is; small nets reach less. Processors differ by a factor of two either way.
CPU_FLOPS_PER_THREAD = 2e11
# How much faster they are in bfloat16, where the processor has instructions for it; measured: 1.5
# times on Zen 5, 2.9 times on Zen 4.
BFLOAT16_SPEEDUP = 2.0
# A training step is a forward pass and a backward one of twice its work.
PASSES = 3


def training_images(specs: Sequence[FitSpec], rows: int) -> dict[str, int]:
    """Return how many images each fit sees if it trains all its epochs, by its name."""
    return {
        spec.name: spec.settings.train.epochs
        * spec.settings.train.rows_an_epoch(rows - len(spec.heldout_rows))
        for spec in specs
    }


def cpu_seconds(specs: Sequence[FitSpec], rows: int) -> float:
    """Estimate from the nets' sizes how long fits would train on this machine's CPU.

    Args:
        specs: the fits.
        rows: number of training rows.

    Returns:
        Seconds, perhaps wrong by a factor of two.
    """
    from kaggle_digits.training import models

    flops = {}
    for spec in specs:
        if spec.member not in flops:
            flops[spec.member] = models.cost(models.build(spec.settings.model, 0))[1]
    return sum(
        PASSES * flops[spec.member] * images / _flops_per_second(spec.settings.train)
        for spec, images in zip(specs, training_images(specs, rows).values(), strict=True)
    )


def _flops_per_second(train: Train) -> float:
    has_instructions = train.precision == "bfloat16" and precision.why_slow("bfloat16") is None
    is_fast = has_instructions and backend.gains_on_processors()
    return CPU_FLOPS_PER_THREAD * train.threads * (BFLOAT16_SPEEDUP if is_fast else 1.0)


class Forecast:
    """Forecasts how long fits still take from the images that they have yet to see.

    Args:
        specs: the fits, in their order.
        rows: number of training rows.

    Attributes:
        images_per_second: with all that is not training, 0 while it is not known.
    """

    def __init__(self, specs: Sequence[FitSpec], rows: int) -> None:
        self._planned = training_images(specs, rows)
        self._images: dict[str, float] = dict(self._planned)
        self._add_up()
        self._first: tuple[float, float] | None = None
        self._last: tuple[str, float, float] | None = None
        self._seconds, self._seen = 0.0, 0.0  # of training alone, within fits
        self.images_per_second = 0.0

    def restart(self) -> None:
        """Measure the speed from now on: a fit is trained again."""
        self._first = self._last = None
        self._seconds = self._seen = 0.0

    def end(self, spec: FitSpec, fraction: float) -> None:
        """Note that a fit is trained, perhaps after a fraction of its epochs only."""
        self._images[spec.name] = fraction * self._planned[spec.name]
        self._add_up()

    def note(self, spec: FitSpec, fraction: float) -> None:
        """Note that a fraction of a fit is done, for the speed."""
        now, images = time.monotonic(), self._images_before(spec, fraction)
        # From the first call on: what an earlier process did took none of this one's time.
        start, images_before = self._first = self._first or (now, images)
        if self._last and self._last[0] == spec.name:
            self._seconds += now - self._last[1]
            self._seen += images - self._last[2]
        self._last = spec.name, now, images
        self.images_per_second = max((images - images_before) / max(now - start, 1e-9), 0.0)

    def at(self, spec: FitSpec, fraction: float) -> tuple[float, float, float]:
        """Look ahead when a fraction of a fit is done.

        Returns:
            (fraction of all work done, images a second with all that is not training, seconds of
            training left).
        """
        images = self._images_before(spec, fraction)
        left = (self._total - images) * self._seconds / self._seen if self._seen > 0 else 0.0
        return images / self._total, self.images_per_second, left

    def fits_after(self, spec: FitSpec) -> int:
        """Return how many fits follow one."""
        names = list(self._images)
        return len(names) - 1 - names.index(spec.name)

    def _images_before(self, spec: FitSpec, fraction: float) -> float:
        return self._before[spec.name] + fraction * self._planned[spec.name]

    def _add_up(self) -> None:
        sums = [0.0, *accumulate(self._images.values())]
        self._before, self._total = dict(zip(self._images, sums, strict=False)), sums[-1]
