"""What a person sees while the fits of a run are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs.clock import Clock
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import resume
from kaggle_digits.training.engine import FitProgress
from kaggle_digits.training.fit_spec import FitSpec
from kaggle_digits.training.time_left import training_images


class RunProgress:
    """Shows the engine's events: a bar for all fits of the run, a line for each epoch.

    Args:
        reporter: where lines go.
        show: moves the bar to a percentage, with a text beside it.
        budget: the time there is.
        clock: notes the time after each epoch.
        done_before: fraction of the run's work that earlier invocations have done, 0..1.

    Attributes:
        metrics: the figures so far, for the out-of-fold accuracy beside the bar.
    """

    def __init__(
        self,
        reporter: Reporter,
        show: Callable[[float, str], None],
        budget: TimeBudget,
        clock: Clock,
        done_before: float = 0.0,
    ) -> None:
        self._reporter, self._show, self._budget, self._clock = reporter, show, budget, clock
        self._done_before = done_before
        self.metrics: RunMetrics | None = None

    def say(self, text: str) -> None:
        """Write a line."""
        self._reporter.say(text)

    def progress(self, progress: FitProgress) -> None:
        """Show a step, and write a line at the end of an epoch."""
        fraction = self._done_before + (1 - self._done_before) * progress.fraction
        name, train = progress.spec.name, progress.spec.settings.train
        at = f"{name}, epoch {max(1, math.ceil(progress.epochs_done))}/{train.epochs}"
        left = self._time_left(progress)
        speed = f"{progress.images_per_second:,.0f} images/s" if left else None
        accuracy = self.metrics.oof_accuracy if self.metrics else None
        # A narrow terminal cuts the end off.
        parts = [
            left,
            at if progress.phase == "training" else f"{name}: {progress.phase}",
            f"{accuracy:.5f} so far" if accuracy else None,
            speed if progress.phase == "training" else None,
        ]
        self._show(100 * fraction, ", ".join(filter(None, parts)))
        if entry := progress.entry:
            self._clock.note()
            figures = f"loss {entry['loss']:.4f}, training accuracy {entry['accuracy']:.5f}"
            if "val_loss" in entry:
                figures += f", val_loss {entry['val_loss']:.4f}"
                figures += f", val_accuracy {entry['val_accuracy']:.5f}"
            line = ", ".join(filter(None, [f"{at}: {figures}", left]))
            self._reporter.progress(line, fraction)

    def _time_left(self, progress: FitProgress) -> str | None:
        if self._budget.signals.received is not None:
            return "stopping"
        if not progress.images_per_second:
            return None
        left, limit = f"{duration(progress.seconds_left)} left", self._budget.seconds_left()
        if limit < progress.seconds_left:
            left += f", {duration(max(0, limit))} to the time limit"
        return left


def fraction_done(to_do: Sequence[FitSpec], planned: Sequence[FitSpec], rows: int) -> float:
    """Return which fraction of a run's training is not among the fits to do, 0..1.

    Args:
        to_do: the fits to do.
        planned: all fits of the run.
        rows: number of training rows.
    """
    images = (sum(training_images(specs, rows).values()) for specs in (to_do, planned))
    return 1 - next(images) / next(images)


def what_is_left(
    to_do: Sequence[FitSpec], folder: RunFolder, budget: TimeBudget, how_to_continue: str
) -> str:
    """Say which fits a time limit has left to do.

    Args:
        to_do: at least one.
        folder: the run's folder, with what the first of them has saved.
        budget: the time there was.
        how_to_continue: what people do after a stop.
    """
    first, *others = to_do
    try:
        facts = resume.read_checkpoint_facts(folder, first.member, first.fold)
    except files.DamagedError:
        facts = None  # the fit's next process reports it
    epochs = first.settings.train.epochs
    saved = f" ({facts['epochs']} of {epochs} epochs saved)" if facts else ""
    names = ", ".join([first.name + saved, *(spec.name for spec in others)])
    return (
        f"time limit of {duration(budget.limit)}: ended after {duration(budget.seconds())};"
        f" not done yet: {names}; {how_to_continue} to continue"
    )
