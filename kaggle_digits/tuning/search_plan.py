"""What a search is asked for -> its folder, what it depends on, and the rows that trials see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_digits.config import auto, loading
from kaggle_digits.config.schema import AUTO, Config
from kaggle_digits.config.section import SETTINGS_FORMAT
from kaggle_digits.data.digits import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import Objective
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.locked_folder import next_folder
from kaggle_digits.storage.run_folder import SUBMISSIONS
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import TimeBudget
from kaggle_digits.training import backend, fit_spec, machine_settings, resume
from kaggle_digits.training.machine_settings import NOTHING, Begun
from kaggle_digits.tuning.chief_worker import Cluster
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.space import Space

TRIALS = 20  # where nobody says how many; a grid has an end of its own
HEADER = "# Found by kaggle-digits tune"
# What all invocations of one search have in common; package versions may change on request.
FIXED = ("settings_format", "config", "data", "backend")
# In search.json beside the identity, which has what they became: what said `auto` in the config.
THREADS, PRECISION = "threads", "precision"


@dataclass(frozen=True)
class TuneOptions:
    """The options of `kaggle-digits tune`; the command line and the Python API both fill them.

    Attributes:
        config: the config to begin with, and the space; what is `auto` in it is settled when the
            folder is known.
        name: the config's name, for the search's folder.
        data: value of --data, or None.
        out: the search's folder, or None: choose one under `root`.
        cache: the cache folder.
        root: where folders are made.
        trials: trials in all, or None: as the config says.
        save: another place for the best config, or None.
        max_seconds_per_fit: no trial whose fits train longer, seconds, or None.
        max_parameters: no trial whose nets have more parameters, or None.
        against: further configs to compare the best one with on the holdout folds, by name;
            their seeds, threads and `precision: auto` become the search's.
        allow_changed_versions: continue with other package versions.
        how_to_continue: what people do after a stop.
    """

    config: Config
    name: str
    data: Path | None
    out: Path | None
    cache: Path
    root: Path = SUBMISSIONS
    trials: int | None = None
    save: Path | None = None
    max_seconds_per_fit: float | None = None
    max_parameters: int | None = None
    against: dict[str, Config] = field(default_factory=dict)
    allow_changed_versions: bool = False
    how_to_continue: str = "repeat the command"


@dataclass(frozen=True, eq=False)
class SearchJob:
    """What all stages of a search read.

    Attributes:
        options: what was asked for.
        config: the config that the search begins with; where threads or precision are `auto`, a
            worker takes the chief's once the chief answers.
        space: what is searched.
        digits: the data.
        folder: the search's folder.
        cache: holds the banks.
        cluster: chief and workers; None: this process is all there is.
        budget: the time there is.
        reporter: where progress goes.
    """

    options: TuneOptions
    config: Config
    space: Space
    digits: Digits
    folder: SearchFolder
    cache: Cache
    cluster: Cluster | None
    budget: TimeBudget
    reporter: Reporter

    @property
    def objective(self) -> Objective:
        """What is made best."""
        return Objective(self.config.tune.objective)

    @property
    def folds(self) -> int:
        """Number of the folds that trials see."""
        return self.config.folds.count - self.config.tune.holdout_folds

    @property
    def max_trials(self) -> int | None:
        """Number of trials; None: all of a grid."""
        tune = self.config.tune
        given = self.options.trials or tune.max_trials
        return given or (None if tune.oracle == "grid" else TRIALS)


def check_searchable(options: TuneOptions) -> None:
    """Refuse configs that a search cannot compare honestly.

    Args:
        options: what was asked for.

    Raises:
        UserError: the folds are not each held out once with all classes alike, or too few, or
            training looks at the rows that it is evaluated on; names the key.
    """
    folds = options.config.folds
    if not folds.is_usual:
        key, usual = ("kind", "stratified") if folds.kind != "stratified" else ("repeats", 1)
        raise UserError(
            f"folds.{key}: a search needs stratified folds that are each held out once, found "
            f"{getattr(folds, key)}; add --set folds.{key}={usual}"
        )
    for name, config in {options.name: options.config, **options.against}.items():
        for member in config.members:
            if config.member(member).train.picks_on_heldout:
                raise UserError(
                    f"{name}: training of member {member} looks at the rows that it holds out, so "
                    "that no figure of a search would be honest; train for a fixed number of epochs"
                )
    holdout_folds = options.config.tune.holdout_folds
    if folds.count - holdout_folds < 2:
        raise UserError(
            f"folds.count: trials need two folds or more, found {folds.count}, of which "
            f"tune.holdout_folds keeps {holdout_folds}; add --set folds.count={holdout_folds + 2}"
        )


def check_save(path: Path | None) -> None:
    """Refuse to write the best config over something else.

    Args:
        path: value of --save, or None.

    Raises:
        UserError: there is a file that no search has saved, or none can be written.
    """
    if path is None:
        return
    if path.exists():
        if path.is_file() and path.read_text("utf-8", "replace").startswith(HEADER):
            return
        found = "a folder" if path.is_dir() else "another"
        raise UserError(
            f"--save {path}: expected a new file, or one that a search has saved, found {found}; "
            "give another path"
        )
    # Found out now and not at the end of the search.
    folder = next(each for each in path.absolute().parents if each.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        found = "cannot be written" if folder.is_dir() else "is a file"
        raise UserError(f"--save {path}: {folder} {found}; give another path")


def identity_of(config: Config, digits: Digits) -> dict[str, Any]:
    """Return all that the trials depend on, JSON-ready; the number of trials does not count."""
    tune = config.tune.model_copy(update={"max_trials": None})
    return {
        "settings_format": SETTINGS_FORMAT,
        "config": config.model_copy(update={"tune": tune}).identity(),
        "data": digits.hashes,
        "backend": backend.name(),
        "packages": environment.package_versions(),
    }


def begun_with(folder: SearchFolder) -> Begun:
    """Return the threads and the precisions of the search in a folder, if it can be read."""
    found = files.read_json(folder.identity).get("config")
    if not isinstance(found, dict):
        return NOTHING
    try:
        return machine_settings.begun_with(Config.from_identity(found))
    except UserError:
        return NOTHING  # `check_identity` says why


def for_best(job: SearchJob) -> Config:
    """Return the config that the best one of a search is made from.

    Where the person who began the search has said `auto`, the best config says so too; anything
    else may be what that person has chosen.

    Args:
        job: the search, begun.
    """
    config, found = job.options.config, files.read_json(job.folder.identity)
    if found.get(THREADS) != AUTO:
        config = auto.with_threads(config, job.config.train.threads)
    if found.get(PRECISION) != AUTO:
        config = auto.with_precision(config, job.config.precisions, job.config.train.precision)
    return config


def choose_folder(options: TuneOptions, digits: Digits) -> SearchFolder:
    """Choose the folder: the given one, else one in which this search continues, else a new one.

    Args:
        options: what was asked for.
        digits: the data.

    Returns:
        The folder.

    Raises:
        UserError: the given one holds something else.
    """

    def continues_in(path: Path) -> bool:
        folder = SearchFolder(path)
        if not folder.identity.is_file():
            return path.is_dir() and folder.may_be_used()
        found = files.read_json(folder.identity)
        config = machine_settings.as_begun(options.config, begun_with(folder), asks=False)
        identity = identity_of(config, digits)
        same = all(found.get(key) == identity[key] for key in FIXED)
        return same and folder.may_be_used() and not folder.is_complete()

    if options.out is None:
        return SearchFolder(next_folder(options.root, f"tune-{options.name}", continues_in))
    folder = SearchFolder(options.out)
    folder.check_usable()
    return folder


def begin(job: SearchJob) -> SearchJob:
    """Write what a search depends on, or compare it with what was written; return the search.

    Raises:
        UserError: see `as_begun`.
    """
    before, given = files.read_json(job.folder.identity), job.options.config
    is_auto = {
        THREADS: given.train.threads == AUTO,
        PRECISION: bool(auto.precision_keys(given)),
    }
    said = {key: AUTO for key in is_auto if (before.get(key) == AUTO if before else is_auto[key])}
    job = as_begun(job)
    identity = identity_of(job.config, job.digits)
    files.write_json(job.folder.identity, job.folder.stamp | identity | said)
    # Settled now: what does not fit must not be found out after all trials.
    against = {
        name: _as_compared(config, job.config) for name, config in job.options.against.items()
    }
    return replace(job, options=replace(job.options, against=against))


def _as_compared(config: Config, searched: Config) -> Config:
    """Return a config with the seed and the threads of a search, and its precision for `auto`."""
    config = loading.changed(config, {"seed": searched.seed})
    config = auto.for_all_members(config, "threads", searched.train.threads)
    config = auto.with_precision(config, {}, searched.train.precision)
    return machine_settings.as_begun(config)


def as_begun(job: SearchJob) -> SearchJob:
    """Return a search with the threads and the precision that it was begun with.

    Raises:
        UserError: something else differs from the search in the folder; names it.
    """
    begun = begun_with(job.folder)
    config = machine_settings.resolved(job.config, begun, "search", job.reporter.say)
    identity = identity_of(config, job.digits)
    check_identity(job.folder, identity, job.options.allow_changed_versions)
    return replace(job, config=config)


def check_identity(folder: SearchFolder, identity: dict[str, Any], allow_changed: bool) -> None:
    """Refuse to continue a search that was begun with something else.

    Args:
        folder: the search's folder.
        identity: see `identity_of`.
        allow_changed: continue with other package versions.

    Raises:
        UserError: names the first key that differs, with both values.
    """
    found = files.read_json(folder.identity)
    if not found:
        return
    folder.check_usable()
    files.check_format(folder.identity, found.get("settings_format"), SETTINGS_FORMAT)
    there, here = (_flat(each, folder.identity) for each in (found, identity))
    for key in [*here, *(there.keys() - here.keys())]:
        then, now = (side.get(key, "not set") for side in (there, here))
        if then != now:
            values = f": {then} there, {now} here"
            raise UserError(
                f"{folder.folder}: this search was begun with another "
                f"{key.removeprefix('config.')}{values if key.startswith('config.') else ''}; give "
                "another --out, or the config and data of that search"
            )
    for name, then, now in resume.changed_versions(found, identity["backend"]):
        if not allow_changed:
            raise UserError(
                f"{folder.folder}: this search was begun with {name} {then}, here is {now}; use "
                f"{name} {then} again, or continue all the same with --allow-changed-versions"
            )


def _flat(identity: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what all invocations of a search have in common by dotted key, with all defaults."""
    config = Config.from_identity(identity["config"], f"{path}: ").model_dump(mode="json")
    return fit_spec.flattened({key: identity[key] for key in FIXED} | {"config": config})


def rows_of_search(
    labels: np.ndarray, split: Sequence[np.ndarray], holdout_folds: int, fraction: float, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pick the rows that trials see, and split them.

    Args:
        labels: (n,) integers 0..9 of all training rows.
        split: held-out row sets, one a fold.
        holdout_folds: number of last folds that no trial sees.
        fraction: of each other fold's rows, every class alike, in 0..1.
        seed: the run's seed.

    Returns:
        (sorted rows; held-out row sets as positions in these rows, one for each other fold).
    """
    picked = []
    for fold, heldout in enumerate(split[: len(split) - holdout_folds]):
        random = np.random.default_rng([seed, fold])
        of_fold = []
        for label in range(10):
            rows = random.permutation(heldout[labels[heldout] == label])
            of_fold.append(rows[: max(1, round(fraction * len(rows)))])
        picked.append(np.sort(np.concatenate(of_fold)))
    rows = np.sort(np.concatenate(picked))
    return rows, [np.searchsorted(rows, each) for each in picked]
