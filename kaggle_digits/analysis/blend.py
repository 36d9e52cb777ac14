"""Finished runs over the same folds -> one run with the members of all.

The fits are copied under new names and averaged again; nothing is trained. What comes out is a run
folder like any other, which is there whole or not at all.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kaggle_digits.analysis.blend_methods import METHODS, Blend
from kaggle_digits.analysis.blend_sources import SourceRun, read_sources
from kaggle_digits.config import extension, loading
from kaggle_digits.config.averaging import Ensemble
from kaggle_digits.config.schema import Config
from kaggle_digits.data.digits import Digits, load_digits
from kaggle_digits.errors import UserError
from kaggle_digits.results.joined import GREEDY, BlendRecord, Joined, Source
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import figures, reporting, summary
from kaggle_digits.runs.costs import CostsOfSources
from kaggle_digits.runs.data_of_run import data_of
from kaggle_digits.runs.figures import RunPlan
from kaggle_digits.scoring.ensemble import FitPredictions, Method
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.locked_folder import next_folder
from kaggle_digits.storage.run_copies import check_place, copy_fit
from kaggle_digits.storage.run_folder import SUBMISSIONS, RunFolder
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


@dataclass(frozen=True, eq=False)
class _Member:
    """A member of a source: its name in the joined run, and the one that it had."""

    name: str
    source: SourceRun
    old_name: str


@dataclass(frozen=True, eq=False)
class JoinedRun:
    """What joining has given.

    Attributes:
        folder: the new run's.
        metrics: its figures.
        record: what each method would have given.
        report: its page; None: there is none, the reason was said.
    """

    folder: RunFolder
    metrics: RunMetrics
    record: BlendRecord
    report: Path | None


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
    sources = read_sources(options.folders)
    first, members = sources[0], _renamed_members(sources)
    out = options.out or next_folder(options.root, NAME, lambda path: False)
    _check_out(out, options.folders)
    digits = _load(first, options, say)
    inputs = Inputs(digits.train_images, digits.train_labels, digits.test_images)
    config = first.run.config
    split, _ = resume.read_or_make_split(
        first.folder, inputs.train_labels, config.folds, config.seed
    )
    blend = Blend(
        fits=_read_fits(members, split),
        labels=inputs.train_labels,
        fold_of_row=first.run.oof["fold"].to_numpy(),
        source_of={member.name: member.source.name for member in members},
        averaging_of={each.name: _averaging(each, members) for each in sources},
    )
    if left := tuple(_not_taken_over(sources, METHODS[options.method])):
        how = f"all members are joined by {options.method}"
        say(f"WARNING: not taken over: {'; '.join(left)}; {how}")
    record = blend.record(options.method)
    weights = blend.greedy_weights if options.method == GREEDY else {}
    members = [member for member in members if not weights or member.name in weights]
    config = _joined_config(sources, members, METHODS[options.method], weights)
    plan = RunPlan(
        config,
        digits,
        inputs,
        split,
        fit_spec.plan(config, inputs, split, first.manifest["backend"]),
        callbacks=tuple(dict.fromkeys(n for each in sources for n in each.run.metrics.callbacks)),
        config_name=NAME,
        joined=Joined(options.method, tuple(_provenance(each, members) for each in sources), left),
    )
    folder = RunFolder(out)
    metrics = _write(folder, plan, sources, members, blend)
    return JoinedRun(folder, metrics, record, _report(folder, digits, say))


def _report(folder: RunFolder, digits: Digits, say: Callable[[str], None]) -> Path | None:
    """Make the page of a joined run, which is whole without it."""
    if why := reporting.attempt(folder, digits):
        say(f"WARNING: no report: {why}")
        return None
    return folder.report


def _check_out(out: Path, folders: Iterable[Path]) -> None:
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out {out}: is inside {folder}, one of the runs; give another path")
    check_place(out)
    if out.is_file():
        raise UserError(f"--out {out}: expected a folder, found a file; give another path")
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"--out {out}: expected a new or empty folder, found files in it; give another path"
        )


def _renamed_members(sources: Iterable[SourceRun]) -> list[_Member]:
    """List all members, sorted by their new names; the order of the sources does not matter."""
    found = {
        (f"{source.name} {member}", member): source
        for source in sources
        for member in source.run.config.members
    }
    texts = sorted(found)
    names = _unique_names([text for text, _ in texts])
    members = (_Member(name, found[text], text[1]) for name, text in zip(names, texts, strict=True))
    return sorted(members, key=lambda member: member.name)


def _averaging(source: SourceRun, members: Iterable[_Member]) -> Ensemble:
    """Return how a source averages its members, by their new names."""
    own = source.run.config.ensemble
    new = {member.old_name: member.name for member in members if member.source is source}
    weights = {new[name]: weight for name, weight in own.weights.items()}
    return own.model_copy(update={"weights": weights})


def _not_taken_over(sources: Iterable[SourceRun], method: Method) -> Iterator[str]:
    """Yield how sources average their members otherwise than the joined run."""
    for source in sources:
        own = source.run.config.ensemble
        if own.method != method:
            yield f"ensemble.method {own.method} of {source.name}"
        if len({own.weights.get(name, 1) for name in source.run.config.members}) > 1:
            yield f"ensemble.weights of {source.name}"


def _provenance(source: SourceRun, members: Iterable[_Member]) -> Source:
    """Return what the manifest says of a source."""
    own = {member.name: member.old_name for member in members if member.source is source}
    return Source(source.name, files.checksum(source.folder.predictions), own)


def _load(first: SourceRun, options: EnsembleOptions, say: Callable[[str], None]) -> Digits:
    """Load the data of the runs, and make sure that it is the same."""
    data = options.data or data_of(first.folder)
    digits = load_digits(data, first.run.config.folds, Cache(options.cache, notice=say), say)
    if digits.hashes != first.manifest["data"]:
        raise UserError(
            f"{digits.source}: expected the data that {first.run.folder} was trained on, found "
            "other files; give its place with --data"
        )
    return digits


def _read_fits(members: Iterable[_Member], split: list[np.ndarray]) -> list[FitPredictions]:
    fits = []
    for member in members:
        folder = member.source.folder
        for fold in (fold for name, fold in folder.finished_fits() if name == member.old_name):
            arrays = folder.read_fit_arrays(member.old_name, fold)
            fits.append(
                FitPredictions(member.name, fold, split[fold], arrays["heldout"], arrays["test"])
            )
    return fits


def _joined_config(
    sources: Sequence[SourceRun],
    members: Iterable[_Member],
    method: str,
    weights: Mapping[str, int],
) -> Config:
    """Return the config of the joined run; all but its members is that of the first source."""
    first = sources[0].run.config
    tuned = dict.fromkeys(each for source in sources for each in source.run.config.tuned)
    settings = {}
    for member in members:
        own = member.source.run.config.member(member.old_name)
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
    sources: Iterable[SourceRun],
    members: Iterable[_Member],
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
            state = _copy_fits(folder, plan, members)
            summary.begin(folder, plan, state)
            fits = summary.read_fits(folder, plan, state)
            predictions = figures.predict(plan, fits)
            if plan.joined.method == GREEDY:
                predictions = blend.judged_by_nested(predictions)
            costs = CostsOfSources(folder, [source.run.metrics for source in sources])
            metrics = summary.write(folder, plan, state, costs, fits, predictions)
            folder.note_reported(True)
            files.move(beside, out.folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return metrics


def _copy_fits(folder: RunFolder, plan: RunPlan, members: Iterable[_Member]) -> RunState:
    """Copy the fits of members under their new names; return how far the joined run is."""
    of_name, statuses = {member.name: member for member in members}, []
    for spec in plan.specs:
        member = of_name[spec.member]
        source, fit = member.source, (member.old_name, spec.fold)
        if fit in source.folder.finished_fits():
            copy_fit(source.folder, fit, folder, spec.member)
            statuses.append(FitStatus(spec, finished=True))
        else:
            old = replace(spec, member=member.old_name)
            statuses.append(FitStatus(spec, skipped=source.run.metrics.skipped[old.name]))
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
