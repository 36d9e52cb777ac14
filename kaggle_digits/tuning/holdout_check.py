"""A search's best config -> the honest check on folds that no trial saw, and `best.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config, Tune, TuningProvenance
from kaggle_digits.data import folds
from kaggle_digits.data.digits import Digits
from kaggle_digits.report.search_tables import text_of
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    HoldoutScore,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.scoring import ensemble, significance
from kaggle_digits.storage import files
from kaggle_digits.system.time_budget import CHECK_FIT_SECONDS, CHECK_MARGIN
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_plan import HEADER
from kaggle_digits.tuning.trial_fits import TrialFailed, TrialFits


@dataclass(frozen=True, eq=False)
class HoldoutOutcome:
    """What a config predicts on the holdout folds.

    Attributes:
        wrong: (rows,) bool, whether each held-out row is predicted wrongly.
        seconds_per_fit: mean training time of one fit.
    """

    wrong: np.ndarray
    seconds_per_fit: float

    @property
    def score(self) -> HoldoutScore:
        """Its figures."""
        errors, rows = int(self.wrong.sum()), len(self.wrong)
        interval = ensemble.accuracy_interval(errors, rows)
        return HoldoutScore(rows, errors, 1 - errors / rows, interval, self.seconds_per_fit)


def forecast_seconds(
    config: Config, best: TrialResult | None, against: Iterable[Config], rows: int
) -> float:
    """Forecast what the check takes.

    Args:
        config: what the search began with.
        best: the best trial so far, if there is one.
        against: further configs to compare with.
        rows: number of all training rows.

    Returns:
        Seconds; 0 where there is nothing to check.
    """
    if not (config.tune.holdout_folds and best):
        return 0.0
    # Other configs are taken to be as fast as the best one; the start is rarely slower.
    compared = [loading.changed(config, best.settings), config, *against]
    epochs = sum(each.member(name).train.epochs for each in compared for name in each.members)
    members = sum(len(each.members) for each in compared)
    trained = rows * (1 - 1 / config.folds.count)
    seconds = CHECK_MARGIN * trained * epochs / best.images_per_second
    return config.tune.holdout_folds * (seconds + CHECK_FIT_SECONDS * members)


def evaluate(
    folder: SearchFolder, fits: TrialFits, name: str, config: Config, holdout: Sequence[int]
) -> HoldoutOutcome | None:
    """Train a config's fits on the holdout folds.

    Args:
        folder: the search's folder.
        fits: has all rows and folds.
        name: of the config, for people.
        config: the config.
        holdout: the folds, from 0.

    Returns:
        The outcome, None if a net cannot be trained.
    """
    config, say = loading.without_tuning(config), fits.progress.say
    place = folder.holdout_fits(files.digest_json(config.identity()))
    specs = [spec for specs in fits.plan(config, holdout) for spec in specs]
    try:
        with place.locked():
            fits.run(place, fits.prepare(place, specs).to_do, config.callbacks)
            rows, probabilities = fits.out_of_fold(place, specs, config)
            facts = [place.read_fit(spec.member, spec.fold) for spec in specs]
    except TrialFailed as error:
        say(f"no check of {name} on the holdout folds: {error}")
        return None
    wrong = significance.mistakes(probabilities, fits.inputs.train_labels[rows])
    say(f"check of {name} on the holdout folds: {wrong.sum()} of {len(wrong):,} rows wrong")
    return HoldoutOutcome(wrong, float(np.mean([fact["seconds"]["train"] for fact in facts])))


def compare(
    holdout: Sequence[int], reference: HoldoutOutcome, best: HoldoutOutcome
) -> HoldoutComparison:
    """Compare the best config's outcome with another one's on the same rows.

    Args:
        holdout: the folds, from 0.
        reference: of the other config.
        best: of the best config.

    Returns:
        The comparison.
    """
    only_reference, only_best = significance.discordant(reference.wrong, best.wrong)
    return HoldoutComparison(
        folds=tuple(fold + 1 for fold in holdout),
        reference=reference.score,
        best=best.score,
        only_reference_wrong=only_reference,
        only_best_wrong=only_best,
        p_value=significance.mcnemar(reference.wrong, best.wrong),
    )


def best_yaml(config: Config, record: SearchRecord, best: TrialResult, digits: Digits) -> str:
    """Write the best trial's config, ready for `run`, and how it was found.

    Args:
        config: what the search began with.
        record: what it has found.
        best: the best trial.
        digits: the data.

    Returns:
        YAML with a comment on top.
    """
    tune = config.tune
    searched = config.folds.count - tune.holdout_folds
    images, labels = digits.train_images, digits.train_labels
    split = folds.stratified(labels, config.folds.count, config.seed)
    holdout = folds.assignment(split, len(labels)) >= searched
    tuned = TuningProvenance(
        train_data=files.digest(images, labels),
        holdout_digest=files.digest(images[holdout], labels[holdout]),
        searched_digest=files.digest(images[~holdout], labels[~holdout]),
        seed=config.seed,
        folds=config.folds.count,
        holdout_folds=tune.holdout_folds,
        trials=len(record.trials),
    )
    # The config that the search began with may come from another search.
    found = loading.changed(config, best.settings).model_copy(
        update={"tune": Tune(), "tuned": (*config.tuned, tuned)}
    )
    lines = [
        f"{HEADER}: trial {best.trial} of {len(record.trials)}, {tune.oracle} search for the "
        f"best {record.objective.label}.",
        f"On folds 1 to {searched} of {config.folds.count} (seed {config.seed}), "
        f"{100 * tune.row_fraction:g} % of their rows and {100 * tune.epoch_fraction:g} % of the "
        f"epochs: {record.objective.text(best)}.",
        "That figure is optimistic: this trial was picked because of it.",
        *_not_for_upload(digits),
        "Changed by the search:",
        *(
            f"  {key}: {text_of(record.start.get(key))} -> {text_of(value)}"
            for key, value in best.settings.items()
            if value != record.start.get(key)
        ),
    ]
    comment = "\n".join("# " + text.removeprefix("# ") for text in lines)
    return f"{comment}\n{loading.dump(found)}"


def _not_for_upload(digits: Digits) -> Iterator[str]:
    if digits.demo:
        yield "DEMO DATA: these settings mean nothing."
    elif digits.not_for_upload:
        yield f"NOT FOR UPLOAD: its nets were {digits.not_for_upload}."
