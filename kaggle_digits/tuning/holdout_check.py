"""A search's best config -> the honest check on folds that no trial saw, and `best.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.loading import Config
from kaggle_digits.config.schema import Tune, TuningProvenance
from kaggle_digits.data import digits_csv
from kaggle_digits.report import tables
from kaggle_digits.results.search_records import (
    Findings,
    HoldoutComparison,
    HoldoutScore,
    TrialFailed,
    TrialResult,
)
from kaggle_digits.scoring import ensemble, significance
from kaggle_digits.storage import files
from kaggle_digits.system.console import Reporter
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_plan import HEADER
from kaggle_digits.tuning.trial import FoldTrainer


@dataclass(frozen=True)
class Outcome:
    """What a config makes of the untouched folds.

    Attributes:
        wrong: (rows,) bool, whether each held-out row is predicted wrongly.
        seconds_per_fit: mean training time of one fit.
    """

    wrong: np.ndarray
    seconds_per_fit: float

    def side(self) -> HoldoutScore:
        """Return its figures."""
        errors, rows = int(self.wrong.sum()), len(self.wrong)
        interval = ensemble.accuracy_interval(errors, rows)
        return HoldoutScore(rows, errors, 1 - errors / rows, interval, self.seconds_per_fit)


def outcome(
    folder: SearchFolder,
    trainer: FoldTrainer,
    name: str,
    config: Config,
    untouched: Sequence[int],
    reporter: Reporter,
) -> Outcome | None:
    """Train a config's fits on the untouched folds.

    Args:
        folder: the search's folder.
        trainer: has all rows and folds.
        name: of the config, for people.
        config: the config.
        untouched: the folds, from 0.
        reporter: is told of the outcome.

    Returns:
        The outcome, None if a net cannot be trained.
    """
    config = loading.without_tuning(config)
    place = folder.checked(files.digest_json(config.model_dump(mode="json")))
    specs = [spec for specs in trainer.plan(config, untouched) for spec in specs]
    try:
        with place.locked():
            for spec in trainer.prepare(place, specs).values():
                trainer.train(place, spec)
            probabilities = trainer.probabilities(place, specs, config)
            facts = [place.read_fit(spec.member, spec.fold) for spec in specs]
    except TrialFailed as error:
        reporter.say(f"no check of {name} on untouched folds: {error}")
        return None
    rows = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    wrong = significance.mistakes(probabilities[rows], trainer.inputs.train_labels[rows])
    reporter.say(f"check of {name} on untouched folds: {wrong.sum()} of {len(wrong):,} rows wrong")
    return Outcome(wrong, float(np.mean([fact["seconds"]["train"] for fact in facts])))


def compared(untouched: Sequence[int], start: Outcome, best: Outcome) -> HoldoutComparison:
    """Hold the best config's outcome against another one's.

    Args:
        untouched: the folds, from 0.
        start: of the other config, on the same rows.
        best: of the best config.

    Returns:
        The check.
    """
    only_start, only_best = significance.discordant(start.wrong, best.wrong)
    return HoldoutComparison(
        folds=tuple(fold + 1 for fold in untouched),
        start=start.side(),
        best=best.side(),
        only_start_wrong=only_start,
        only_best_wrong=only_best,
        p_value=significance.mcnemar(start.wrong, best.wrong),
    )


def best_yaml(
    config: Config, findings: Findings, best: TrialResult, digits: digits_csv.Digits
) -> str:
    """Write the best trial's config, ready for `run`, and how it was found.

    Args:
        config: what the search began with.
        findings: what it has found.
        best: the best trial.
        digits: the data.

    Returns:
        YAML with a comment on top.
    """
    tune = config.tune
    searched = config.folds.count - tune.holdout_folds
    tuned = TuningProvenance(
        train_data=files.digest(digits.train_images),
        seed=config.seed,
        folds=config.folds.count,
        untouched=tune.holdout_folds,
        trials=len(findings.trials),
    )
    found = loading.changed(config, best.settings).model_copy(
        update={"tune": Tune(), "tuned": tuned}
    )
    lines = [
        f"{HEADER}: trial {best.trial} of {len(findings.trials)}, {tune.oracle} search for the "
        f"best {findings.objective.replace('_', ' ')}.",
        f"On folds 1 to {searched} of {config.folds.count} (seed {config.seed}), "
        f"{100 * tune.row_fraction:g} % of their rows and {100 * tune.epoch_fraction:g} % of the epochs: "
        f"{tables.score(findings, best)}.",
        "That figure is optimistic: this trial was picked because of it.",
        *(["DEMO DATA: these settings mean nothing."] if digits.demo else []),
        "Changed by the search:",
        *(
            f"  {key}: {tables.text_of(findings.start.get(key))} -> {tables.text_of(value)}"
            for key, value in best.settings.items()
            if value != findings.start.get(key)
        ),
    ]
    comment = "\n".join("# " + text.removeprefix("# ") for text in lines)
    return f"{comment}\n{loading.dump(found)}"
