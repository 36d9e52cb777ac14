"""Where a search's artefacts lie; its part of what `store` is for a run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from kaggle_digits.results.search_records import TrialResult
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder
from kaggle_digits.storage.run_folder import RunFolder


class SearchFolder(LockedFolder):
    """Everything that a search leaves behind.

    Args:
        folder: made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.identity = folder / "search.json"
        self.best = folder / "best.yaml"
        self.findings = folder / "findings.json"
        self.page = folder / "report.html"
        self.tensorboard = folder / "tensorboard"
        self.log = folder / "tune.log"
        self.oracle = folder / "oracle"
        self.candidates = folder / "candidates"
        self.checks = folder / "check"

    def places(self) -> list[Path]:
        """List the folders that its owner writes to; a candidate's belongs to whoever trains it."""
        return [self.folder, self.oracle, *self.oracle.glob("trial_*")]

    def is_ours(self) -> bool:
        """Tell whether the folder is a search's, or there is nothing in it that could be lost."""
        taken = (".lock", ".owner", files.TEMP_PREFIX)
        return (
            not self.folder.exists()
            or all(path.name.startswith(taken) for path in self.folder.iterdir())
            or {"config", "data", "backend"} <= files.read_json(self.identity).keys()
        )

    def candidate(self, digest: str) -> RunFolder:
        """Say where the fits of a candidate on the search's folds lie."""
        return RunFolder(self.candidates / digest)

    def checked(self, digest: str) -> RunFolder:
        """Say where the fits of a candidate on the untouched folds lie."""
        return RunFolder(self.checks / digest)

    def all_candidates(self) -> list[RunFolder]:
        """List the folders of all candidates that have been begun, and of the check."""
        places = [*self.candidates.glob("*"), *self.checks.glob("*")]
        return [RunFolder(place) for place in sorted(places) if place.is_dir()]

    def write_result(self, result: TrialResult) -> None:
        """Write how a trial stands."""
        path = self.candidate(result.candidate).folder / f"trial-{result.trial}.json"
        files.write_json(path, asdict(result))

    def read_results(self) -> dict[str, TrialResult]:
        """Read how every trial that has begun stands, by its id; one that cannot be read lacks."""
        results = {}
        for path in sorted(self.candidates.glob("*/trial-*.json")):
            values = files.read_json(path)
            if values.keys() == TrialResult.__dataclass_fields__.keys():
                results[values["trial"]] = TrialResult(**values)
        return results

    def write_rows(self, digest: str, arrays: files.Arrays) -> None:
        """Write what a candidate makes of each row."""
        files.write_checksummed(self._rows_path(digest), files.npz(arrays))

    def read_rows(self, digest: str, say: Callable[[str], None]) -> files.Arrays | None:
        """Read what a candidate makes of each row, None where that is not known (any more)."""
        try:
            return files.read_arrays(io.BytesIO(files.read_checksummed(self._rows_path(digest))))
        except FileNotFoundError:
            return None
        except files.DamagedError as damage:
            say(f"damaged: {damage.path}: {damage.reason}; no trial is raced against it")
            return None

    def _rows_path(self, digest: str) -> Path:
        return self.candidate(digest).folder / "rows.npz"
