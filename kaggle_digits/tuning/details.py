"""What a search has found -> what people want to know beside it: limits, machine, what is next.

The search adds it when it writes its record; the live table does without.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kaggle_digits.results.search_records import Resolution, SearchRecord
from kaggle_digits.system import environment
from kaggle_digits.system.console import count_of
from kaggle_digits.training import machine_settings
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_plan import SearchJob


def added(record: SearchRecord, job: SearchJob) -> SearchRecord:
    """Add to a record what only informs people.

    Args:
        record: what has been found.
        job: the search; its backend is configured.

    Returns:
        The record with `demo_data`, `not_for_upload`, `log_keys`, `resolution`, `curves` and
        `machine`.
    """
    best, parameters = record.best(), job.space.parameters.items()
    return replace(
        record,
        demo_data=job.digits.demo,
        not_for_upload=job.digits.not_for_upload,
        log_keys=tuple(key for key, each in parameters if each.sampling == "log"),
        resolution=resolution(record, job.folder),
        curves=job.folder.read_curves(best.candidate) if best else {},
        machine={"runs on": machine_settings.runs_on(job.config)} | environment.description(),
    )


def resolution(record: SearchRecord, folder: SearchFolder) -> Resolution | None:
    """Test whether the rows tell the best trial from the typical one.

    Args:
        record: what has been found.
        folder: has what each candidate predicts for each row.

    Returns:
        The test; None where there is no other trial, or the rows cannot be read.
    """
    best, typical = record.best(), record.typical()
    if not (best and typical):
        return None
    # The race has said what cannot be read.
    of_best, of_typical = (
        folder.read_rows(trial.candidate, say=lambda reason: None) for trial in (best, typical)
    )
    if of_best is None or of_typical is None:
        return None
    rows, *places = np.intersect1d(
        of_typical["rows"], of_best["rows"], assume_unique=True, return_indices=True
    )
    if not len(rows):
        return None
    losses = map(record.objective.row_losses, (of_typical, of_best))
    own, other = (each[place] for each, place in zip(losses, places, strict=True))
    return Resolution(typical.trial, len(rows), record.objective.p_value_worse(own, other))


def what_is_searched(job: SearchJob) -> Iterator[str]:
    """Yield lines that say what a search works on and how."""
    config, tune = job.config, job.config.tune
    yield f"data: {job.digits.source}: {count_of(len(job.digits.train_labels), 'training row')}"
    yield f"search folder: {job.folder.folder}"
    if config.callbacks:
        names = ", ".join(config.callbacks)
        yield f"callbacks: {names}; they are no part of a fit's identity"
    trials = count_of(job.max_trials, "trial") if job.max_trials else "all combinations"
    rows = f", {100 * tune.row_fraction:g} % of their rows" if tune.row_fraction < 1 else ""
    epochs = f", {100 * tune.epoch_fraction:g} % of the epochs" if tune.epoch_fraction < 1 else ""
    kept = f"; {tune.holdout_folds} held out for the check" if tune.holdout_folds else ""
    yield (
        f"search: {tune.oracle}, {trials}, {job.objective.label} on {job.folds} of "
        f"{count_of(config.folds.count, 'fold')}{rows}{epochs}{kept}; searched: "
        f"{', '.join(job.space.parameters)}"
    )


def next_command(job: SearchJob) -> str:
    """Return the command that trains the best config, for a shell."""
    given = job.options.data
    data = () if given is None else ("--data", str(given))
    return shlex.join(("kaggle-digits", "run", "--config", str(job.folder.best), *data))
