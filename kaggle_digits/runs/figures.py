"""Finished fits -> what their ensemble predicts, and the figures of a run: arrays in, a record out.

`summary` writes both into the run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kaggle_digits.config.schema import Config
from kaggle_digits.data import folds, leak_check
from kaggle_digits.data.digits import Digits
from kaggle_digits.results.joined import Joined
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.scoring import ensemble, forecast
from kaggle_digits.scoring.ensemble import FitPredictions, Score
from kaggle_digits.storage import files
from kaggle_digits.training.fit_spec import FitSpec, Inputs
from kaggle_digits.training.resume import RunState


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What a run does.

    Attributes:
        config: its config.
        digits: the data.
        inputs: the arrays that the fits read.
        split: held-out row sets, one for each fold.
        specs: all fits, attempt 1.
        callbacks: names of a user's own Keras callbacks.
        config_name: what the config is called.
        joined: what the fits were copied from; None: the run trains them.
    """

    config: Config
    digits: Digits
    inputs: Inputs
    split: list[np.ndarray]
    specs: list[FitSpec]
    callbacks: tuple[str, ...] = ()
    config_name: str = ""
    joined: Joined | None = None

    @cached_property
    def split_arrays(self) -> files.Arrays:
        """Which fold, or which of the folds, hold each training row out; see `folds.to_arrays`."""
        return folds.to_arrays(self.split, len(self.inputs.train_labels))

    @property
    def unusual_split(self) -> str | None:
        """What people should know of the split: its kind, and how many rows it covers.

        None where each row is held out once, by folds with all classes alike.
        """
        settings, rows = self.config.folds, len(self.inputs.train_labels)
        if settings.is_usual:
            return None
        if settings.kind != "holdout":
            return settings.description
        covered = np.count_nonzero(folds.times_held_out(self.split, rows))
        return f"{settings.description}; {covered:,} of {rows:,} rows are held out at least once"

    @cached_property
    def duplicates_across_folds(self) -> int:
        """Training rows with the pixels of a row that a net trains on which holds them out."""
        return leak_check.count_rows_across_folds(self.inputs.train_images, self.split)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What an ensemble predicts.

    Attributes:
        oof: (n, 10) float32 out-of-fold probabilities, NaN where no member has predicted.
        oof_count: (n,) int64, members behind each row.
        test: (m, 10) float64 probabilities of the test rows.
    """

    oof: np.ndarray
    oof_count: np.ndarray
    test: np.ndarray


def predict(plan: RunPlan, fits: Sequence[FitPredictions]) -> Predictions:
    """Average the fits' probabilities."""
    oof, count = _out_of_fold(plan, fits)
    test = ensemble.test_probabilities(fits, plan.config.ensemble.method)
    return Predictions(oof, count, test)


def _out_of_fold(plan: RunPlan, fits: Sequence[FitPredictions]) -> tuple[np.ndarray, np.ndarray]:
    rows, config = len(plan.inputs.train_labels), plan.config
    return ensemble.out_of_fold(fits, rows, config.ensemble.method, config.folds.times_held_out)


def summarise(
    plan: RunPlan, state: RunState, fits: Sequence[FitPredictions], predictions: Predictions
) -> RunMetrics:
    """Compute a run's figures from its finished fits.

    Args:
        plan: what the run does.
        state: how far it is.
        fits: at least one.
        predictions: see `predict`.

    Returns:
        The figures, without costs.
    """
    found = replace(_common(plan, state, predictions.test), members=_member_scores(plan, fits))
    score = _score(predictions.oof, plan.inputs.train_labels)
    if score is None:
        return found
    because = _why_optimistic(plan.config)
    # The training of fits may have seen rows that no search did.
    holdout = None if "training" in because else _holdout_score(plan, predictions.oof)
    expected = None
    if plan.digits.demo or plan.digits.not_for_upload is None:  # a band of any other data misleads
        method = plan.config.ensemble.method
        expected = forecast.expected_leaderboard(fits, holdout or score, method)
    return replace(
        found,
        oof_accuracy=score.accuracy,
        oof_errors=score.errors,
        oof_rows=score.rows,
        oof_interval=score.interval,
        optimistic=bool(because),
        optimistic_because=because,
        holdout=holdout,
        expected_leaderboard=expected,
    )


