"""Runs fits, one after the other, for runs and searches alike.

The only place that decides about their order, retries of diverged ones, resuming, the time there is
and memory. A fit is done whole or resumes from its last whole epoch in a later process.
Specifications, inputs and outcomes can be pickled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import psutil

from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.time_budget import FORWARD_SPEEDUP, START_SECONDS, TimeBudget
from kaggle_digits.training import backend, fit, monitoring, resume
from kaggle_digits.training.fit_spec import FitSpec, Inputs
from kaggle_digits.training.time_left import Forecast

if TYPE_CHECKING:
    import keras

    # Not at run time: they import the backend.
    from kaggle_digits.training.callbacks import Checkpoint
    from kaggle_digits.training.train import TrainingResult


@dataclass(frozen=True)
class Workplace:
    """Where fits read from and write to.

    Attributes:
        folder: holds the fits and what unfinished ones resume from.
        cache: holds the augmentation banks.
    """

    folder: RunFolder
    cache: Cache


@dataclass(frozen=True)
class EngineOptions:
    """How fits are run.

    Attributes:
        reserve: seconds of the time limit that are kept free for what follows.
        has_result: a fit is finished already. If none is when the time is up, the net at hand
            predicts the test rows.
        provisional_epochs: epochs behind such a prediction that is there already.
        draw_seconds: what drawing a variant on each core takes if some are missing.
        seconds_per_fit: longest training of one fit; None: as long as it takes.
        callbacks: factories of a user's own Keras callbacks; no part of a fit's identity.
    """

    reserve: float = 0.0
    has_result: bool = False
    provisional_epochs: float = 0.0
    draw_seconds: float = START_SECONDS
    seconds_per_fit: float | None = None
    callbacks: Sequence[Callable[[], keras.callbacks.Callback]] = ()


Phase = Literal["compiling", "training", "predicting"]


@dataclass(frozen=True)
class FitProgress:
    """How far a fit, and all of them together, are.

    Attributes:
        spec: the fit in progress.
        epochs_done: of it, as a fraction.
        entry: the history's entry at the end of an epoch, else None.
        fraction: of all work, 0..1.
        images_per_second: with all that is not training, 0 while it is not known.
        seconds_left: forecast for all fits, 0 while it is not known.
        phase: compiling: until its first step is done, which can take a backend many seconds.
    """

    spec: FitSpec
    epochs_done: float
    entry: dict[str, float] | None
    fraction: float
    images_per_second: float
    seconds_left: float
    phase: Phase = "training"


class Events(Protocol):
    """Who hears of what is going on."""

    def say(self, text: str) -> None:
        """Take a line for people."""

    def progress(self, progress: FitProgress) -> None:
        """Take note of a step or an epoch."""


@dataclass(frozen=True, eq=False)
class Provisional:
    """What an unfinished fit predicts.

    Attributes:
        test: (m, 10) float32 probabilities of the test rows, from the averaged weights so far.
        epochs: epochs behind them, as a fraction.
    """

    test: np.ndarray
    epochs: float


@dataclass(frozen=True, eq=False)
class FitOutcome:
    """What has become of a fit.

    Attributes:
        spec: the attempt that it ended at.
        status: finished: it is saved; skipped: all attempts have diverged; unfinished: the time is
            up, no further fit is begun; too slow: it would pass `seconds_per_fit`.
        reason: of skipped and too slow, for people.
        provisional: what an unfinished fit predicts, where no other is finished.
    """

    spec: FitSpec
    status: Literal["finished", "skipped", "unfinished", "too slow"]
    reason: str = ""
    provisional: Provisional | None = None


def run(
    specs: Sequence[FitSpec],
    inputs: Inputs,
    workplace: Workplace,
    budget: TimeBudget,
    events: Events,
    options: EngineOptions,
) -> Iterator[FitOutcome]:
    """Run fits in their order as far as the time goes.

    Whoever takes the outcome of a fit is not interrupted by a signal while it works on it: that is
    raised when the next one is asked for.

    Args:
        specs: the fits, each the attempt that it is at.
        inputs: the arrays that they read.
        workplace: where they read from and write to.
        budget: the time there is.
        events: who hears of what is going on.
        options: how they are run.

    Yields:
        One outcome for each fit; after an unfinished one no more.

    Raises:
        Stopped: a signal came; the last whole epoch is saved.
        OutOfMemory: the memory is too small.
        UserError: the disk is full.
    """
    if not specs:
        return
    backend.configure(specs[0].settings.train.threads)  # first of all, for its start is quiet
    engine = _Engine(specs, inputs, workplace, budget, events, options)
    for spec in specs:
        if not engine.has_time_for(spec):
            yield FitOutcome(spec, "unfinished")
            return
        with budget.signals.deferred():
            with fit.memory_errors_explained(spec):
                outcome = engine.fit(spec)
            yield outcome
        if outcome.status == "unfinished":
            return


class _Engine:
    """Runs one fit after the other and knows what the ones before have taken."""

    def __init__(
        self,
        specs: Sequence[FitSpec],
        inputs: Inputs,
        workplace: Workplace,
        budget: TimeBudget,
        events: Events,
        options: EngineOptions,
    ) -> None:
        self._inputs, self._workplace, self._events = inputs, workplace, events
        self._budget, self._options = budget, options
        self._has_result = options.has_result
        self._forecast = Forecast(specs, len(inputs.train_labels))
        self._first_step_seconds, self._finish_seconds = 0.0, {}
        self._process, self._peak_memory = psutil.Process(), 0

    def fit(self, spec: FitSpec) -> FitOutcome:
        """Run one fit; a diverged one is tried again."""
        while True:
            trained, slow = self._train(spec)
            if slow:
                return FitOutcome(spec, "too slow", slow)
            reason = fit.divergence_reason(trained)
            if reason is None:
                if not trained.complete or not self._has_time_to_finish(spec):
                    return FitOutcome(spec, "unfinished", provisional=self._predict(spec, trained))
                self._end_training(spec, trained)
                self._show(spec, "predicting")
                result = fit.finish_fit(spec, self._inputs, trained)
                self._finish_seconds[spec.member] = result.predict_seconds
                if np.isfinite(result.heldout).all() and np.isfinite(result.test).all():
                    peak = {"peak_memory_bytes": self._peak_memory}
                    fit.save_fit(self._workplace.folder, spec, result, peak)
                    self._has_result = True
                    return FitOutcome(spec, "finished")
                reason = "its predictions are not finite"
            resume.note_divergence(self._workplace.folder, spec, reason)
            if spec.attempt >= fit.ATTEMPTS:
                return FitOutcome(spec, "skipped", reason)
            spec = spec.next_attempt()
            self._events.say(
                f"{spec.name} diverged ({reason}); retrying with a new seed and learning rate "
                f"{spec.settings.train.learning_rate:g} (attempt {spec.attempt} of {fit.ATTEMPTS})"
            )
            self._forecast.restart()
            if not self.has_time_for(spec):
                return FitOutcome(spec, "unfinished")

    def _train(self, spec: FitSpec) -> tuple[TrainingResult | None, str | None]:
        """Train one attempt; return what it ended with, or why it is too slow."""
        from kaggle_digits.training.callbacks import Hooks

        self._began, self._first_step_seconds = time.monotonic(), 0.0
        self._peak_memory = self._process.memory_info().rss
        checkpoint = self._load_checkpoint(spec)
        self._epochs_done = float(checkpoint.epochs) if checkpoint else 0.0
        slow = self._why_too_slow(spec, checkpoint)
        if slow:
            return None, slow
        self._show(spec, "compiling")

        def keep(checkpoint: Checkpoint) -> None:
            nonlocal slow
            resume.save_checkpoint(self._workplace.folder, spec, checkpoint)
            slow = self._why_too_slow(spec, checkpoint)

        hooks = Hooks(
            on_progress=lambda done, entry: self._report(spec, done, entry),
            on_checkpoint=keep,
            must_stop=lambda done: slow is not None or self._must_stop(spec, done),
            callbacks=self._options.callbacks,
        )
        trained = fit.train_fit(spec, self._inputs, self._workplace.cache, checkpoint, hooks)
        return trained, slow

    def _end_training(self, spec: FitSpec, trained: TrainingResult) -> None:
        if kept := monitoring.what_is_kept(spec.settings.train, trained.history):
            self._events.say(f"{spec.name}: {kept}")
        self._forecast.end(spec, self._epochs_done / spec.settings.train.epochs)

    def _load_checkpoint(self, spec: FitSpec) -> Checkpoint | None:
        try:
            checkpoint = resume.load_checkpoint(self._workplace.folder, spec)
        except files.DamagedError as damage:
            self._events.say(
                f"damaged: {damage.path}: {damage.reason}; {spec.name} starts from the beginning"
            )
            return None
        if checkpoint:
            self._events.say(f"{spec.name} resumes after epoch {checkpoint.epochs}")
        return checkpoint

    def _why_too_slow(self, spec: FitSpec, checkpoint: Checkpoint | None) -> str | None:
        limit, epochs = self._options.seconds_per_fit, spec.settings.train.epochs
        seconds = [entry["seconds"] for entry in checkpoint.history] if checkpoint else []
        if limit is None or len(seconds) < min(2, epochs):
            return None
        # The first epoch also starts the backend up, so the last one shows what is to come.
        forecast = sum(seconds) + seconds[-1] * (epochs - len(seconds))
        if forecast <= limit:
            return None
        return f"a fit would train {forecast:.0f} s, more than --max-seconds-per-fit {limit:g}"

    def _predict(self, spec: FitSpec, trained: TrainingResult) -> Provisional | None:
        """Predict the test rows with the averaged weights of a fit that is not whole."""
        needed = self._seconds_to_predict(spec, heldout=False)
        if self._has_result or self._budget.seconds_left() < needed:
            return None
        if self._options.provisional_epochs > self._epochs_done:
            self._events.say("provisional submission: the one before, of more epochs, is kept")
            return None
        from kaggle_digits.training.train import predict

        self._show(spec, "predicting")
        # Without `test_shift`: so early a net is unsure of most images, and time is short.
        test = predict(trained.model, self._inputs.test_images)
        return Provisional(test, self._epochs_done)

    # The time there is

    def has_time_for(self, spec: FitSpec) -> bool:
        """Return whether there is time to begin a fit."""
        # The next fit takes as long to make its first step as the one before, if there was one.
        needed = self._first_step_seconds
        if self._has_result:
            needed += self._epoch_seconds(spec)
        elif self._first_step_seconds:
            needed += self._seconds_to_predict(spec, heldout=False)
        needed += self._seconds_to_draw(spec, 0)
        return self._budget.seconds_left() > self._options.reserve + needed

    def _must_stop(self, spec: FitSpec, epochs_done: float) -> bool:
        """Return, after a step, whether training has to end there."""
        if self._budget.signals.received is not None:
            return True
        left = self._budget.seconds_left()
        if math.isinf(left):
            return False
        whole = epochs_done == int(epochs_done)
        # A variant that is missing holds the next epoch up.
        waiting = self._seconds_to_draw(spec, int(epochs_done)) if whole else 0.0
        if not self._has_result:
            ahead = self._seconds_to_predict(spec, heldout=False)
        else:
            # Only whole epochs are kept: one that cannot be whole in time is not begun.
            ahead = self._epoch_seconds(spec) if whole else 0.0
        return left < self._options.reserve + waiting + ahead

    def _has_time_to_finish(self, spec: FitSpec) -> bool:
        # As long as an earlier fit of this net took, with room for a machine that is busier now.
        needed = min(
            self._seconds_to_predict(spec, heldout=True),
            1.5 * self._finish_seconds.get(spec.member, math.inf),
        )
        # After a signal a first fit is finished rather than used half; others can wait.
        if self._budget.signals.received is not None and self._has_result:
            return False
        return self._budget.seconds_left() > self._options.reserve + needed

    def _seconds_to_predict(self, spec: FitSpec, heldout: bool) -> float:
        from kaggle_digits.training.train import statistics_rows

        # Estimated layer by layer, so a row takes as long as a training step takes for it.
        estimating = statistics_rows(spec.settings.train, len(self._inputs.train_labels))
        rows = len(self._inputs.test_images) + (len(spec.heldout_rows) if heldout else 0)
        images = estimating + rows / FORWARD_SPEEDUP
        # What a backend compiles for a step, it compiles again, at most as much, for predictions.
        return self._first_step_seconds + self._seconds_for(images)

    def _epoch_seconds(self, spec: FitSpec) -> float:
        rows = len(self._inputs.train_labels) - len(spec.heldout_rows)
        return self._seconds_for(spec.settings.train.rows_an_epoch(rows))

    def _seconds_for(self, images: float) -> float:
        """Return how long training on a number of images takes, 0 before the second step."""
        speed = self._forecast.images_per_second
        return images / speed if speed > 0 else 0.0

    def _seconds_to_draw(self, spec: FitSpec, epoch: int) -> float:
        if epoch >= spec.settings.train.epochs:
            return 0.0
        has_variant = partial(self._workplace.cache.has_variant, spec.bank.key)
        missing = sum(not has_variant(number) for number in spec.variants_of_epoch(epoch))
        return math.ceil(missing / environment.usable_cores()) * self._options.draw_seconds

    def _report(self, spec: FitSpec, epochs_done: float, entry: dict | None) -> None:
        """Report a step; `entry` is the history's at the end of an epoch."""
        if not self._first_step_seconds:
            self._first_step_seconds = time.monotonic() - self._began
        self._epochs_done = epochs_done
        self._peak_memory = max(self._peak_memory, self._process.memory_info().rss)
        self._forecast.note(spec, epochs_done / spec.settings.train.epochs)
        self._show(spec, "training", entry)

    def _show(self, spec: FitSpec, phase: Phase, entry: dict | None = None) -> None:
        done = self._epochs_done
        fraction, speed, left = self._forecast.at(spec, done / spec.settings.train.epochs)
        if speed:
            # The end of this fit, then the start and the end of each that follows. What is reserved
            # of a time limit for an end is about twice of what it takes.
            after, reserved = self._forecast.fits_after(spec), self._seconds_to_predict(spec, True)
            end = self._finish_seconds.get(spec.member, reserved / 2)
            left += (after + 1) * end + after * self._first_step_seconds
        self._events.progress(FitProgress(spec, done, entry, fraction, speed, left, phase))
