"""The files of a run's fits: finished ones whole or not at all, and what others resume from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder

# Files of a finished fit.
MODEL, PREDICTIONS, HISTORY = "model.keras", "predictions.npz", "history.csv"
FAILURES = ".failed.json"  # end of the name of the attempts at a fit that diverged


class FitFiles(LockedFolder):
    """The part of a run folder that belongs to its fits, one folder each.

    Attributes:
        fits: the folder of all of them.
    """

    fits: Path

    def finished_fits(self) -> list[tuple[str, int]]:
        """List (member, fold from 0) of all finished fits, sound or not."""
        names = (path.parent.name for path in self.fits.glob("*/fit.json"))
        return sorted(fit for fit in map(self.parse_fit_name, names) if fit)

    @staticmethod
    def fit_name(member: str, fold: int) -> str:
        """Return the name of a fit's folder, in which folds are counted from 1."""
        return f"{member}-fold{fold + 1}"

    @staticmethod
    def parse_fit_name(name: str) -> tuple[str, int] | None:
        """Return (member, fold from 0) of what `fit_name` returned; None for any other name."""
        match = re.fullmatch(r"(\w+)-fold([1-9]\d*)", name)
        return match and (match[1], int(match[2]) - 1)

    def fit_folder(self, member: str, fold: int) -> Path:
        """Return the folder of a finished fit."""
        return self.fits / self.fit_name(member, fold)

    def model_path(self, member: str, fold: int) -> Path:
        """Return the saved net of a finished fit."""
        return self.fit_folder(member, fold) / MODEL

    def history_path(self, member: str, fold: int) -> Path:
        """Return the history of a finished fit, a line for each epoch."""
        return self.fit_folder(member, fold) / HISTORY

    def state_path(self, member: str, fold: int) -> Path:
        """Return the file of what an unfinished fit resumes from."""
        return self.fits / f"{self.fit_name(member, fold)}.state"

    def failures_path(self, member: str, fold: int) -> Path:
        """Return the file of the attempts at a fit that diverged."""
        return self.fits / f"{self.fit_name(member, fold)}{FAILURES}"

    def read_fit(self, member: str, fold: int) -> dict | None:
        """Read a fit's `fit.json`, None if the fit is not there.

        Raises:
            files.DamagedError: the file is not as it was written.
            UserError: another version of this program wrote it.
        """
        path = self.fit_folder(member, fold) / "fit.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            checksum = facts.pop("checksum")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise files.DamagedError(path, f"it cannot be read ({error})") from None
        files.check_format(path, facts.get("format"), self.format)
        if checksum != files.digest_json(facts):
            raise files.DamagedError(path, "its checksum differs")
        return facts

    def check_net(self, member: str, fold: int) -> None:
        """Compare the checksum of a finished fit's net.

        Raises:
            files.DamagedError: it is not as it was written, or missing.
        """
        self._compare_checksums(member, fold, [MODEL])

    def _compare_checksums(self, member: str, fold: int, names: Collection[str] | None) -> None:
        """Compare those of some files of a finished fit; None: of all."""
        folder, checksums = self.fit_folder(member, fold), self.read_fit(member, fold)["checksums"]
        for name in checksums if names is None else names:
            if not (folder / name).is_file():
                raise files.DamagedError(folder / name, "it is missing")
            if files.checksum(folder / name) != checksums[name]:
                raise files.DamagedError(folder / name, "its checksum in fit.json differs")

    def read_fit_arrays(self, member: str, fold: int) -> files.Arrays:
        """Read a finished fit's predictions, after comparing all its files' checksums.

        Raises:
            files.DamagedError: a file is not as it was written, or missing.
        """
        self._compare_checksums(member, fold, None)
        return files.read_arrays(self.fit_folder(member, fold) / PREDICTIONS)

    def write_fit(
        self, member: str, fold: int, writers: Mapping[str, Callable[[Path], None]], facts: dict
    ) -> None:
        """Write a fit's folder whole or not at all.

        Args:
            member: the member's name.
            fold: from 0.
            writers: name -> function that writes the file to the path it is given.
            facts: for `fit.json`, which also gets its format and every file's checksum.
        """
        place = self.fit_folder(member, fold)
        beside = files.temporary_path(place)
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, write in writers.items():
                with files.atomic_write(beside / name) as path:
                    write(path)
            sums = {name: files.checksum(beside / name) for name in writers}
            facts = {"format": self.format} | facts | {"checksums": sums}
            files.write_json(beside / "fit.json", facts | {"checksum": files.digest_json(facts)})
            self.remove_fit(member, fold)  # remains of one that is not whole
            files.move(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def remove_fit(self, member: str, fold: int) -> None:
        """Delete a fit that is not whole or not sound, if anything is there."""
        shutil.rmtree(self.fit_folder(member, fold), ignore_errors=True)

    def write_state(self, member: str, fold: int, arrays: files.Arrays) -> None:
        """Write what an unfinished fit resumes from."""
        files.write_versioned_arrays(self.state_path(member, fold), arrays, self.format)

    def read_state(self, member: str, fold: int) -> files.Arrays | None:
        """Read what an unfinished fit resumes from, None if there is nothing.

        Raises:
            files.DamagedError: the file is not as it was written.
            UserError: another version of this program wrote it.
        """
        return files.read_versioned_arrays(self.state_path(member, fold), self.format)

    def remove_state(self, member: str, fold: int) -> None:
        """Delete what a fit resumed from, if anything."""
        self.state_path(member, fold).unlink(missing_ok=True)

    def write_failures(self, member: str, fold: int, attempts: list[dict]) -> None:
        """Write which attempts at a fit diverged, one dict each."""
        content = json.dumps({"format": self.format, "attempts": attempts}).encode()
        files.write_checksummed(self.failures_path(member, fold), content)

    def read_failures(self, member: str, fold: int) -> list[dict] | None:
        """Read which attempts at a fit diverged, None if nothing was noted.

        Raises:
            files.DamagedError: the file is not as it was written.
            UserError: another version of this program wrote it.
        """
        path = self.failures_path(member, fold)
        try:
            noted = json.loads(files.read_checksummed(path))
        except FileNotFoundError:
            return None
        number = noted.get("format") if isinstance(noted, dict) else None
        files.check_format(path, number, self.format)
        return noted["attempts"]
