"""A candidate's settings -> its fits, fold by fold -> how it compares with the best so far.

A candidate is a config with some settings changed. Its fits are those of a run, in a folder of its
own, and whatever is finished is never trained again, by whichever trial it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.results import search_records
from kaggle_digits.results.search_records import Objective, TrialResult
from kaggle_digits.scoring import significance
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.training.fit_spec import FitSpec
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.trial_fits import TrialFailed, TrialFits

SCHEDULE = ("epochs", "warmup_epochs", "ema_epochs")


def shortened(config: Config, fraction: float) -> Config:
    """Shorten all schedules, as a whole, to a fraction of their epochs."""
    if fraction == 1:
        return config
    values = config.model_dump(mode="json")
    for settings in (values, *values["members"].values()):
        section, augment = settings["train"], settings["augment"]
        if "clean_epochs" in augment:
            augment["clean_epochs"] = round(fraction * augment["clean_epochs"])
        for key in set(SCHEDULE) & section.keys():
            section[key] *= fraction
        if "epochs" in section:
            section["epochs"] = max(1, round(section["epochs"]))
        if "decay_factor" in section:
            section["decay_factor"] **= 1 / fraction
        for part in (section.get("plateau"), section.get("early_stopping")):
            if part and part.get("patience"):
                part["patience"] = max(1, round(fraction * part["patience"]))
    return loading.from_values(values)


@dataclass(frozen=True, eq=False)
class TrialEvaluator:
    """Evaluates the candidates of a search on its folds.

    Attributes:
        folder: the search's folder.
        start: the config that the search begins with.
        fits: has the search's rows and folds.
        max_parameters: most parameters of all members' nets together; None: any number.
    """

    folder: SearchFolder
    start: Config
    fits: TrialFits
    max_parameters: int | None = None

    def evaluate(self, trial: str, settings: dict[str, Any], folds: int) -> Iterator[TrialResult]:
        """Train a candidate's fits fold by fold, as long as it can still become the best.

        Every result is written to the search's folder before it is yielded.

        Args:
            trial: the trial's id.
            settings: config key -> value.
            folds: how many, the first ones.

        Yields:
            How far the trial is: before the first fold, after each, and where it fails.

        Raises:
            TimeLimitReached: what is finished is kept.
            Stopped: a signal came; what is finished is kept.
        """
        digest = files.digest_json(settings)
        result = TrialResult(trial, digest, settings, folds_planned=folds)
        folder = self.folder.candidate(digest)
        with folder.locked(self.fits.wait):  # another worker may evaluate the same settings
            try:
                for each in self._evaluate(folder, result):
                    result = each
                    self.folder.write_result(result)
                    yield result
            except TrialFailed as error:
                result = replace(result, status=error.status, reason=str(error))
                self.folder.write_result(result)
                yield result

    def _evaluate(self, folder: RunFolder, result: TrialResult) -> Iterator[TrialResult]:
        try:
            config = loading.changed(self.start, result.settings)
            config = shortened(config, self.start.tune.epoch_fraction)
        except UserError as error:  # no check of a space can try all combinations
            raise TrialFailed(f"these settings do not fit together: {error}") from error
        result = _with_costs(result, config)
        yield result
        if self.max_parameters is not None and result.parameters > self.max_parameters:
            raise TrialFailed(
                f"its nets have {result.parameters:,} parameters, more than --max-parameters "
                f"{self.max_parameters:,}",
                "out of bounds",
            )
        by_fold = self.fits.plan(config, range(len(self.fits.split)))
        state = self.fits.prepare(folder, [spec for specs in by_fold for spec in specs])
        for number, specs in enumerate(by_fold[: result.folds_planned], 1):
            to_do = [spec for spec in state.to_do if spec.fold == specs[0].fold]
            self.fits.run(folder, to_do, config.callbacks)
            done = [spec for fold in by_fold[:number] for spec in fold]
            result = self._with_figures(replace(result, folds=number), folder, done, config)
            result = self._raced(result)
            if number == result.folds_planned and result.status == "running":
                result = replace(result, status="completed")
            yield result
            if result.status == "stopped early":
                return

    def _with_figures(
        self, result: TrialResult, folder: RunFolder, done: Sequence[FitSpec], config: Config
    ) -> TrialResult:
        rows, probabilities = self.fits.out_of_fold(folder, done, config)
        labels = self.fits.inputs.train_labels[rows]
        wrong = significance.mistakes(probabilities, labels)
        losses = significance.losses(probabilities, labels)
        folds = np.zeros(len(rows), np.int16)
        for spec in done:
            folds[np.isin(rows, spec.heldout)] = spec.fold
        self.folder.write_rows(
            result.candidate, {"rows": rows, "fold": folds, "wrong": wrong, "loss": losses}
        )
        facts = [folder.read_fit(spec.member, spec.fold) for spec in done]
        training = [fact["seconds"]["train"] for fact in facts]
        result = replace(
            result,
            rows=len(rows),
            errors=int(wrong.sum()),
            accuracy=1 - float(wrong.mean()),
            log_loss=float(losses.mean()),
            seconds_per_fit=float(np.mean(training)),
            seconds=sum(sum(fact["seconds"].values()) for fact in facts),
            images_per_second=sum(fact["train_images"] for fact in facts) / sum(training),
            peak_memory_bytes=max(fact["peak_memory_bytes"] for fact in facts),
        )
        return replace(result, objective=self._objective.of(result))

    @property
    def _objective(self) -> Objective:
        return Objective(self.start.tune.objective)

    def _raced(self, result: TrialResult) -> TrialResult:
        """Stop a trial that cannot catch up any more with the best so far.

        After each fold both are compared on the rows of the folds that the trial has done. It is
        stopped if it is significantly worse at the level `tune.racing_alpha`: by McNemar's exact
        test on mistakes, or a paired t-test on losses, one-sided. Its objective is then a forecast:
        what the best has on all its folds, plus the difference on those that both have done. Racing
        candidates on common instances: Birattari et al. 2002, A racing algorithm for configuring
        metaheuristics.
        """
        level = self.start.tune.racing_alpha
        best = search_records.best(self.folder.read_results().values(), self._objective)
        if not level or best is None or best.candidate == result.candidate:
            return result
        if result.folds >= min(best.folds, result.folds_planned):
            return result  # there is nothing left to save
        say = self.fits.progress.say
        theirs = self.folder.read_rows(best.candidate, say)
        own = self.folder.read_rows(result.candidate, say)
        if theirs is None or own is None:
            return result
        common = np.isin(theirs["rows"], own["rows"])
        if common.sum() < len(own["rows"]):  # another worker is just writing them again
            return result
        own_losses, their_losses = map(self._objective.row_losses, (own, theirs))
        p_value = self._objective.p_value_worse(own_losses, their_losses[common])
        if p_value > level:
            return result
        behind = float(own_losses.mean() - their_losses[common].mean())
        return replace(
            result,
            status="stopped early",
            objective=self._objective.worsened(self._objective.of(best), behind),
            reason=f"after {result.folds} of {result.folds_planned} folds significantly worse than "
            f"trial {best.trial} (p = {p_value:.2g})",
        )


def _with_costs(result: TrialResult, config: Config) -> TrialResult:
    from kaggle_digits.training import models

    costs = [models.cost(models.build(config.member(name).model, 0)) for name in config.members]
    parameters, flops = (sum(each) for each in zip(*costs, strict=True))
    return replace(result, parameters=parameters, flops=flops)
