"""Planned fits -> finished fits, one after the other: progress, sick fits, and the time there is.

A fit is done whole or goes on from its last whole epoch in a later process. Where no fit is whole
when the time is up, the net at hand predicts a provisional submission.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.runs.summary import Results
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter, duration
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import backend, fit_spec
from kaggle_digits.training import fit as fits

if TYPE_CHECKING:
    from kaggle_digits.training import train

# Seconds that are kept free for the last table and the end of the process, and as much again of a
# long limit: in hours a machine may come to be busy with other things.
EXIT_SECONDS = 5.0
EXIT_SHARE = 0.005
# So late a process that is held up (a backend can take seconds to let go of an epoch) just ends.
FORCE_SECONDS = 1.5
# What a backend takes to start and to make its first step, where nothing is known yet.
START_SECONDS = 12.0
# A forward pass takes a third to a fourth of a step's time, but a prediction has to start first.
FORWARD_SPEEDUP = 2.0


def exit_seconds(stop: TimeBudget) -> float:
    """Say how long before the time is up the last work has to be done."""
    return EXIT_SECONDS + EXIT_SHARE * (stop.limit or 0.0)


class Fitting:
    """Trains a run's fits in their order and keeps the run's results up to date.

    Args:
        folder: the run's folder.
        cache: holds the bank.
        inputs: the arrays.
        results: is made anew after each fit.
        metrics: content of `metrics.json`, {} while no fit is finished.
        draw_seconds: what drawing variants takes that are not in the bank yet.
        stop: the time there is.
        reporter: where progress goes.
    """

    def __init__(
        self,
        folder: RunFolder,
        cache: Cache,
        inputs: fit_spec.Inputs,
        results: Results,
        metrics: dict,
        draw_seconds: float,
        stop: TimeBudget,
        reporter: Reporter,
    ) -> None:
        self._folder, self._cache, self._inputs = folder, cache, inputs
        self._results, self._stop, self._reporter = results, stop, reporter
        self._draw_seconds, self._first_step_seconds = draw_seconds, 0.0
        self._epochs_done = 0.0
        self._finish_seconds: dict[str, float] = {}
        self.metrics = metrics

    def end_in_time(self) -> None:
        """See to it that the process ends before the time limit, even if a step hangs."""
        if self._stop.limit is None:
            return
        timer = threading.Timer(max(0.0, self._stop.seconds_left() - FORCE_SECONDS), self._leave)
        timer.daemon = True
        timer.start()

    def run(self, specs: list[fit_spec.FitSpec]) -> list[fit_spec.FitSpec]:
        """Train fits in their order as far as the time goes.

        Args:
            specs: the fits, each the attempt that it is at.

        Returns:
            The fits that are not done.

        Raises:
            Stopped: a signal came; the last whole epoch is saved.
            UserError: the disk is full, or memory does not suffice.
        """
        backend.configure(specs[0].settings.train.threads)  # first of all, for its start is quiet
        self._forecast = _Forecast(specs, len(self._inputs.train_labels))
        for number, spec in enumerate(specs):
            if not self._is_room_for_an_epoch(spec):
                return specs[number:]
            with self._stop.deferred(), fits.memory_errors_explained(spec):
                done = self._fit(spec)
                self._results.note_seconds()
            if not done:
                return specs[number:]
        return []

    def _fit(self, spec: fit_spec.FitSpec) -> bool:
        """Train one fit, a sick one once more; tell whether no more is to be done for it."""
        trained = self._train(spec)
        if reason := fits.divergence_reason(trained):
            return self._note_divergence(spec, reason)
        if not trained.complete or not self._is_time_to_finish(spec):
            if not self.metrics.get("fits_finished"):
                self._predict_provisionally(spec, trained)
            return False
        result = fits.finish_fit(spec, self._inputs, trained)
        self._finish_seconds[spec.member] = result.predict_seconds
        if not (np.isfinite(result.heldout).all() and np.isfinite(result.test).all()):
            return self._note_divergence(spec, "its predictions are not numbers")
        fits.save_fit(self._folder, spec, result)
        self.metrics = self._results.update()
        own = self.metrics["members"][spec.member]["fits"][f"fold{spec.fold + 1}"]
        self._reporter.say(
            f"{spec.name} finished: {own['errors']} of {own['rows']} held-out rows wrong, accuracy "
            f"{own['accuracy']:.5f}, out-of-fold accuracy so far {self.metrics['oof_accuracy']:.5f}"
        )
        return True

    def _train(self, spec: fit_spec.FitSpec) -> train.TrainingResult:
        self._began, self._first_step_seconds = time.monotonic(), 0.0

        def keep(state: train.Checkpoint) -> None:
            fits.save_state(self._folder, spec, state)
            self._results.note_seconds()

        with self._reporter.bar(100) as show:
            return fits.train_fit(
                spec,
                self._inputs,
                self._cache,
                partial(self._report, show, spec),
                state=fits.resume(self._folder, spec, self._reporter.say),
                keep=keep,
                stop=partial(self._must_stop, spec),
            )

    def _note_divergence(self, spec: fit_spec.FitSpec, reason: str) -> bool:
        fits.note_divergence(self._folder, spec, reason)
        if spec.attempt < fits.ATTEMPTS:
            again = spec.next_attempt()
            self._reporter.say(
                f"{spec.name} is sick: {reason}; it is trained once more with another seed and "
                f"learning rate {again.settings.train.learning_rate:g}"
            )
            self._results.replace(again)
            self._forecast.begin_again()
            return self._is_room_for_an_epoch(again) and self._fit(again)
        self._reporter.say(f"WARNING: {spec.name} is left out: {reason}, in its last attempt too")
        self._results.skip(spec, reason)
        if self.metrics.get("fits_finished"):
            self.metrics = self._results.update()
        return True

    def _predict_provisionally(self, spec: fit_spec.FitSpec, trained: train.TrainingResult) -> None:
        """Make a submission from the averaged weights of a fit that is not whole."""
        if self._stop.seconds_left() < self._seconds_to_predict(spec, heldout=False):
            return
        if self.metrics.get("provisional_epochs", 0.0) > self._epochs_done:
            self._reporter.say("provisional submission: the one before, of more epochs, stays")
            return
        from kaggle_digits.training import train

        probabilities = train.predict(trained.model, self._inputs.test_images)
        if problem := self._results.why_no_submission(probabilities):
            self._reporter.say(f"no provisional submission yet: {problem}")
            return
        self.metrics = self._results.update_provisionally(spec, probabilities, self._epochs_done)
        self._reporter.say(f"provisional submission: from {spec.name}, which is not finished")

    # The time there is

    def _must_stop(self, spec: fit_spec.FitSpec, epochs_done: float) -> bool:
        """Tell, after a step, whether training has to end there."""
        if self._stop.signal is not None:
            return True
        left = self._stop.seconds_left()
        if math.isinf(left):
            return False
        whole = epochs_done == int(epochs_done)
        # A variant that is not there yet holds the next epoch up.
        waiting = self._seconds_to_draw(spec, int(epochs_done)) if whole else 0.0
        if not self.metrics.get("fits_finished"):
            ahead = self._seconds_to_predict(spec, heldout=False)
        else:
            # Only whole epochs are kept: one that cannot be whole in time is not begun.
            ahead = self._epoch_seconds(spec) if whole else 0.0
        return left < exit_seconds(self._stop) + waiting + ahead

    def _is_room_for_an_epoch(self, spec: fit_spec.FitSpec) -> bool:
        # The next fit takes as long to make its first step as the one before, if there was one.
        needed = self._first_step_seconds
        if self.metrics.get("fits_finished"):
            needed += self._epoch_seconds(spec)
        elif self._first_step_seconds:
            needed += self._seconds_to_predict(spec, heldout=False)
        return self._stop.seconds_left() > exit_seconds(self._stop) + needed

    def _is_time_to_finish(self, spec: fit_spec.FitSpec) -> bool:
        needed = self._seconds_to_predict(spec, heldout=True)
        # As long as an earlier fit of this net took, with room for a machine that is busier now.
        needed = exit_seconds(self._stop) + min(
            needed, 1.5 * self._finish_seconds.get(spec.member, math.inf)
        )
        # After a signal a first fit is finished rather than used half; others can wait.
        if self._stop.signal is not None and self.metrics.get("fits_finished"):
            return False
        return self._stop.seconds_left() > needed

    def _seconds_to_predict(self, spec: fit_spec.FitSpec, heldout: bool) -> float:
        from kaggle_digits.training import train

        # Estimated layer by layer, so a row takes as long as a training step takes for it.
        estimating = min(train.STATISTICS_ROWS, len(self._inputs.train_labels))
        rows = len(self._inputs.test_images) + (len(spec.heldout_rows) if heldout else 0)
        images = estimating + rows / FORWARD_SPEEDUP
        # What a backend compiles for a step, it compiles again, at most as much, for predictions.
        return self._first_step_seconds + self._seconds_for(images)

    def _epoch_seconds(self, spec: fit_spec.FitSpec) -> float:
        return self._seconds_for(len(self._inputs.train_labels) - len(spec.heldout_rows))

    def _seconds_for(self, images: float) -> float:
        """Say how long training on a number of images takes, 0 before the second step."""
        speed = self._forecast.images_per_second
        return images / speed if speed > 0 else 0.0

    def _seconds_to_draw(self, spec: fit_spec.FitSpec, epoch: int) -> float:
        there = epoch >= spec.settings.train.epochs or self._cache.has_variant(
            spec.bank_key, spec.variant_of_epoch(epoch)
        )
        return 0.0 if there else self._draw_seconds

    def _leave(self) -> None:
        """End the process in time, whatever its main thread is doing; all that counts is saved."""
        if not self._folder.submission.is_file():
            return
        self._reporter.say(
            f"time limit of {duration(self._stop.limit)}: ended in the middle of a step; what is "
            f"finished is in the submission, whole epochs are saved; {self._stop.advice} to go on"
        )
        sys.stdout.flush()
        os._exit(0)

    # What people see

    def _report(
        self,
        show: Callable[[float, str], None],
        spec: fit_spec.FitSpec,
        epochs_done: float,
        entry: dict | None,
    ) -> None:
        """Tell of a step; `entry` is the history's line at the end of an epoch."""
        if not self._first_step_seconds:
            self._first_step_seconds = time.monotonic() - self._began
        self._epochs_done = epochs_done
        epochs = spec.settings.train.epochs
        share, speed, seconds_left = self._forecast.at(spec, epochs_done / epochs)
        left = f"{duration(seconds_left)} left" if speed else "time left not known yet"
        if speed and not math.isinf(limit := self._stop.seconds_left()) and limit < seconds_left:
            left += f", {duration(max(0, limit))} to the time limit"
        accuracy = self.metrics.get("oof_accuracy")
        so_far = f", out-of-fold accuracy so far {accuracy:.5f}" if accuracy else ""
        at = f"{spec.name}, epoch {math.ceil(epochs_done)}/{epochs}"
        show(100 * share, f"{at}{so_far}, {speed:,.0f} images/s, {left}")
        if entry:
            self._reporter.say(
                f"{at}: loss {entry['loss']:.4f}, training accuracy {entry['accuracy']:.4f}, "
                f"{entry['images_per_second']:,.0f} images/s, {left}"
            )


