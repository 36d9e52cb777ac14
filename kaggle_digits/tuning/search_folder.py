"""The search folder: the only module that knows the names of a search's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.results import record
from kaggle_digits.results.search_records import FORMAT, LearningCurve, SearchRecord, TrialResult
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder
from kaggle_digits.storage.run_folder import RunFolder


class SearchFolder(LockedFolder):
    """Everything that a search leaves behind.

    Args:
        folder: is created by the first write.
    """

    kind, format = "search", FORMAT
    earlier_keys = frozenset(("config", "data", "backend"))

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, record=folder / "search.json")
        self.identity = self.record
        self.best = folder / "best.yaml"
        self.found = folder / "search_record.json"
        self.page = folder / "report.html"
        self.tensorboard = folder / "tensorboard"
        self.log = folder / "tune.log"
        self.oracle = folder / "oracle"
        self.candidates = folder / "candidates"
        self.holdout = folder / "holdout"
        self._reported: set[Path] = set()

    def places(self) -> list[Path]:
        """List the folders that its owner writes to; a candidate's belongs to whoever trains it."""
        return [self.folder, self.oracle, *self.oracle.glob("trial_*")]

    def candidate(self, digest: str) -> RunFolder:
        """Return the folder with a candidate's fits on the folds of the search."""
        return RunFolder(self.candidates / digest)

    def holdout_fits(self, digest: str) -> RunFolder:
        """Return the folder with a config's fits on the holdout folds."""
        return RunFolder(self.holdout / digest)

    def all_candidates(self) -> list[RunFolder]:
        """List the folders of all fits that have begun, on the search's and the holdout folds."""
        places = [*self.candidates.glob("*"), *self.holdout.glob("*")]
        return [RunFolder(place) for place in sorted(places) if place.is_dir()]

    def write_record(self, found: SearchRecord) -> None:
        """Write what the search has found."""
        files.write_json(self.found, record.to_json(found, FORMAT))

    def read_record(self) -> SearchRecord:
        """Read what the search has found.

        Raises:
            UserError: it cannot be read, or is of another format.
        """
        return record.from_json(SearchRecord, files.read_json(self.found), FORMAT, self.found)

    def is_complete(self) -> bool:
        """Return whether the search had nothing left to do when it last ended."""
        return files.read_json(self.found).get("complete") is True

    def write_result(self, result: TrialResult) -> None:
        """Write how far a trial is."""
        path = self.candidate(result.candidate).folder / f"trial-{result.trial}.json"
        files.write_json(path, record.to_json(result, FORMAT))

    def read_results(
        self, say: Callable[[str], None] = lambda message: None
    ) -> dict[str, TrialResult]:
        """Read how far every trial that has begun is, by its id.

        Args:
            say: is given one line for each file that cannot be read, once; its trial is left out.
        """
        results = {}
        for path in sorted(self.candidates.glob("*/trial-*.json")):
            try:
                result = record.from_json(TrialResult, files.read_json(path), FORMAT, path)
                results[result.trial] = result
            except UserError as error:
                if path not in self._reported:
                    say(f"WARNING: a trial is left out: {error}")
                self._reported.add(path)
        return results

    def write_rows(self, digest: str, arrays: files.Arrays) -> None:
        """Write what a candidate predicts for each row."""
        files.write_versioned_arrays(self._rows_path(digest), arrays, FORMAT)

    def read_rows(self, digest: str, say: Callable[[str], None]) -> files.Arrays | None:
        """Read what a candidate predicts for each row, None where that is not known (any more)."""
        try:
            return files.read_versioned_arrays(self._rows_path(digest), FORMAT)
        except files.DamagedError as damage:
            reason = f"damaged: {damage.path}: {damage.reason}"
        except UserError as error:
            reason = str(error)
        say(f"{reason}; no trial is raced against it")
        return None

    def read_curves(self, digest: str) -> dict[str, LearningCurve]:
        """Read how a candidate's finished fits learned, by their names, as far as it was kept."""
        import pandas as pd

        folder, curves = self.candidate(digest), {}
        for member, fold in folder.finished_fits():
            try:
                history = pd.read_csv(folder.history_path(member, fold))
                loss, accuracy = (tuple(history[name].tolist()) for name in ("loss", "accuracy"))
            except (OSError, ValueError, KeyError):  # they only inform
                continue
            curves[folder.fit_name(member, fold)] = LearningCurve(loss, accuracy)
        return curves

    def _rows_path(self, digest: str) -> Path:
        return self.candidate(digest).folder / "rows.npz"
