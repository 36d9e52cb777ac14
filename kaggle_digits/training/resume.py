"""Config, data and what a run folder holds -> which fits are finished and which are to do.

Everything that speaks against going on in a folder is found here, before a backend is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kaggle_digits.config.loading import Config
from kaggle_digits.data import digits_csv, folds, sources
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import fit as fits
from kaggle_digits.training import fit_spec

DEMO_WARNING = (
    "DEMO DATA: the competition's files were not found, so this run uses scikit-learn's small "
    "digits. Its submission is NOT for upload. Get the real files from "
    "https://www.kaggle.com/competitions/digit-recognizer/data and give their folder or zip with "
    "--data."
)


@dataclass(frozen=True)
class FitStatus:
    """How far a planned fit is.

    Attributes:
        spec: the attempt that it is at.
        finished: the fit is there and sound.
        skipped: why it was given up, None as a rule.
    """

    spec: fit_spec.FitSpec
    finished: bool = False
    skipped: str | None = None

    @property
    def to_do(self) -> bool:
        """Whether it is to be trained."""
        return not self.finished and self.skipped is None


def load_digits(
    config: Config, given: str | None, cache: Cache, reporter: Reporter
) -> digits_csv.Digits:
    """Load the data that a command is to work on.

    Args:
        config: names the data, and the folds that each class must have a row for.
        given: value of --data, which goes before the config's; None: not given.
        cache: keeps the parsed arrays.
        reporter: is told of demo data.

    Returns:
        The data.

    Raises:
        UserError: it is not there, not sound, or too little.
    """
    source = sources.find_source(config.data.path if given is None else given)
    if source.demo:
        reporter.say(DEMO_WARNING)
    cache.clear_temporary_files()
    digits = digits_csv.load(source, cache.arrays)
    digits_csv.check_class_counts(digits.train_labels, config.folds.count, digits.source)
    return digits


def read_or_make_split(
    folder: RunFolder, labels: np.ndarray, config: Config, reporter: Reporter
) -> list[np.ndarray]:
    """Return the split that the run folder holds, if it is this run's, or make it.

    Args:
        folder: the run's folder.
        labels: (n,) labels of the training rows.
        config: the run's config.
        reporter: is told of damage.

    Returns:
        Held-out row sets, one a fold.
    """
    try:
        saved = folder.read_folds()
    except files.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; it is made again")
        saved = None
    if saved is not None:
        split = folds.from_assignment(saved["folds"])
        found = str(saved["labels"]), len(split), int(saved["seed"])
        if found == (files.digest(labels), config.folds.count, config.seed):
            return split
    return folds.stratified(labels, config.folds.count, config.seed)


def scan_fits(
    folder: RunFolder,
    specs: list[fit_spec.FitSpec],
    reporter: Reporter,
    allow_changed: bool = False,
) -> list[FitStatus]:
    """Find out how far each planned fit is.

    Args:
        folder: the run's folder.
        specs: all planned fits, attempt 1.
        reporter: is told of damage.
        allow_changed: keep fits that other versions of the augmentation's packages had a part in.

    Returns:
        One standing a fit.

    Raises:
        UserError: the folder holds fits of another run.
    """
    planned = {folder.fit_folder(spec.member, spec.fold).name for spec in specs}
    if others := [name for name in folder.finished_fits() if name not in planned]:
        raise UserError(
            f"{folder.fits / others[0]}: this fit belongs to another run, its member or fold is "
            "not in this config (members, folds.count); give another --out, or the config of that "
            "run"
        )
    return [_fit_status(folder, spec, reporter, allow_changed) for spec in specs]


def _fit_status(
    folder: RunFolder, spec: fit_spec.FitSpec, reporter: Reporter, allow_changed: bool
) -> FitStatus:
    try:
        sick = fits.diverged_attempts(folder, spec)
    except files.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; it is made again")
        sick = []
    for _ in sick:
        spec = spec.next_attempt()
    if len(sick) == fits.ATTEMPTS:
        return FitStatus(spec, skipped=sick[-1])
    try:
        facts = folder.read_fit(spec.member, spec.fold)
        if facts is None:
            _check_state(folder, spec, reporter, allow_changed)
            return FitStatus(spec)
        if facts["identity"].get("attempt") == spec.attempt + 1:
            spec = (
                spec.next_attempt()
            )  # its note of the first attempt is lost, or of other versions
        place = str(folder.fit_folder(spec.member, spec.fold))
        fit_spec.check_identity(spec, facts["identity"], place, allow_changed)
        folder.read_fit_arrays(spec.member, spec.fold)
        folder.remove_state(spec.member, spec.fold)  # left by a kill just after the fit was written
    except files.DamagedError as damage:
        reporter.say(f"damaged: {damage.path}: {damage.reason}; {spec.name} is trained again")
        return FitStatus(spec)
    return FitStatus(spec, finished=True)


def _check_state(
    folder: RunFolder, spec: fit_spec.FitSpec, reporter: Reporter, allow_changed: bool
) -> None:
    """Refuse to overwrite the epochs of a fit with other settings."""
    try:
        facts = fits.read_state_facts(folder, spec.member, spec.fold)
    except files.DamagedError:
        return  # it is told of when the fit begins
    # Of a sick attempt, or of the one after it whose note is lost: of no use.
    if facts is None or facts["identity"]["attempt"] != spec.attempt:
        return
    place = f"{folder.fit_folder(spec.member, spec.fold)}.state"
    fit_spec.check_identity(spec, facts["identity"], place, allow_changed)
    if facts["fit"] != spec.digest():
        reporter.say(
            f"{spec.name} starts over: its {facts['epochs']} epochs saw images of another version "
            "of albumentations or OpenCV"
        )


def check_environment(
    folder: RunFolder, statuses: Iterable[FitStatus], allow_changed: bool, reporter: Reporter
) -> None:
    """Hold this machine against those that made what the folder holds.

    Args:
        folder: the run's folder.
        statuses: the run's fits.
        allow_changed: go on with other package versions.
        reporter: is told of what may change the last bits of the results.

    Raises:
        UserError: package versions differ; names the first.
    """
    told: dict[str, None] = {}
    for standing in statuses:
        made = _made_by(folder, standing)
        for name, found, here in changed_versions(made, standing.spec.backend):
            message = f"{standing.spec.name} was trained with {name} {found}, here is {here}"
            if not allow_changed:
                raise UserError(
                    f"{folder.folder}: {message}; use {name} {found} again, or go on all the same "
                    "with --allow-changed-versions, or start over with --restart"
                )
            told[f"WARNING: {message}; the results are not those of one version"] = None
        for name, found, here in changed_hardware(made):
            told[
                f"WARNING: {standing.spec.name} was trained on other hardware ({name}: {found} "
                f"there, {here} here); the last bits may differ"
            ] = None
    for message in told:
        reporter.say(message)


def changed_versions(made: dict, backend: str) -> list[tuple[str, str, str]]:
    """List the packages that a fit can depend on and whose versions are others here.

    Args:
        made: facts on a fit, with `packages`.
        backend: the Keras backend's name; the versions of the others do not count.

    Returns:
        (package, version then, version here) each.
    """
    changed = []
    for name, here in environment.package_versions().items():
        found = made.get("packages", {}).get(name, here)
        # No result depends on which bug fixes a Python has.
        parts = 2 if name == "python" else None
        same = found.split(".")[:parts] == here.split(".")[:parts]
        if not same and name not in {"tensorflow", "jax", "torch"} - {backend}:
            changed.append((name, found, here))
    return changed


def changed_hardware(made: dict) -> list[tuple[str, object, object]]:
    """List what differs of the hardware that a fit was made on: (property, then, here) each."""
    here = environment.hardware()
    then = made.get("hardware", {})
    return [
        (name, then[name], here[name])
        for name in ("processor", "cores")
        if then.get(name, here[name]) != here[name]
    ]


def _made_by(folder: RunFolder, standing: FitStatus) -> dict:
    """Return the facts on who made a finished fit, or what an unfinished one goes on from."""
    spec = standing.spec
    if standing.finished:
        return folder.read_fit(spec.member, spec.fold)
    if standing.to_do:
        try:
            return fits.state_facts(folder, spec) or {}
        except files.DamagedError:
            pass  # it is told of when the fit begins
    return {}
