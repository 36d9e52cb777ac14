"""Finished runs over the same folds -> one run with the members of all.

The fits are copied under new names and averaged again; nothing is trained. What comes out is a run
folder like any other, which is there whole or not at all.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kaggle_digits.analysis.blend_methods import GREEDY, METHODS, Blend
from kaggle_digits.analysis.same_data import check_same_data
from kaggle_digits.config import extension, loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data.digits import Digits, load_digits
from kaggle_digits.errors import UserError
from kaggle_digits.results.joined import BlendRecord, Joined, Source
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.runs.costs import CostsOfSources
from kaggle_digits.runs.data_of_run import data_of
from kaggle_digits.runs.run import Run
from kaggle_digits.runs.summary import RunPlan
from kaggle_digits.scoring.ensemble import FitPredictions
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_copies import damaged_files
from kaggle_digits.storage.run_folder import SUBMISSIONS, RunFolder, next_folder
from kaggle_digits.training import fit_spec, resume
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.training.resume import FitStatus, RunState

NAME = "ensemble"  # of the config and of folders where none is given
LONGEST_NAME = 40  # of a member, see config.schema


@dataclass(frozen=True)
class EnsembleOptions:
    """The options of `kaggle-digits ensemble` and of the Python function.

    Attributes:
        folders: of the runs to join.
        method: one of `METHODS`.
        out: the new run's folder; None: choose one under `root`.
        data: where the runs' data is; None: where the first run had it from.
        cache: the cache folder.
        root: where run folders are made.
    """

    folders: tuple[Path, ...]
    method: str
    out: Path | None
    data: Path | None
    cache: Path
    root: Path = SUBMISSIONS


@dataclass(frozen=True)
class Member:
    """A member of a source under its new name."""

    name: str
    source: int
    old_name: str


class _Sources:
    """The runs to join, checked: finished, undamaged, on the same data and folds."""

    def __init__(self, folders: Sequence[Path]) -> None:
        _check_different(folders)
        self.runs = [Run(folder) for folder in folders]
        self.folders = [RunFolder(folder) for folder in folders]
        self.manifests = [files.read_json(folder.manifest) for folder in self.folders]
        for run, folder in zip(self.runs, self.folders, strict=True):
            _check_finished(run, folder)
        check_same_data(self.folders)
        for place in range(1, len(folders)):
            self._check_same_folds(place)
        self._check_no_fit_twice()

    def _check_same_folds(self, place: int) -> None:
        """Refuse a run that holds rows out in another way than the first one."""
        if self.manifests[place]["folds"] != self.manifests[0]["folds"]:
            configs = [self.runs[each].config for each in (place, 0)]
            one, another = (f"folds.count {c.folds.count}, seed {c.seed}" for c in configs)
            raise UserError(
                f"{self.folders[place].folder} and {self.folders[0].folder}: expected runs over "
                f"the same folds, found {one} and {another}; train one again with the other's"
            )

    def _check_no_fit_twice(self) -> None:
        seen: dict[str, Path] = {}
        for folder in self.folders:
            for fit in folder.finished_fits():
                other = seen.setdefault(folder.read_fit(*fit)["digest"], folder.folder)
                if other != folder.folder:
                    raise UserError(
                        f"{folder.folder}: its fit {folder.fit_name(*fit)} is also in {other}; a "
                        "net that is averaged twice adds nothing, leave one of the runs out"
                    )

    @cached_property
    def names(self) -> list[str]:
        """What the runs are called: by their folders' names, as long as no two have the same."""
        names = [folder.folder.resolve().name for folder in self.folders]
        return names if len(set(names)) == len(names) else [str(f.folder) for f in self.folders]

    @cached_property
    def members(self) -> list[Member]:
        """All members, sorted by their new names; the order of the runs does not matter."""
        wanted = [
            (f"{self.names[source]} {name}", source, name)
            for source, run in enumerate(self.runs)
            for name in run.config.members
        ]
        names = _unique_names([text for text, *_ in sorted(wanted)])
        found = (
            Member(name, source, old)
            for name, (_, source, old) in zip(names, sorted(wanted), strict=True)
        )
        return sorted(found, key=lambda member: member.name)

    def joined(self, method: str, members: Iterable[Member]) -> Joined:
        """Return what the manifest says of where the fits are from."""
        return Joined(
            method,
            tuple(
                Source(
                    self.names[source],
                    files.checksum(folder.predictions),
                    {each.name: each.old_name for each in members if each.source == source},
                )
                for source, folder in enumerate(self.folders)
            ),
        )


@dataclass(frozen=True, eq=False)
class JoinedRun:
    """What joining has given.

    Attributes:
        folder: the new run's.
        metrics: its figures.
        record: what each method would have given.
    """

    folder: RunFolder
    metrics: RunMetrics
    record: BlendRecord


