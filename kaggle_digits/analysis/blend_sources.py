"""The runs that are to be joined: read, and refused where they cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.analysis.same_data import check_different, check_same_data, names_of
from kaggle_digits.errors import UserError
from kaggle_digits.results.joined import GREEDY
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.run_copies import damaged_files
from kaggle_digits.storage.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class SourceRun:
    """A run to join.

    Attributes:
        name: what it is called.
        folder: its folder.
        run: what it has left there.
        manifest: its manifest.
    """

    name: str
    folder: RunFolder
    run: Run
    manifest: dict


def read_sources(folders: Sequence[Path]) -> list[SourceRun]:
    """Read the runs: different ones, finished and undamaged, on the same data and folds.

    Raises:
        UserError: there are fewer than two, or one is not as it must be; names it.
    """
    runs = [Run(folder) for folder in folders]  # refuses other folders
    check_different("ensemble", folders)
    sources = []
    for folder, run, name in zip(folders, runs, names_of(folders), strict=True):
        _check_finished(run, RunFolder(folder))
        manifest = files.read_json(RunFolder(folder).manifest)
        _check_unselected(manifest, RunFolder(folder))
        sources.append(SourceRun(name, RunFolder(folder), run, manifest))
    check_same_data([source.folder for source in sources])
    for source in sources[1:]:
        _check_same_folds(source, sources[0])
    _check_no_fit_twice(sources)
    return sources


def _check_finished(run: Run, folder: RunFolder) -> None:
    if process := folder.owner():
        raise UserError(f"{folder.folder}: process {process} is at work in it; wait for it")
    metrics = run.metrics
    if run.config.folds.times_held_out != 1:
        raise UserError(
            f"{folder.folder}: expected a run that holds each row out once, found "
            f"{run.config.folds.description}; train one with folds.kind stratified or kfold"
        )
    if not metrics.complete or metrics.oof is None:
        raise UserError(
            f"{folder.folder}: expected a finished run, found {metrics.fits_finished} of "
            f"{metrics.fits_planned} fits finished; continue it first"
        )
    if damaged := damaged_files(folder):
        raise UserError(
            f"{folder.folder}: {damaged[0]} is missing or not as it was written; repeat the "
            "command that made the run"
        )


def _check_unselected(manifest: Mapping, folder: RunFolder) -> None:
    """Refuse a run whose members were selected by the labels that the new figures count."""
    if manifest.get("joined", {}).get("method") == GREEDY:
        raise UserError(
            f"{folder.folder}: expected a run whose members were not selected, found one that was "
            f"joined by greedy; join its sources ({', '.join(folder.joined_from())}) instead"
        )


def _check_same_folds(source: SourceRun, first: SourceRun) -> None:
    """Refuse a run that holds rows out in another way than the first one."""
    if source.manifest["folds"] != first.manifest["folds"]:
        configs = (each.run.config for each in (source, first))
        one, another = (f"{each.folds.description}, seed {each.seed}" for each in configs)
        raise UserError(
            f"{source.run.folder} and {first.run.folder}: expected runs over the same folds, found "
            f"{one} and {another}; train one again with the other's"
        )


def _check_no_fit_twice(sources: Iterable[SourceRun]) -> None:
    seen: dict[str, Path] = {}
    for folder in (source.folder for source in sources):
        for fit in folder.finished_fits():
            other = seen.setdefault(folder.read_fit(*fit)["digest"], folder.folder)
            if other != folder.folder:
                raise UserError(
                    f"{folder.folder}: its fit {folder.fit_name(*fit)} is also in {other}; a net "
                    "that is averaged twice adds nothing, leave one of the runs out"
                )
