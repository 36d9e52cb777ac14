"""What a run folder holds -> which fits are finished, diverged or to do, and where they resume.

Reads only, but for the split, `Checkpoint`s and notes of diverged attempts, which are written here
too, and what of no use a fit has left, which is deleted.
Whatever makes it impossible to continue in a folder is found before a backend is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.data import folds
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.training import fit_spec
from kaggle_digits.training.fit import ATTEMPTS
from kaggle_digits.training.fit_spec import FitSpec

if TYPE_CHECKING:
    from kaggle_digits.training.callbacks import Checkpoint  # not at run time: it imports Keras


@dataclass(frozen=True)
class FitStatus:
    """How far a planned fit is.

    Attributes:
        spec: the attempt that it is at.
        finished: the fit is there and sound.
        skipped: why it was given up, None as a rule.
    """

    spec: FitSpec
    finished: bool = False
    skipped: str | None = None

    @property
    def to_do(self) -> bool:
        """Whether it is to be trained."""
        return not self.finished and self.skipped is None


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        fits: one status for each planned fit, in the order of the plan.
        notes: lines for people on what was damaged.
    """

    fits: tuple[FitStatus, ...]
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> list[FitSpec]:
        """All planned fits, each the attempt that it is at."""
        return [status.spec for status in self.fits]

    @property
    def to_do(self) -> list[FitSpec]:
        """The fits to train."""
        return [status.spec for status in self.fits if status.to_do]

    @property
    def finished(self) -> list[FitSpec]:
        """The finished fits."""
        return [status.spec for status in self.fits if status.finished]

    @property
    def skipped(self) -> dict[str, str]:
        """Why fits were given up, by their names."""
        return {status.spec.name: status.skipped for status in self.fits if status.skipped}

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to train."""
        return not self.to_do

    def with_fit(self, status: FitStatus) -> RunState:
        """Return the state after a fit has got further."""
        key = status.spec.member, status.spec.fold
        fits = tuple(
            status if (old.spec.member, old.spec.fold) == key else old for old in self.fits
        )
        return replace(self, fits=fits)


def read_or_make_split(
    folder: RunFolder, labels: np.ndarray, settings: Folds, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Return the split that the run folder holds, if it is this run's, or make it.

    Args:
        folder: the run's folder.
        labels: (n,) labels of the training rows.
        settings: how they are split.
        seed: the run's seed.

    Returns:
        (held-out row sets, one for each fold; lines for people on damage).
    """
    notes = []
    try:
        saved = folder.read_folds()
    except files.DamagedError as damage:
        notes.append(f"damaged: {damage.path}: {damage.reason}; it is made again")
        saved = None
    if saved is not None:
        split = folds.from_arrays(saved)
        made_from = {key: saved[key] for key in saved if key not in ("folds", "held_out")}
        if made_from == _made_from(settings, labels, seed) and len(split) == settings.fits:
            return split, notes
    return folds.split(settings, labels, seed), notes


def write_split(
    folder: RunFolder, split: list[np.ndarray], labels: np.ndarray, settings: Folds, seed: int
) -> None:
    """Write a split as `read_or_make_split` reads it; the arguments are as there."""
    arrays = folds.to_arrays(split, len(labels))
    folder.write_folds(arrays | _made_from(settings, labels, seed))


def _made_from(settings: Folds, labels: np.ndarray, seed: int) -> files.Arrays:
    """Return what is stored beside a split: what it was made from."""
    made_from = {"seed": np.int64(seed), "labels": np.array(files.digest(labels))}
    if settings.is_usual:
        return made_from  # as before there were others
    return made_from | {"settings": np.array(files.digest_json(settings.identity()))}


