"""Finished fits -> predictions and figures -> the summary files of a run folder.

They are made again after each fit, so that from the first one on there is a valid submission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kaggle_digits.config.loading import dump
from kaggle_digits.config.schema import Config
from kaggle_digits.config.section import SETTINGS_FORMAT
from kaggle_digits.data import folds, leak_check, submission_csv
from kaggle_digits.data.digits import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.results import record, run_metrics
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.runs.clock import Clock
from kaggle_digits.scoring import ensemble, forecast
from kaggle_digits.scoring.ensemble import FitPredictions, Score
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training.fit import read_predictions
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
    """

    config: Config
    digits: Digits
    inputs: Inputs
    split: list[np.ndarray]
    specs: list[FitSpec]
    callbacks: tuple[str, ...] = ()
    config_name: str = ""

    @cached_property
    def fold_of_row(self) -> np.ndarray:
        """The fold that holds each training row out, (n,) int16."""
        return folds.assignment(self.split, len(self.inputs.train_labels))

    @cached_property
    def duplicates_across_folds(self) -> int:
        """Training rows with the pixels of a row in another fold."""
        return leak_check.count_rows_across_folds(self.inputs.train_images, self.fold_of_row)


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
    method = plan.config.ensemble.method
    oof, count = ensemble.out_of_fold(fits, len(plan.inputs.train_labels), method)
    return Predictions(oof, count, ensemble.test_probabilities(fits, method))


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
    labels, method = plan.inputs.train_labels, plan.config.ensemble.method
    score = ensemble.accuracy(predictions.oof, labels)
    holdout = _holdout_score(plan, predictions.oof)
    return replace(
        _common(plan, state, predictions.test),
        oof_accuracy=score.accuracy,
        oof_errors=score.errors,
        oof_rows=score.rows,
        oof_interval=score.interval,
        # Whoever fixes a label or drops a row trains on rows that the search saw all the same, and
        # digests cannot show that no row is one of them: any search counts.
        optimistic=bool(plan.config.tuned),
        holdout=holdout,
        expected_leaderboard=forecast.expected_leaderboard(fits, holdout or score, method),
        members=_member_scores(plan, fits),
    )


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
    if np.isnan(oof[rows, 0]).all():
        return None  # there are none, or no fold that holds them out is finished
    return ensemble.accuracy(oof[rows], plan.inputs.train_labels[rows])


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
    labels, method = plan.inputs.train_labels, plan.config.ensemble.method
    scores = {}
    for member in plan.config.members:
        own = [fit for fit in fits if fit.member == member]
        if own:
            oof, _ = ensemble.out_of_fold(own, len(labels), method)
            by_fold = {
                f"fold{fit.fold + 1}": ensemble.accuracy(fit.heldout, labels[fit.heldout_rows])
                for fit in own
            }
            scores[member] = MemberScore(**vars(ensemble.accuracy(oof, labels)), fits=by_fold)
    return scores


# Files


def update(folder: RunFolder, plan: RunPlan, state: RunState, clock: Clock) -> RunMetrics:
    """Make the submission, the predictions and the figures from the finished fits.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: no fit is left, a fit's files are damaged, or the disk is full.
    """
    if not state.finished:
        raise UserError(
            f"{folder.folder}: all {len(state.fits)} fits diverged and were skipped (the first: "
            f"{next(iter(state.skipped.values()))}); repeat with a lower train.learning_rate and "
            "--restart"
        )
    fits = [read_predictions(folder, spec) for spec in state.finished]
    labels = plan.inputs.train_labels
    if state.is_complete:
        skipped = {status.spec.member for status in state.fits if status.skipped}
        whole = [member for member in plan.config.members if member not in skipped]
        ensemble.check_coverage(fits, len(labels), whole)
    predictions = predict(plan, fits)
    # Nets that are still few may be too weak; the submission before is kept.
    if state.is_complete or why_no_submission(predictions.test) is None:
        write_submission(folder, predictions.test)
    arrays = {
        "oof": predictions.oof,
        "oof_count": predictions.oof_count,
        "test": predictions.test.astype(np.float32),
        "labels": labels,
        "folds": plan.fold_of_row,
    }
    files.write_arrays(folder.predictions, arrays)
    found = summarise(plan, state, fits, predictions)
    return write_metrics(folder, plan, state, clock, found)


