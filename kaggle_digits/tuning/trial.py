"""A candidate's settings -> its fits, fold by fold -> how it stands against the best so far.

A candidate is a config with some settings changed. Its fits are those of a run, in a folder of its
own, and whatever is finished is never trained again, by whichever trial it was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from kaggle_digits.augmentation import bank
from kaggle_digits.config import loading
from kaggle_digits.config.loading import Config
from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import Findings, TrialFailed, TrialResult
from kaggle_digits.scoring import ensemble, significance
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import backend, fit_spec, resume
from kaggle_digits.training import fit as fits
from kaggle_digits.tuning.search_folder import SearchFolder

if TYPE_CHECKING:
    from kaggle_digits.training import train

POLL_SECONDS = 0.1
SCHEDULE = ("epochs", "warmup_epochs", "ema_epochs")


class TimeLimitReached(BaseException):
    """The time limit is reached; no Exception, which KerasTuner would take for a trial's own."""


@dataclass(frozen=True)
class SearchBounds:
    """What bounds a search.

    Attributes:
        seconds_per_fit: longest training of one fit, seconds.
        parameters: most parameters of all members' nets together.
    """

    seconds_per_fit: float | None = None
    parameters: int | None = None


def shortened(config: Config, share: float) -> Config:
    """Shorten all schedules, as a whole, to a share of their epochs."""
    if share == 1:
        return config
    values = config.model_dump(mode="json")
    for section in (values["train"], *(member["train"] for member in values["members"].values())):
        for key in set(SCHEDULE) & section.keys():
            section[key] *= share
        if "epochs" in section:
            section["epochs"] = max(1, round(section["epochs"]))
    return loading.from_values(values)


