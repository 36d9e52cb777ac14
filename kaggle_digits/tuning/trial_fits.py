"""Configs -> their fits on some rows and folds, run by the same engine as those of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from kaggle_digits.augmentation import bank
from kaggle_digits.config.schema import Config
from kaggle_digits.results.search_records import Status
from kaggle_digits.scoring import ensemble
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import backend, engine, fit, fit_spec, resume, user_callbacks
from kaggle_digits.training.engine import EngineOptions, FitProgress, Workplace
from kaggle_digits.training.fit_spec import FitSpec, Inputs
from kaggle_digits.training.resume import RunState

POLL_SECONDS = 0.1


class TimeLimitReached(BaseException):
    """The time limit is reached; no Exception, which KerasTuner would take for a trial's own."""


class TrialFailed(Exception):
    """A trial has no figure.

    Args:
        reason: why, for people.
        status: failed: a net cannot be trained; out of bounds: it costs more than it may.
    """

    def __init__(self, reason: str, status: Status = "failed") -> None:
        super().__init__(reason)
        self.status = status


class SearchProgress:
    """Shows the engine's events in a search: lines, and what the live table says at its foot.

    Args:
        reporter: where lines go.

    Attributes:
        stage: what the search does now, for example a trial.
        detail: how far it is.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.stage, self.detail = "starting", ""

    def begin(self, stage: str) -> None:
        """Note what begins."""
        self.stage, self.detail = stage, ""

    def say(self, text: str) -> None:
        """Write a line."""
        self._reporter.say(text)

    def progress(self, progress: FitProgress) -> None:
        """Note a step."""
        epochs = progress.spec.settings.train.epochs
        at = f"epoch {progress.epochs_done:.1f}/{epochs}"
        self.detail = (
            f"{progress.spec.name}, {at if progress.phase == 'training' else progress.phase}"
        )


@dataclass(frozen=True, eq=False)
class TrialFits:
    """What the fits of a search's configs have in common.

    Attributes:
        inputs: the rows; there are no test rows, nothing is to be predicted for them.
        split: held-out row sets, one for each fold.
        cache: holds the banks.
        budget: the time there is.
        reserve: returns the seconds of it that are kept free.
        progress: hears of what is going on.
        seconds_per_fit: longest training of one fit; None: as long as it takes.
        allow_changed_versions: continue with other package versions.
    """

    inputs: Inputs
    split: Sequence[np.ndarray]
    cache: Cache
    budget: TimeBudget
    reserve: Callable[[], float]
    progress: SearchProgress
    seconds_per_fit: float | None = None
    allow_changed_versions: bool = False

    def plan(self, config: Config, folds: Sequence[int]) -> list[list[FitSpec]]:
        """List a config's fits, for each of some folds those of all members."""
        specs = fit_spec.plan(config, self.inputs, self.split, backend.name())
        return [[spec for spec in specs if spec.fold == fold] for fold in folds]

    def prepare(self, folder: RunFolder, specs: list[FitSpec]) -> RunState:
        """Find out what is there already, and draw what the other fits will read.

        Args:
            folder: the config's.
            specs: all its fits.

        Returns:
            How far they are.

        Raises:
            TrialFailed: all attempts at a fit have diverged.
            TimeLimitReached: not all variants are drawn.
            UserError: the fits there are of other package versions.
        """
        state = resume.scan_fits(folder, specs, self.allow_changed_versions)
        warnings = resume.check_environment(folder, state.fits, self.allow_changed_versions)
        for line in (*state.notes, *warnings):
            self.progress.say(line)
        for name, reason in state.skipped.items():
            raise TrialFailed(f"{name} diverged: {reason}")
        resume.clear_leftovers(folder, state)
        for its_bank, variants in fit_spec.variants_by_bank(state.to_do).items():
            bank.fill(
                self.cache,
                its_bank,
                self.inputs.train_images,
                variants,
                listener=self._note_drawn,
                stop=self._is_late,
            )
            if self._is_late():
                raise TimeLimitReached
        return state

    def run(self, folder: RunFolder, specs: list[FitSpec], callbacks: tuple[str, ...]) -> None:
        """Run fits to their end.

        Args:
            folder: the config's.
            specs: those to run, each the attempt that it is at.
            callbacks: import paths of a user's own Keras callbacks.

        Raises:
            TimeLimitReached: the last whole epoch is saved.
            Stopped: a signal came; the last whole epoch is saved.
            TrialFailed: one has diverged, is too slow, or too large for the memory.
            UserError: the disk is full.
        """
        options = EngineOptions(
            reserve=self.reserve(),
            has_result=True,
            seconds_per_fit=self.seconds_per_fit,
            callbacks=user_callbacks.load(callbacks),
        )
        workplace = Workplace(folder, self.cache)
        outcomes = engine.run(specs, self.inputs, workplace, self.budget, self.progress, options)
        failure, late = None, False
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    late = outcome.status == "unfinished"
                    if outcome.status == "skipped":
                        failure = TrialFailed(f"{outcome.spec.name} diverged: {outcome.reason}")
                    if outcome.status == "too slow":
                        failure = TrialFailed(outcome.reason, "out of bounds")
                    if failure:
                        break
        except fit.OutOfMemory as error:
            failure = TrialFailed(str(error))
        if (number := self.budget.signals.received) is not None:
            raise Stopped(number)  # it came while a fit failed
        if failure:
            raise failure
        if late:
            raise TimeLimitReached

    def out_of_fold(
        self, folder: RunFolder, specs: Sequence[FitSpec], config: Config
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what finished fits predict out of fold.

        Returns:
            (rows that they hold out, (r,) int64; their probabilities, (r, 10)).
        """
        found = (fit.read_predictions(folder, spec) for spec in specs)
        found = ensemble.weighted(found, config.ensemble.weights)
        rows = len(self.inputs.train_labels)
        probabilities, count = ensemble.out_of_fold(found, rows, config.ensemble.method)
        covered = np.flatnonzero(count)
        return covered, probabilities[covered]

    def wait(self) -> None:
        """Wait a little for another process; raise `TimeLimitReached` if there is no time to."""
        if self._is_late():
            raise TimeLimitReached
        time.sleep(POLL_SECONDS)

    def _is_late(self) -> bool:
        return self.budget.seconds_left() < self.reserve()

    def _note_drawn(self, done: int, total: int) -> None:
        self.progress.detail = f"augmentation {done}/{total}"
