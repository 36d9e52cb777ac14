"""What the nets of a run have cost: time, memory, speed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, Protocol

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training.resume import RunState


class Costs(Protocol):
    """Knows what a run has cost so far."""

    def with_costs(self, metrics: RunMetrics, state: RunState) -> RunMetrics:
        """Return the metrics with what the run has cost so far."""


class Clock:
    """Counts what all invocations of a run have taken, and notes it in the run folder.

    Args:
        folder: the run's folder.
        budget: knows when this invocation began.
        saved_before: seconds that this process had spent on saving then, for other runs.
    """

    def __init__(self, folder: RunFolder, budget: TimeBudget, saved_before: float = 0.0) -> None:
        self._folder, self._budget, self._saved_before = folder, budget, saved_before
        self._before = folder.read_seconds()
        self._timed = dict.fromkeys(("drawing", "reporting"), 0.0)
        peak = files.read_json(folder.metrics).get("peak_memory_bytes")
        self._peak_before = peak if isinstance(peak, int) else 0

    @contextmanager
    def timed(self, what: Literal["drawing", "reporting"]) -> Iterator[None]:
        """Count the time of a block as spent on something."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._timed[what] += time.monotonic() - start

    def note(self) -> dict[str, float]:
        """Note the seconds, so that a kill takes little away; return them.

        Returns:
            wall, and of it saving, drawing and reporting.
        """
        saving = files.io_seconds() - self._saved_before
        here = {"wall": self._budget.seconds(), "saving": saving, **self._timed}
        seconds = {name: self._before[name] + spent for name, spent in here.items()}
        self._folder.write_seconds(seconds)
        return seconds

    def with_costs(self, metrics: RunMetrics, state: RunState) -> RunMetrics:
        """Return the metrics with what the run has cost so far."""
        spent = self.note()
        return replace(
            metrics,
            images_per_second=_images_per_second(self._folder, state),
            wall_seconds=spent["wall"],
            saving_seconds=spent["saving"],
            drawing_seconds=spent["drawing"],
            reporting_seconds=spent["reporting"],
            peak_memory_bytes=max(self._peak_before, environment.peak_memory_bytes()),
        )


class CostsOfSources:
    """The costs of a run that is joined from others: what those have cost together.

    Args:
        folder: the run's folder.
        sources: the figures of the runs that it is joined from.
    """

    def __init__(self, folder: RunFolder, sources: Sequence[RunMetrics]) -> None:
        self._folder, self._sources = folder, sources

    def with_costs(self, metrics: RunMetrics, state: RunState) -> RunMetrics:
        """Return the metrics with the costs of all sources; joining them costs next to nothing."""
        return replace(
            metrics,
            images_per_second=_images_per_second(self._folder, state),
            wall_seconds=sum(source.wall_seconds for source in self._sources),
            saving_seconds=sum(source.saving_seconds for source in self._sources),
            drawing_seconds=sum(source.drawing_seconds for source in self._sources),
            reporting_seconds=sum(source.reporting_seconds for source in self._sources),
            peak_memory_bytes=max(source.peak_memory_bytes for source in self._sources),
        )


def _images_per_second(folder: RunFolder, state: RunState) -> float | None:
    """Return the training speed of the finished fits together."""
    facts = [folder.read_fit(spec.member, spec.fold) for spec in state.finished]
    seconds = sum(fact["seconds"]["train"] for fact in facts)
    return sum(fact["train_images"] for fact in facts) / seconds if seconds else None