class FoldTrainer:
    """Trains fits of candidates on some rows, whole or not at all.

    Args:
        inputs: the rows; the test rows are none, nothing is to be predicted for them.
        split: held-out row sets, one a fold.
        cache: holds the banks.
        limits: what bounds a fit.
        stop: the time there is, without what is kept free for the end.
        reserve: says how many seconds are kept free.
        reporter: is told of damage and sick fits.
        watch: is called with what is going on.
        allow_changed: go on with other package versions.
    """

    def __init__(
        self,
        inputs: fit_spec.Inputs,
        split: Sequence[np.ndarray],
        cache: Cache,
        limits: SearchBounds,
        stop: TimeBudget,
        reserve: Callable[[], float],
        reporter: Reporter,
        watch: Callable[[str], None],
        allow_changed: bool,
    ) -> None:
        self.inputs, self.split = inputs, list(split)
        self._cache, self._limits, self._stop, self._reserve = cache, limits, stop, reserve
        self._reporter, self._watch, self._allow_changed = reporter, watch, allow_changed
        self._process = psutil.Process()

    def plan(self, config: Config, folds: Sequence[int]) -> list[list[fit_spec.FitSpec]]:
        """List a candidate's fits, for each of some folds those of all members."""
        specs = fit_spec.plan(config, self.inputs, self.split, backend.name())
        return [[spec for spec in specs if spec.fold == fold] for fold in folds]

    def probabilities(
        self, folder: RunFolder, specs: Sequence[fit_spec.FitSpec], config: Config
    ) -> np.ndarray:
        """Return a candidate's out-of-fold probabilities, (n, 10), NaN where no fit is given."""
        found = [
            ensemble.FitPredictions(
                spec.member,
                spec.fold,
                np.array(spec.heldout_rows),
                *map(folder.read_fit_arrays(spec.member, spec.fold).get, ("heldout", "test")),
            )
            for spec in specs
        ]
        oof, _ = ensemble.out_of_fold(found, len(self.inputs.train_labels), config.ensemble.method)
        return oof

    def prepare(
        self, folder: RunFolder, specs: Sequence[fit_spec.FitSpec]
    ) -> dict[str, fit_spec.FitSpec]:
        """See what is there already, and draw what the other fits will read.

        Args:
            folder: the candidate's.
            specs: all its fits.

        Returns:
            The fits that are not finished, each the attempt that it is at, by name.

        Raises:
            TrialFailed: a fit was sick in all its attempts.
            UserError: the fits there are of other package versions.
        """
        statuses = resume.scan_fits(folder, list(specs), self._reporter, self._allow_changed)
        resume.check_environment(folder, statuses, self._allow_changed, self._reporter)
        todo = [standing.spec for standing in statuses if standing.to_do]
        for standing in statuses:
            if standing.skipped:
                raise TrialFailed(f"{standing.spec.name} is sick: {standing.skipped}")
        for spec in todo:
            folder.remove_fit(spec.member, spec.fold)  # what is left of a damaged one
        for key in dict.fromkeys(spec.bank_key for spec in todo):
            sharing = [spec for spec in todo if spec.bank_key == key]
            epochs = [(s, epoch) for s in sharing for epoch in range(s.settings.train.epochs)]
            bank.fill(
                self._cache,
                key,
                self.inputs.train_images,
                sharing[0].settings.augment,
                sharing[0].seed,
                list(dict.fromkeys(spec.variant_of_epoch(epoch) for spec, epoch in epochs)),
                listener=lambda done, total: self._watch(f"augmentation {done}/{total}"),
                stop=self._is_late,
            )
            if self._is_late():
                raise TimeLimitReached
        return {spec.name: spec for spec in todo}

    def train(self, folder: RunFolder, spec: fit_spec.FitSpec) -> None:
        """Train one fit to its end.

        Raises:
            TimeLimitReached: the last whole epoch is saved.
            Stopped: a signal came; the last whole epoch is saved.
            TrialFailed: it is sick, too slow, or too large for the memory.
            UserError: the disk is full.
        """
        with self._stop.deferred():
            try:
                with fits.memory_errors_explained(spec):
                    self._train(folder, spec)
            except UserError as error:
                if error.__cause__ is not None and backend.is_out_of_memory(error.__cause__):
                    raise TrialFailed(str(error)) from error
                raise

    def _train(self, folder: RunFolder, spec: fit_spec.FitSpec) -> None:
        peak = 0
        epochs = spec.settings.train.epochs

        def listen(epochs_done: float, entry: dict | None) -> None:
            nonlocal peak
            peak = max(peak, self._process.memory_info().rss)
            self._watch(f"{spec.name}, epoch {epochs_done:.1f}/{spec.settings.train.epochs}")

        def keep(state: train.Checkpoint) -> None:
            nonlocal too_slow
            fits.save_state(folder, spec, state)
            too_slow = self._too_slow(state, epochs)

        def must_stop(epochs_done: float) -> bool:
            return too_slow is not None or self._stop.signal is not None or self._is_late()

        state = fits.resume(folder, spec, self._reporter.say)
        too_slow = self._too_slow(state, epochs) if state else None
        if too_slow:
            raise TrialFailed(too_slow, "out of bounds")
        trained = fits.train_fit(
            spec,
            self.inputs,
            self._cache,
            listen,
            state=state,
            keep=keep,
            stop=must_stop,
        )
        if too_slow:
            raise TrialFailed(too_slow, "out of bounds")
        if reason := fits.divergence_reason(trained):
            fits.note_divergence(folder, spec, reason)
            if spec.attempt >= fits.ATTEMPTS:
                raise TrialFailed(f"{spec.name} is sick: {reason}")
            self._reporter.say(f"{spec.name} is sick: {reason}; it is trained once more")
            self._train(folder, spec.next_attempt())
            return
        if not trained.complete:
            if self._stop.signal is not None:
                raise Stopped(self._stop.signal)
            raise TimeLimitReached
        result = fits.finish_fit(spec, self.inputs, trained)
        if not np.isfinite(result.heldout).all():
            raise TrialFailed(f"{spec.name} is sick: its predictions are not numbers")
        fits.save_fit(folder, spec, result, {"peak_memory_bytes": peak})

    def _too_slow(self, state: train.Checkpoint, epochs: int) -> str | None:
        seconds = [entry["seconds"] for entry in state.history]
        # The first epoch also starts the backend up, so the last one tells what is to come.
        forecast = sum(seconds) + seconds[-1] * (epochs - len(seconds))
        limit = self._limits.seconds_per_fit
        if limit is None or forecast <= limit or len(seconds) < min(2, epochs):
            return None
        return f"a fit would train {forecast:.0f} s, more than --max-seconds-per-fit {limit:g}"

    def wait(self) -> None:
        """Wait a little for another process; raise `TimeLimitReached` if there is no time to."""
        if self._is_late():
            raise TimeLimitReached
        time.sleep(POLL_SECONDS)

    def _is_late(self) -> bool:
        return self._stop.seconds_left() < self._reserve()