def scan_fits(folder: RunFolder, specs: list[FitSpec], allow_changed: bool = False) -> RunState:
    """Find out how far each planned fit is.

    Args:
        folder: the run's folder.
        specs: all planned fits, attempt 1.
        allow_changed: keep fits that other versions of the augmentation's packages had a part in.

    Returns:
        The run's state.

    Raises:
        UserError: the folder holds fits of another run.
    """
    planned = {(spec.member, spec.fold) for spec in specs}
    if others := [fit for fit in folder.finished_fits() if fit not in planned]:
        raise UserError(
            f"{folder.fit_folder(*others[0])}: this fit belongs to another run, its member or fold "
            "is not in this config (members, folds); give another --out, or the config of "
            "that run"
        )
    notes: list[str] = []
    fits = tuple(_scan_fit(folder, spec, notes, allow_changed) for spec in specs)
    return RunState(fits, tuple(notes))


def clear_leftovers(folder: RunFolder, state: RunState) -> None:
    """Delete what is left of damaged fits, and the checkpoints of finished ones."""
    for status in state.fits:
        if status.to_do:
            folder.remove_fit(status.spec.member, status.spec.fold)
        elif status.finished:  # a kill came just after the fit was written
            folder.remove_state(status.spec.member, status.spec.fold)


def _scan_fit(folder: RunFolder, spec: FitSpec, notes: list[str], allow_changed: bool) -> FitStatus:
    try:
        diverged = diverged_attempts(folder, spec)
    except files.DamagedError as damage:
        notes.append(f"damaged: {damage.path}: {damage.reason}; it is made again")
        diverged = []
    for _ in diverged:
        spec = spec.next_attempt()
    if len(diverged) == ATTEMPTS:
        return FitStatus(spec, skipped=diverged[-1])
    try:
        facts = folder.read_fit(spec.member, spec.fold)
        if facts is None:
            _check_state(folder, spec, notes, allow_changed)
            return FitStatus(spec)
        if facts["identity"].get("attempt") == spec.attempt + 1:
            # The note of its first attempt is lost, or of other versions.
            spec = spec.next_attempt()
        place = str(folder.fit_folder(spec.member, spec.fold))
        fit_spec.check_identity(spec, facts["identity"], place, allow_changed)
        folder.read_fit_arrays(spec.member, spec.fold)
    except files.DamagedError as damage:
        notes.append(f"damaged: {damage.path}: {damage.reason}; {spec.name} is trained again")
        return FitStatus(spec)
    return FitStatus(spec, finished=True)


def _check_state(folder: RunFolder, spec: FitSpec, notes: list[str], allow_changed: bool) -> None:
    """Refuse to overwrite the epochs of a fit with other settings."""
    try:
        facts = read_checkpoint_facts(folder, spec.member, spec.fold)
    except files.DamagedError:
        return  # it is reported when the fit begins
    # Of a diverged attempt, or of the one after it whose note is lost: of no use.
    if facts is None or facts["identity"]["attempt"] != spec.attempt:
        return
    place = str(folder.state_path(spec.member, spec.fold))
    fit_spec.check_identity(spec, facts["identity"], place, allow_changed)
    if facts["fit"] != spec.digest:
        notes.append(
            f"{spec.name} starts from the beginning: its {facts['epochs']} epochs saw images of "
            "another version of albumentations or OpenCV"
        )


# Diverged attempts


def note_divergence(folder: RunFolder, spec: FitSpec, reason: str) -> None:
    """Note that an attempt has diverged, so that it is never repeated."""
    try:
        attempts = folder.read_failures(spec.member, spec.fold) or []
    except files.DamagedError:
        attempts = []
    attempts = [entry for entry in attempts if entry["attempt"] < spec.attempt]
    attempts.append({"attempt": spec.attempt, "fit": spec.digest, "reason": reason})
    folder.write_failures(spec.member, spec.fold, attempts)
    folder.remove_state(spec.member, spec.fold)


def diverged_attempts(folder: RunFolder, spec: FitSpec) -> list[str]:
    """Return why earlier attempts of a planned fit (attempt 1) have diverged, in their order.

    Raises:
        DamagedError: the note is not as it was written.
    """
    reasons = []
    for entry in folder.read_failures(spec.member, spec.fold) or []:
        if entry["fit"] != spec.digest:
            break  # of other settings
        reasons.append(entry["reason"])
        spec = spec.next_attempt()
    return reasons