def write_metrics(
    folder: RunFolder, plan: RunPlan, state: RunState, clock: Clock, metrics: RunMetrics
) -> RunMetrics:
    """Write the figures with what the run has cost so far, and the manifest; return them."""
    metrics = clock.with_costs(metrics, state)
    files.write_json(folder.metrics, record.to_json(metrics, run_metrics.FORMAT))
    _write_manifest(folder, plan, state, metrics.complete)
    return metrics


def begin(folder: RunFolder, plan: RunPlan, state: RunState) -> None:
    """Write the config, the split and a manifest, before anything expensive is made."""
    files.write_bytes(folder.config, dump(plan.config).encode())
    split = {
        "folds": plan.fold_of_row,
        "seed": np.int64(plan.config.seed),
        "labels": np.array(files.digest(plan.inputs.train_labels)),
    }
    folder.write_folds(split)
    _write_manifest(folder, plan, state, complete=False)


def config_digest(config: Config) -> str:
    """Return what distinguishes a run's config; new settings at their defaults change nothing."""
    return files.digest_json({"settings_format": SETTINGS_FORMAT} | config.identity())


def earlier_provisional(folder: RunFolder, state: RunState) -> RunMetrics | None:
    """Return the metrics of a provisional submission that an unfinished fit of this run made.

    What another run made is deleted: it would be taken for this one's.
    """
    planned = files.read_json(folder.manifest).get("fits")
    identities = [
        plan.get("identity")
        for plan in (planned.values() if isinstance(planned, dict) else ())
        if isinstance(plan, dict)
    ]
    own = {spec.digest for spec in state.specs}
    changed = folder.changed_artefacts()
    if own.intersection(identities) and folder.submission.name not in changed:
        # One of finished fits, which are damaged now, is kept too until there is a new one.
        try:
            metrics = read_metrics(folder)
        except UserError:
            return None
        return metrics if not changed and metrics.provisional_identity in own else None
    for path in (folder.submission, folder.metrics, folder.predictions, folder.report):
        path.unlink(missing_ok=True)
    return None


def read_metrics(folder: RunFolder) -> RunMetrics:
    """Read `metrics.json`.

    Raises:
        UserError: it is missing, damaged, or of another format.
    """
    values = files.read_json(folder.metrics)
    return record.from_json(RunMetrics, values, run_metrics.FORMAT, folder.metrics)


def why_no_submission(test: np.ndarray) -> str | None:
    """Return why probabilities, (m, 10), make no sane submission; None if they do."""
    try:
        _checked_content(test, "submission.csv")
    except UserError as error:
        return str(error)
    return None


def write_submission(folder: RunFolder, test: np.ndarray) -> None:
    """Write the most probable classes of (m, 10) probabilities as a checked submission.

    Raises:
        UserError: they are no sane submission, or the disk is full.
    """
    files.write_bytes(folder.submission, _checked_content(test, folder.submission.name))
    submission_csv.check_file(folder.submission, len(test))


def _checked_content(test: np.ndarray, name: str) -> bytes:
    content = submission_csv.to_csv(test.argmax(axis=1).astype(np.uint8))
    submission_csv.check_bytes(content, rows=len(test), name=name)
    return content


def _write_manifest(folder: RunFolder, plan: RunPlan, state: RunState, complete: bool) -> None:
    digits = plan.digits
    manifest = {
        **folder.stamp,
        "config": config_digest(plan.config),
        "config_name": plan.config_name,
        "complete": complete,
        "hashes": "BLAKE2b: data as b2sum prints it, artefacts as b2sum --length=128 does",
        "data": digits.hashes,
        "data_source": digits.source,
        "demo_data": digits.demo,
        "not_for_upload": digits.not_for_upload,
        "test_rows": len(digits.test_images),
        "backend": plan.specs[0].backend,
        "folds": files.digest(plan.fold_of_row),
        "seed": plan.config.seed,
        "fits": {
            folder.fit_folder(status.spec.member, status.spec.fold).name: {
                "identity": _digest_of(folder, status.spec, status.finished),
                "seed": status.spec.seed_for("fit"),
                "finished": status.finished,
                "skipped": status.skipped,
            }
            for status in state.fits
        },
        "artefacts": folder.checksums(),
        "packages": environment.package_versions(),
        "git_revision": environment.git_revision(),
        "hardware": environment.hardware(),
    }
    files.write_json(folder.manifest, manifest)


def _digest_of(folder: RunFolder, spec: FitSpec, finished: bool) -> str:
    # Of a kept fit that other versions made, its own.
    return folder.read_fit(spec.member, spec.fold)["digest"] if finished else spec.digest