def _why_optimistic(config: Config) -> tuple[str, ...]:
    # Whoever fixes a label or drops a row trains on rows that the search saw all the same, and
    # digests cannot show that no row is one of them: any search counts.
    search = ("search",) if config.tuned else ()
    return (*search, "training") if config.picks_on_heldout else search


def _score(probabilities: np.ndarray, labels: np.ndarray) -> Score | None:
    """Return the score on the rows that are predicted; None where none is."""
    if np.isnan(probabilities[:, 0]).all():
        return None
    return ensemble.accuracy(probabilities, labels)


def summarise_provisionally(
    plan: RunPlan, state: RunState, spec: FitSpec, test: np.ndarray, epochs: float
) -> RunMetrics:
    """Describe the submission of an unfinished fit; there is no out-of-fold figure yet.

    Args:
        plan: what the run does.
        state: how far it is.
        spec: the unfinished fit.
        test: (m, 10) its probabilities of the test rows.
        epochs: epochs behind them, as a fraction.

    Returns:
        The figures, without costs.
    """
    return replace(
        _common(plan, state, test),
        provisional=True,
        provisional_fit=spec.name,
        provisional_identity=spec.digest,
        provisional_epochs=epochs,
    )


def _common(plan: RunPlan, state: RunState, test: np.ndarray) -> RunMetrics:
    labels = plan.digits.test_labels
    return RunMetrics(
        complete=state.is_complete,
        provisional=False,
        fits_finished=len(state.finished),
        fits_planned=len(state.fits),
        skipped=state.skipped,
        test=None if labels is None else ensemble.accuracy(test, labels),
        train_rows=len(plan.inputs.train_labels),
        holds_rows_out=plan.config.folds.kind != "none",
        test_rows=len(plan.inputs.test_images),
        demo_data=plan.digits.demo,
        not_for_upload=plan.digits.not_for_upload,
        test_rows_also_in_train=plan.digits.leaked_rows,
        duplicates_across_folds=plan.duplicates_across_folds,
        callbacks=plan.callbacks,
    )


def _holdout_score(plan: RunPlan, oof: np.ndarray) -> Score | None:
    """Return the score on the rows that no search behind the settings saw, if any."""
    rows = _holdout_rows(plan)
    return _score(oof[rows], plan.inputs.train_labels[rows])


def _holdout_rows(plan: RunPlan) -> np.ndarray:
    """Return the rows held out of all searches; none unless they are the very same ones."""
    images, labels = plan.inputs.train_images, plan.inputs.train_labels
    unseen = np.full(len(labels), bool(plan.config.tuned))
    for tuned in plan.config.tuned:
        if tuned.train_data != files.digest(images, labels):  # labels decide who is in which fold
            return np.array([], int)
        split = folds.stratified(labels, tuned.folds, tuned.seed)
        holdout = folds.assignment(split, len(labels)) >= tuned.folds - tuned.holdout_folds
        # Another version of the splitter may deal the rows out differently.
        if tuned.holdout_digest != files.digest(images[holdout], labels[holdout]):
            return np.array([], int)
        unseen &= holdout
    return np.flatnonzero(unseen)


def _member_scores(plan: RunPlan, fits: Sequence[FitPredictions]) -> dict[str, MemberScore]:
    labels = plan.inputs.train_labels
    scores = {}
    for member, precision in plan.config.precisions.items():
        own = [fit for fit in fits if fit.member == member]
        by_fold = {
            f"fold{fit.fold + 1}": _score(fit.heldout, labels[fit.heldout_rows]) for fit in own
        }
        oof, _ = _out_of_fold(plan, own)
        if score := _score(oof, labels):
            accuracies = [each.accuracy for each in by_fold.values()]
            mean, std = float(np.mean(accuracies)), float(np.std(accuracies))
            scores[member] = MemberScore(
                **vars(score), fits=by_fold, fold_mean=mean, fold_std=std, precision=precision
            )
        elif own:
            scores[member] = MemberScore(0, 0, None, None, by_fold, precision=precision)
    return scores
