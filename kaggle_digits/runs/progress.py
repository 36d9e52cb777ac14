"""What a person sees while the fits of a run are trained."""

from __future__ import annotations

import math
from collections.abc import Callable

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs.summary import Clock
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training.engine import FitProgress


class RunProgress:
    """Shows the engine's events: a bar for all fits on a terminal, a line for each epoch.

    Args:
        reporter: where lines go.
        show: moves the bar to a percentage, with a text beside it.
        budget: the time there is.
        clock: notes the time after each epoch.

    Attributes:
        metrics: the figures so far, for the out-of-fold accuracy beside the bar.
    """

    def __init__(
        self,
        reporter: Reporter,
        show: Callable[[float, str], None],
        budget: TimeBudget,
        clock: Clock,
    ) -> None:
        self._reporter, self._show, self._budget, self._clock = reporter, show, budget, clock
        self.metrics: RunMetrics | None = None

    def say(self, text: str) -> None:
        """Write a line."""
        self._reporter.say(text)

    def progress(self, progress: FitProgress) -> None:
        """Show a step, and write a line at the end of an epoch."""
        speed, limit = progress.images_per_second, self._budget.seconds_left()
        left = f"{duration(progress.seconds_left)} left" if speed else "time left not known yet"
        if speed and not math.isinf(limit) and limit < progress.seconds_left:
            left += f", {duration(max(0, limit))} to the time limit"
        accuracy = self.metrics.oof_accuracy if self.metrics else None
        so_far = f", out-of-fold accuracy so far {accuracy:.5f}" if accuracy else ""
        epochs = progress.spec.settings.train.epochs
        at = f"{progress.spec.name}, epoch {math.ceil(progress.epochs_done)}/{epochs}"
        self._show(100 * progress.fraction, f"{at}{so_far}, {speed:,.0f} images/s, {left}")
        if entry := progress.entry:
            self._clock.note()
            self._reporter.say(
                f"{at}: loss {entry['loss']:.4f}, training accuracy {entry['accuracy']:.4f}, "
                f"{entry['images_per_second']:,.0f} images/s, {left}"
            )