class _Forecast:
    """Forecasts how long the fits still take from the images that they have yet to see."""

    def __init__(self, specs: list[fit_spec.FitSpec], rows: int) -> None:
        self._before: dict[str, float] = {}
        self._images: dict[str, float] = {}
        self._total = 0.0
        self._first: tuple[float, float] | None = None
        self.images_per_second = 0.0
        for spec in specs:
            images = (rows - len(spec.heldout_rows)) * spec.settings.train.epochs
            self._before[spec.name], self._images[spec.name] = self._total, images
            self._total += images

    def begin_again(self) -> None:
        """Measure the speed anew: a fit is trained once more."""
        self._first = None

    def at(self, spec: fit_spec.FitSpec, share: float) -> tuple[float, float, float]:
        """Look ahead when `share` of a fit is done.

        Returns:
            (share of all work done, images a second with all that is not training, seconds left).
        """
        now = time.monotonic()
        images = self._before[spec.name] + share * self._images[spec.name]
        # From the first call on: what an earlier process did took none of this one's time.
        start, images_before = self._first = self._first or (now, images)
        speed = self.images_per_second = (images - images_before) / max(now - start, 1e-9)
        left = (self._total - images) / speed if speed > 0 else 0.0
        return images / self._total, max(speed, 0.0), left
