"""Counts what all invocations of a run have taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training.resume import RunState


class Clock:
    """Counts what all invocations of a run have taken, and notes it in the run folder.

    Args:
        folder: the run's folder.
        budget: knows when this invocation began.
    """

    def __init__(self, folder: RunFolder, budget: TimeBudget) -> None:
        self._folder, self._budget = folder, budget
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
        here = {"wall": self._budget.seconds(), "saving": files.io_seconds(), **self._timed}
        seconds = {name: self._before[name] + spent for name, spent in here.items()}
        self._folder.write_seconds(seconds)
        return seconds

    def with_costs(self, metrics: RunMetrics, state: RunState) -> RunMetrics:
        """Return the metrics with what the run has cost so far."""
        facts = [self._folder.read_fit(spec.member, spec.fold) for spec in state.finished]
        seconds, spent = sum(fact["seconds"]["train"] for fact in facts), self.note()
        return replace(
            metrics,
            images_per_second=sum(f["train_images"] for f in facts) / seconds if seconds else None,
            wall_seconds=spent["wall"],
            saving_seconds=spent["saving"],
            drawing_seconds=spent["drawing"],
            reporting_seconds=spent["reporting"],
            peak_memory_bytes=max(self._peak_before, environment.peak_memory_bytes()),
        )