class TrialEvaluator:
    """Judges the candidates of a search on its folds.

    Args:
        folder: the search's folder.
        start: the config that the search begins with.
        trainer: has the search's rows and folds.
        limits: what bounds a candidate.
        findings: returns what the search has found so far.
        tell: is called when there is something new among it.
        reporter: where progress goes.
    """

    def __init__(
        self,
        folder: SearchFolder,
        start: Config,
        trainer: FoldTrainer,
        limits: SearchBounds,
        findings: Callable[[], Findings],
        tell: Callable[[], None],
        reporter: Reporter,
    ) -> None:
        self._folder, self._start, self._trainer = folder, start, trainer
        self._limits, self._findings = limits, findings
        self._tell, self._reporter = tell, reporter

    def evaluate(self, trial: str, settings: dict[str, Any], folds: int) -> TrialResult:
        """Train a candidate's fits fold by fold, as long as it can still become the best.

        Args:
            trial: the trial's id.
            settings: config key -> value.
            folds: how many, the first ones.

        Returns:
            How it ended: completed or stopped early.

        Raises:
            TrialFailed: it has no figure; its result says so too.
        """
        digest = files.digest_json(settings)
        result = TrialResult(trial, digest, settings, folds_planned=folds)
        folder = self._folder.candidate(digest)
        with folder.locked(self._trainer.wait):  # another worker may evaluate the same settings
            try:
                result = self._evaluate(folder, result)
            except TrialFailed as error:
                last = self._folder.read_results().get(trial, result)
                self._record(replace(last, status=error.status, reason=str(error)))
                raise
        return result

    def _record(self, result: TrialResult) -> None:
        self._folder.write_result(result)
        self._tell()

    def _evaluate(self, folder: RunFolder, result: TrialResult) -> TrialResult:
        try:
            config = loading.changed(self._start, result.settings)
            config = shortened(config, self._start.tune.epoch_fraction)
        except UserError as error:  # no check of a space can try all combinations
            raise TrialFailed(f"these settings do not fit together: {error}") from error
        by_fold = self._trainer.plan(config, range(len(self._trainer.split)))
        result = self._with_costs(result, config)
        self._record(result)
        if self._limits.parameters is not None and result.parameters > self._limits.parameters:
            raise TrialFailed(
                f"its nets have {result.parameters:,} parameters, more than --max-parameters "
                f"{self._limits.parameters:,}",
                "out of bounds",
            )
        todo = self._trainer.prepare(folder, [spec for specs in by_fold for spec in specs])
        done: list[fit_spec.FitSpec] = []
        for number, specs in enumerate(by_fold[: result.folds_planned], 1):
            for spec in specs:
                if spec.name in todo:
                    self._trainer.train(folder, todo[spec.name])
            done += specs
            result = self._with_figures(replace(result, folds=number), folder, done, config)
            result = self._raced(result)
            if number == result.folds_planned and result.status == "running":
                result = replace(result, status="completed")
            self._record(result)
            if result.status == "stopped early":
                break
        return result

    def _with_costs(self, result: TrialResult, config: Config) -> TrialResult:
        from kaggle_digits.training import models

        costs = [models.cost(models.build(config.member(name).model, 0)) for name in config.members]
        parameters, flops = (sum(each) for each in zip(*costs, strict=True))
        return replace(result, parameters=parameters, flops=flops)

    def _with_figures(
        self,
        result: TrialResult,
        folder: RunFolder,
        done: list[fit_spec.FitSpec],
        config: Config,
    ) -> TrialResult:
        probabilities = self._trainer.probabilities(folder, done, config)
        rows = np.flatnonzero(~np.isnan(probabilities[:, 0]))
        labels = self._trainer.inputs.train_labels[rows]
        wrong = significance.mistakes(probabilities[rows], labels)
        losses = significance.losses(probabilities[rows], labels)
        folds = np.zeros(len(rows), np.int16)
        for spec in done:
            folds[np.isin(rows, spec.heldout_rows)] = spec.fold
        self._folder.write_rows(
            result.candidate, {"rows": rows, "fold": folds, "wrong": wrong, "loss": losses}
        )
        facts = [folder.read_fit(spec.member, spec.fold) for spec in done]
        training = [fact["seconds"]["train"] for fact in facts]
        return replace(
            result,
            rows=len(rows),
            errors=int(wrong.sum()),
            accuracy=1 - float(wrong.mean()),
            log_loss=float(losses.mean()),
            objective=1 - float(wrong.mean()) if self._is_accuracy else float(losses.mean()),
            seconds_per_fit=float(np.mean(training)),
            seconds=sum(sum(fact["seconds"].values()) for fact in facts),
            images_per_second=sum(fact["train_images"] for fact in facts) / sum(training),
            peak_memory_bytes=max(fact["peak_memory_bytes"] for fact in facts),
        )

    @property
    def _is_accuracy(self) -> bool:
        return self._start.tune.objective == "accuracy"

    def _raced(self, result: TrialResult) -> TrialResult:
        """Stop a trial that cannot catch up any more with the best so far.

        After each fold both are compared on the rows of the folds that the trial has done. It is
        stopped if it is significantly worse at the level `tune.racing_alpha`: by McNemar's exact test on
        mistakes, or a paired z-test on losses, one-sided. Its objective is then a forecast: what
        the best has on all its folds, plus the difference on those that both have done. Racing
        candidates on common instances: Birattari et al. 2002, A racing algorithm for configuring
        metaheuristics.
        """
        level = self._start.tune.racing_alpha
        best = self._findings().best()
        if not level or best is None or best.candidate == result.candidate:
            return result
        if result.folds >= min(best.folds, result.folds_planned):
            return result  # there is nothing left to save
        theirs = self._folder.read_rows(best.candidate, self._reporter.say)
        own = self._folder.read_rows(result.candidate, self._reporter.say)
        if theirs is None or own is None:
            return result
        common = np.isin(theirs["rows"], own["rows"])
        if common.sum() < len(own["rows"]):  # another worker is just writing them anew
            return result
        if self._is_accuracy:
            p_value = significance.more_mistakes(own["wrong"], theirs["wrong"][common])
        else:
            p_value = significance.higher_loss(own["loss"], theirs["loss"][common])
        if p_value > level:
            return result
        kind = "wrong" if self._is_accuracy else "loss"
        sign = -1 if self._is_accuracy else 1
        behind = float(own[kind].mean() - theirs[kind][common].mean())
        figure = best.accuracy if self._is_accuracy else best.log_loss
        return replace(
            result,
            status="stopped early",
            objective=figure + sign * behind,
            reason=f"after {result.folds} of {result.folds_planned} folds significantly worse than "
            f"trial {best.trial} (p = {p_value:.2g})",
        )
