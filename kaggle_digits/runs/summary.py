"""Finished fits, by way of `figures` -> the summary files of a run folder.

They are made again after each fit, so that from the first one on there is a valid submission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from kaggle_digits.config.loading import dump
from kaggle_digits.config.schema import Config
from kaggle_digits.config.section import SETTINGS_FORMAT
from kaggle_digits.data import submission_csv
from kaggle_digits.errors import UserError
from kaggle_digits.results import record, run_metrics
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs.costs import Costs
from kaggle_digits.runs.figures import Predictions, RunPlan, predict, summarise
from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.ensemble import FitPredictions
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training import resume
from kaggle_digits.training.fit import read_predictions
from kaggle_digits.training.resume import FitStatus, RunState


def update(folder: RunFolder, plan: RunPlan, state: RunState, costs: Costs) -> RunMetrics:
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
    fits = read_fits(folder, plan, state)
    labels = plan.inputs.train_labels
    times = plan.config.folds.times_held_out
    if state.is_complete and times is not None:
        skipped = {status.spec.member for status in state.fits if status.skipped}
        whole = [member for member in plan.config.members if member not in skipped]
        ensemble.check_coverage(fits, len(labels), whole, times)
    return write(folder, plan, state, costs, fits, predict(plan, fits))


def read_fits(folder: RunFolder, plan: RunPlan, state: RunState) -> list[FitPredictions]:
    """Read what the finished fits predict, each with its member's weight.

    Raises:
        DamagedError: a fit's files are not as they were written.
    """
    fits = (read_predictions(folder, spec) for spec in state.finished)
    return ensemble.weighted(fits, plan.config.ensemble.weights)


def write(
    folder: RunFolder,
    plan: RunPlan,
    state: RunState,
    costs: Costs,
    fits: Sequence[FitPredictions],
    predictions: Predictions,
) -> RunMetrics:
    """Write the submission, the predictions and the figures; see `update`."""
    # Nets that are still few may be too weak; the submission before is kept, but not one of an
    # unfinished fit, which the new figures are not of.
    if state.is_complete or why_no_submission(plan, predictions.test) is None:
        write_submission(folder, plan, predictions.test)
    elif files.read_json(folder.metrics).get("provisional"):
        folder.submission.unlink(missing_ok=True)
    arrays = {
        "oof": predictions.oof,
        "oof_count": predictions.oof_count,
        "test": predictions.test.astype(np.float32),
        "labels": plan.inputs.train_labels,
        **plan.split_arrays,
    }
    files.write_arrays(folder.predictions, arrays)
    found = summarise(plan, state, fits, predictions)
    return write_metrics(folder, plan, state, costs, found)


def write_metrics(
    folder: RunFolder, plan: RunPlan, state: RunState, costs: Costs, metrics: RunMetrics
) -> RunMetrics:
    """Write the figures with what the run has cost so far, and the manifest; return them."""
    metrics = costs.with_costs(metrics, state)
    files.write_json(folder.metrics, record.to_json(metrics, run_metrics.FORMAT))
    _write_manifest(folder, plan, state, metrics.complete)
    return metrics


def begin(folder: RunFolder, plan: RunPlan, state: RunState) -> None:
    """Write the config, the split and a manifest, before anything expensive is made."""
    files.write_bytes(folder.config, dump(plan.config).encode())
    labels, config = plan.inputs.train_labels, plan.config
    resume.write_split(folder, plan.split, labels, config.folds, config.seed)
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
    for path in (folder.submission, folder.metrics, folder.predictions):
        path.unlink(missing_ok=True)
    return None


def read_metrics(folder: RunFolder) -> RunMetrics:
    """Read `metrics.json`.

    Raises:
        UserError: it is missing, damaged, or of another format.
    """
    values = files.read_json(folder.metrics)
    return record.from_json(RunMetrics, values, run_metrics.FORMAT, folder.metrics)


def why_no_submission(plan: RunPlan, test: np.ndarray) -> str | None:
    """Return why probabilities, (m, 10), make no sane submission; None if they do."""
    try:
        _checked_content(plan, test, "submission.csv")
    except UserError as error:
        return str(error)
    return None


def write_submission(folder: RunFolder, plan: RunPlan, test: np.ndarray) -> None:
    """Write the most probable classes of (m, 10) probabilities as a checked submission.

    Raises:
        UserError: they are no sane submission, or the disk is full.
    """
    content = _checked_content(plan, test, folder.submission.name)
    files.write_bytes(folder.submission, content)


def _checked_content(plan: RunPlan, test: np.ndarray, name: str) -> bytes:
    content = submission_csv.to_csv(test.argmax(axis=1).astype(np.uint8))
    # Other data than the competition's may have any classes.
    balanced = plan.digits.not_for_upload is None
    submission_csv.check_bytes(content, rows=len(test), name=name, balanced=balanced)
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
        "precision": plan.config.precisions,
        "folds": files.digest(*plan.split_arrays.values()),
        "seed": plan.config.seed,
        "fits": {
            folder.fit_folder(status.spec.member, status.spec.fold).name: {
                **_made_of(folder, status),
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
    if plan.joined:
        manifest["joined"] = asdict(plan.joined)
    files.write_json(folder.manifest, manifest)


def _made_of(folder: RunFolder, status: FitStatus) -> dict[str, str | int]:
    """Return a fit's identity and seed."""
    spec = status.spec
    identity, seed = spec.digest, spec.seed_for("fit")
    if status.finished:  # its own: other versions may have made it, or a run it was copied from
        facts = folder.read_fit(spec.member, spec.fold)
        there = {key: facts["identity"][key] for key in ("seed", "member", "fold", "attempt")}
        identity, seed = facts["digest"], replace(spec, **there).seed_for("fit")
    return {"identity": identity, "seed": seed}