def join(options: EnsembleOptions, say: Callable[[str], None]) -> JoinedRun:
    """Join runs.

    Args:
        options: what was asked for.
        say: is called with lines for people.

    Returns:
        The new run.

    Raises:
        UserError: the runs cannot be joined, or the folder is taken; nothing was changed.
    """
    if options.method not in METHODS:
        raise UserError(
            f"--method {options.method}: expected one of {', '.join(METHODS)}; choose one of them"
        )
    sources = _Sources(options.folders)
    out = options.out or next_folder(options.root, NAME, lambda path: False)
    _check_out(out, options.folders)
    digits = _load(sources, options, say)
    labels = digits.train_labels
    split, _ = resume.read_or_make_split(
        sources.folders[0],
        labels,
        sources.runs[0].config.folds.count,
        sources.runs[0].config.seed,
    )
    blend = Blend(
        fits=_read_fits(sources, split),
        labels=labels,
        fold_of_row=sources.runs[0].oof["fold"].to_numpy(),
        source_of={each.name: sources.names[each.source] for each in sources.members},
    )
    weights = blend.greedy_weights if options.method == GREEDY else {}
    members = [each for each in sources.members if each.name in (weights or blend.source_of)]
    config = _joined_config(sources, members, METHODS[options.method], weights)
    inputs = Inputs(digits.train_images, labels, digits.test_images)
    plan = RunPlan(
        config,
        digits,
        inputs,
        split,
        fit_spec.plan(config, inputs, split, sources.manifests[0]["backend"]),
        callbacks=tuple(dict.fromkeys(n for run in sources.runs for n in run.metrics.callbacks)),
        config_name=NAME,
        joined=sources.joined(options.method, members),
    )
    record = blend.record(options.method)
    metrics = _write(RunFolder(out), plan, sources, members, blend)
    return JoinedRun(RunFolder(out), metrics, record)


def _check_different(folders: Sequence[Path]) -> None:
    if len(folders) < 2:
        raise UserError("ensemble: expected at least two runs, found one; name the others too")
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]}: named twice; name each run once")


def _check_finished(run: Run, folder: RunFolder) -> None:
    if process := folder.owner():
        raise UserError(f"{folder.folder}: process {process} is at work in it; wait for it")
    metrics = run.metrics
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


def _check_out(out: Path, folders: Iterable[Path]) -> None:
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out {out}: is inside {folder}, one of the runs; give another path")
    if out.is_file():
        raise UserError(f"--out {out}: expected a folder, found a file; give another path")
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"--out {out}: expected a new or empty folder, found files in it; give another path"
        )


def _load(sources: _Sources, options: EnsembleOptions, say: Callable[[str], None]) -> Digits:
    """Load the data of the runs, and make sure that it is the same."""
    data = options.data or data_of(sources.folders[0])
    folds = sources.runs[0].config.folds.count
    digits = load_digits(data, folds, Cache(options.cache, notice=say), say)
    if digits.hashes != sources.manifests[0]["data"]:
        raise UserError(
            f"{digits.source}: expected the data that {sources.folders[0].folder} was trained on, "
            "found other files; give its place with --data"
        )
    return digits


def _read_fits(sources: _Sources, split: list[np.ndarray]) -> list[FitPredictions]:
    fits = []
    for member in sources.members:
        folder = sources.folders[member.source]
        for name, fold in folder.finished_fits():
            if name == member.old_name:
                arrays = folder.read_fit_arrays(name, fold)
                fits.append(
                    FitPredictions(
                        member.name, fold, split[fold], arrays["heldout"], arrays["test"]
                    )
                )
    return fits


def _joined_config(
    sources: _Sources, members: Iterable[Member], method: str, weights: dict[str, int]
) -> Config:
    """Return the config of the joined run; all but its members is that of the first source."""
    first = sources.runs[0].config
    tuned = dict.fromkeys(each for run in sources.runs for each in run.config.tuned)
    settings = {}
    for member in members:
        own = sources.runs[member.source].config.member(member.old_name)
        # Threads are of a whole process; those that the fit was trained with are in its fit.json.
        train = own.train.model_copy(update={"threads": first.train.threads})
        settings[member.name] = extension.written_out(own.model_copy(update={"train": train}))
    return loading.from_values(
        first.model_dump()
        | {
            "members": settings,
            "ensemble": {"method": method, "weights": weights},
            "callbacks": (),
            "tuned": tuple(tuned),
        }
    )


def _write(
    out: RunFolder,
    plan: RunPlan,
    sources: _Sources,
    members: Sequence[Member],
    blend: Blend,
) -> RunMetrics:
    """Write the run's folder, whole or not at all."""
    beside = files.temporary_path(out.folder)
    for remains in (*files.abandoned(out.folder), beside):
        shutil.rmtree(remains, ignore_errors=True)
    folder = RunFolder(beside)
    try:
        with files.writing(out.folder):
            folder.mark()
            state = _copy_fits(folder, plan, sources, members)
            summary.begin(folder, plan, state)
            fits = summary.read_fits(folder, plan, state)
            predictions = summary.predict(plan, fits)
            if plan.joined.method == GREEDY:
                predictions = blend.judged_by_nested(predictions)
            costs = CostsOfSources(folder, [run.metrics for run in sources.runs])
            metrics = summary.write(folder, plan, state, costs, fits, predictions)
            folder.note_reported(True)
            files.move(beside, out.folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return metrics


def _copy_fits(
    folder: RunFolder, plan: RunPlan, sources: _Sources, members: Sequence[Member]
) -> RunState:
    """Copy the fits of members under their new names; return how far the joined run is."""
    of_name, statuses = {member.name: member for member in members}, []
    for spec in plan.specs:
        member = of_name[spec.member]
        source, run = sources.folders[member.source], sources.runs[member.source]
        place = source.fit_folder(member.old_name, spec.fold)
        if place.is_dir():
            shutil.copytree(place, folder.fit_folder(spec.member, spec.fold))
            statuses.append(FitStatus(spec, finished=True))
        else:
            reason = run.metrics.skipped[f"{member.old_name} fold {spec.fold + 1}"]
            statuses.append(FitStatus(spec, skipped=reason))
    return RunState(tuple(statuses))


def _unique_names(texts: Sequence[str]) -> list[str]:
    """Make names of members, different ones, of any texts."""
    names: list[str] = []
    for text in texts:
        base = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:LONGEST_NAME]
        name, number = base, 2
        while name in names:
            end = f"_{number}"
            name, number = base[: LONGEST_NAME - len(end)] + end, number + 1
        names.append(name)
    return names