# Checkpoints


@files.timed_io()
def save_checkpoint(folder: RunFolder, spec: FitSpec, checkpoint: Checkpoint) -> None:
    """Write what an unfinished fit resumes from, in place of what was there."""
    facts = {
        "fit": spec.digest,
        "identity": spec.identity,
        "epochs": checkpoint.epochs,
        "history": checkpoint.history,
        "packages": environment.package_versions(),
        "hardware": environment.hardware(),
    }
    arrays = {
        f"{kind}{number:04d}": array
        for kind, of_kind in (
            ("variable", checkpoint.arrays),
            ("best", checkpoint.best),
            ("losses", [checkpoint.losses]),
        )
        for number, array in enumerate(of_kind)
    }
    facts_array = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    folder.write_state(spec.member, spec.fold, arrays | {"facts": facts_array})


def load_checkpoint(folder: RunFolder, spec: FitSpec) -> Checkpoint | None:
    """Read what an unfinished fit resumes from.

    Args:
        folder: the run's folder.
        spec: the fit.

    Returns:
        The checkpoint, or None where there is none of this very fit.

    Raises:
        DamagedError: the file is not as it was written.
    """
    from kaggle_digits.training.callbacks import Checkpoint

    arrays = folder.read_state(spec.member, spec.fold)
    facts = _facts(arrays)
    if facts is None or facts["fit"] != spec.digest:
        return None
    variables, best, losses = (
        [arrays[name] for name in sorted(arrays) if name.startswith(kind)]
        for kind in ("variable", "best", "losses")
    )
    # An earlier version's checkpoint has no losses: it knew no short epochs.
    return Checkpoint(facts["epochs"], variables, facts["history"], best, *losses)


def read_checkpoint_facts(folder: RunFolder, member: str, fold: int) -> dict | None:
    """Read the facts on what a fit resumes from, whatever its settings; None where it starts.

    Raises:
        DamagedError: the file is not as it was written.
    """
    return _facts(folder.read_state(member, fold))


def _facts(arrays: files.Arrays | None) -> dict | None:
    return None if arrays is None else json.loads(arrays["facts"].tobytes())


# The machine


def check_environment(
    folder: RunFolder, fits: Iterable[FitStatus], allow_changed: bool
) -> list[str]:
    """Hold this machine against those that made what the folder holds.

    Args:
        folder: the run's folder.
        fits: the run's fits.
        allow_changed: accept other package versions.

    Returns:
        Lines for people on what may change the last bits of the results.

    Raises:
        UserError: package versions differ; names the first.
    """
    warnings: dict[str, None] = {}
    for status in fits:
        made = _made_by(folder, status)
        for name, found, here in changed_versions(made, status.spec.backend):
            message = f"{status.spec.name} was trained with {name} {found}, here is {here}"
            if not allow_changed:
                raise UserError(
                    f"{folder.folder}: {message}; use {name} {found} again, or continue all the "
                    "same with --allow-changed-versions, or start from the beginning with --restart"
                )
            warnings[f"WARNING: {message}; the results are not those of one version"] = None
        for name, found, here in changed_hardware(made):
            warnings[
                f"WARNING: {status.spec.name} was trained on other hardware ({name}: {found} "
                f"there, {here} here); the last bits may differ"
            ] = None
    return list(warnings)


def changed_versions(made: dict, backend: str) -> list[tuple[str, str, str]]:
    """List the packages that a fit can depend on and whose versions differ here.

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


def _made_by(folder: RunFolder, status: FitStatus) -> dict:
    """Return the facts on who made a finished fit, or what an unfinished one resumes from."""
    spec = status.spec
    if status.finished:
        return folder.read_fit(spec.member, spec.fold)
    if status.to_do:
        try:
            facts = read_checkpoint_facts(folder, spec.member, spec.fold)
            return facts if facts and facts["fit"] == spec.digest else {}
        except files.DamagedError:
            pass  # it is reported when the fit begins
    return {}
