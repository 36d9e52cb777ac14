"""The run folder: the only module that knows the names of a run's files.

What other modules compute comes here as bytes or arrays.
"""

from __future__ import annotations

import glob
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder


class RunFolder(LockedFolder):
    """Everything that a run leaves behind.

    Args:
        folder: made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.submission = folder / "submission.csv"
        self.metrics = folder / "metrics.json"
        self.config = folder / "config.yaml"
        self.manifest = folder / "manifest.json"
        self.predictions = folder / "predictions.npz"
        self.folds = folder / "folds.npz"
        self.augmentation = folder / "augmentation.png"
        self.log = folder / "run.log"
        self.fits = folder / "fits"

    def places(self) -> list[Path]:
        """List the folders that its owner writes to."""
        return [self.folder, self.fits]

    def is_ours(self) -> bool:
        """Tell whether the folder is a run's, or there is nothing in it that could be lost."""
        # A process that was killed while it took the folder may have left no more than this.
        taken = (".lock", ".owner", files.TEMP_PREFIX)
        if not self.folder.exists() or all(
            path.name.startswith(taken) for path in self.folder.iterdir()
        ):
            return True
        # Other programs' folders have a manifest.json too.
        manifest = files.read_json(self.manifest)
        return (
            {"hashes", "fits", "artefacts"} <= manifest.keys()
            or ((self.folder / ".lock").exists() and (self.folder / ".owner").exists())
            or any("identity" in files.read_json(path) for path in self.fits.glob("*/fit.json"))
        )

    def is_new(self) -> bool:
        """Tell whether no run has got further in it than to make the folder."""
        marks = (self.manifest, self.config, self.fits)
        return self.folder.is_dir() and self.is_ours() and not any(m.exists() for m in marks)

    def holds_config(self, content: bytes) -> bool:
        """Tell whether the run has a config, by its file or, if that is damaged, the manifest."""
        noted = _dict(files.read_json(self.manifest).get("artefacts")).get(self.config.name)
        here = self.config.read_bytes() if self.config.is_file() else b""
        return content == here or files.digest_of_content(content) == noted

    def was_reported(self) -> bool:
        """Tell whether a complete run's result has been shown to its end."""
        return (self.folder / ".reported").exists()

    def note_reported(self, told: bool) -> None:
        """Note that the result has been shown, or that there will be another one."""
        if told:
            files.write_bytes(self.folder / ".reported", b"")
        else:
            (self.folder / ".reported").unlink(missing_ok=True)

    def finished_fits(self) -> list[str]:
        """Name the folders of all finished fits, sound or not."""
        return sorted(path.parent.name for path in self.fits.glob("*/fit.json"))

    def read_seconds(self) -> dict[str, float]:
        """Read the seconds of all earlier invocations, as far as they were noted: wall, saving."""
        noted = files.read_json(self.folder / ".seconds")
        # They only inform: a damaged number counts as none.
        return {
            name: float(noted[name]) if isinstance(noted.get(name), int | float) else 0.0
            for name in ("wall", "saving")
        }

    def write_seconds(self, seconds: dict[str, float]) -> None:
        """Note the seconds of all invocations so far."""
        files.write_json(self.folder / ".seconds", seconds)

    def clear(self) -> None:
        """Delete all that a run leaves behind, and nothing else."""
        shutil.rmtree(self.fits, ignore_errors=True)
        for path in (
            self.submission,
            self.metrics,
            self.config,
            self.manifest,
            self.predictions,
            self.folds,
            self.augmentation,
            self.log,
            self.folder / ".seconds",
            self.folder / ".reported",
        ):
            path.unlink(missing_ok=True)

    def fit_folder(self, member: str, fold: int) -> Path:
        """Say where a fit lies; folds are counted from 1 in names that people see."""
        return self.fits / f"{member}-fold{fold + 1}"

    def read_fit(self, member: str, fold: int) -> dict | None:
        """Read a fit's `fit.json`, None if the fit is not there.

        Raises:
            files.DamagedError: the file is not as it was written.
        """
        path = self.fit_folder(member, fold) / "fit.json"
        try:
            facts = json.loads(path.read_text())
            if facts.pop("checksum") != files.digest_json(facts):
                raise files.DamagedError(path, "its checksum differs")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise files.DamagedError(path, f"it cannot be read ({error})") from None
        return facts

    def read_fit_arrays(self, member: str, fold: int) -> files.Arrays:
        """Read a finished fit's `predictions.npz` after comparing all its files' checksums.

        Raises:
            files.DamagedError: a file is not as it was written, or missing.
        """
        folder = self.fit_folder(member, fold)
        for name, expected in self.read_fit(member, fold)["checksums"].items():
            if not (folder / name).is_file():
                raise files.DamagedError(folder / name, "it is missing")
            if files.checksum(folder / name) != expected:
                raise files.DamagedError(folder / name, "its checksum in fit.json differs")
        return files.read_arrays(folder / "predictions.npz")

    def write_fit(
        self, member: str, fold: int, writers: Mapping[str, Callable[[Path], None]], facts: dict
    ) -> None:
        """Write a fit's folder whole or not at all.

        Args:
            member: the member's name.
            fold: from 0.
            writers: name -> function that writes the file to the path it is given.
            facts: for `fit.json`, which also gets every file's checksum.
        """
        place = self.fit_folder(member, fold)
        beside = place.with_name(f"{files.TEMP_PREFIX}{os.getpid()}-{place.name}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, write in writers.items():
                with files.atomic_write(beside / name) as path:
                    write(path)
            facts = facts | {"checksums": {name: files.checksum(beside / name) for name in writers}}
            files.write_json(beside / "fit.json", facts | {"checksum": files.digest_json(facts)})
            self.remove_fit(member, fold)  # remains of one that is not whole
            files.move(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def remove_fit(self, member: str, fold: int) -> None:
        """Delete a fit that is not whole or not sound, if anything is there."""
        shutil.rmtree(self.fit_folder(member, fold), ignore_errors=True)

    def write_state(self, member: str, fold: int, arrays: files.Arrays) -> None:
        """Write what an unfinished fit goes on from."""
        files.write_checksummed(self._state_path(member, fold), files.npz(arrays))

    def read_state(self, member: str, fold: int) -> files.Arrays | None:
        """Read what an unfinished fit goes on from, None if there is nothing.

        Raises:
            files.DamagedError: the file is not as it was written.
        """
        try:
            return files.read_arrays(
                io.BytesIO(files.read_checksummed(self._state_path(member, fold)))
            )
        except FileNotFoundError:
            return None

    def remove_state(self, member: str, fold: int) -> None:
        """Delete what a fit went on from, if anything."""
        self._state_path(member, fold).unlink(missing_ok=True)

    def write_failures(self, member: str, fold: int, attempts: list[dict]) -> None:
        """Note the attempts at a fit that were sick."""
        files.write_checksummed(self._failures_path(member, fold), json.dumps(attempts).encode())

    def read_failures(self, member: str, fold: int) -> list[dict] | None:
        """Read the attempts at a fit that were sick, None if there is no note.

        Raises:
            DamagedError: the file is not as it was written.
        """
        try:
            return json.loads(files.read_checksummed(self._failures_path(member, fold)))
        except FileNotFoundError:
            return None

    def _failures_path(self, member: str, fold: int) -> Path:
        place = self.fit_folder(member, fold)
        return place.with_name(f"{place.name}.failed.json")

    def _state_path(self, member: str, fold: int) -> Path:
        place = self.fit_folder(member, fold)
        return place.with_name(f"{place.name}.state")

    def read_folds(self) -> files.Arrays | None:
        """Read the saved split, None if there is none.

        Raises:
            files.DamagedError: the file is not as it was written.
        """
        try:
            return files.read_arrays(io.BytesIO(files.read_checksummed(self.folds)))
        except FileNotFoundError:
            return None

    def write_folds(self, arrays: files.Arrays) -> None:
        """Write the split."""
        files.write_checksummed(self.folds, files.npz(arrays))

    def changed_artefacts(self) -> list[str]:
        """Name the summary files that differ from the manifest, or lack.

        A fit has checksums of its own; the log grows.
        """
        artefacts = _dict(files.read_json(self.manifest).get("artefacts"))
        summary = [
            (self.folder / name, expected)
            for name, expected in artefacts.items()
            if "/" not in name
        ]
        return [
            path.name
            for path, expected in summary
            if not path.is_file() or files.checksum(path) != expected
        ]

    def checksums(self) -> dict[str, str]:
        """Hash every artefact but the manifest and the log, by its path within the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path: path.relative_to(self.folder) for path in paths}
        return {
            name.as_posix(): files.checksum(path)
            for path, name in names.items()
            if path not in (self.manifest, self.log)
            and not any(part.startswith(".") for part in name.parts)
        }


def _dict(value: object) -> dict:
    """Return a dict as it is, and of anything else, in a damaged file, none."""
    return value if isinstance(value, dict) else {}


def next_folder(root: Path, name: str, goes_on: Callable[[Path], bool]) -> Path:
    """Choose a folder for a run or search that was given none.

    Args:
        root: the folder of all runs.
        name: what folders are called: `<name>-<number>`.
        goes_on: tells whether a folder is the place for this command.

    Returns:
        The newest folder that goes on, else the one with the next free number.
    """
    numbers = []
    for path in root.glob(f"{glob.escape(name)}-*"):
        if match := re.fullmatch(re.escape(name) + r"-(\d+)", path.name):
            numbers.append(int(match[1]))
    for number in sorted(numbers, reverse=True):
        if goes_on(root / f"{name}-{number}"):
            return root / f"{name}-{number}"
    return root / f"{name}-{max(numbers, default=0) + 1}"


def expected_rows(submission: Path) -> int:
    """Say how many rows a submission must have: as its run's manifest, else Kaggle's 28,000."""
    rows = files.read_json(RunFolder(submission.parent).manifest).get("test_rows")
    return rows if isinstance(rows, int) else 28_000


def is_demo(submission: Path) -> bool:
    """Tell whether a submission lies in the folder of a run on the demo data."""
    return files.read_json(RunFolder(submission.parent).manifest).get("demo_data") is True
