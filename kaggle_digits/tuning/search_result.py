"""A search's folder as a value for notebooks: its trials, its record and the best config."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import SearchRecord
from kaggle_digits.tuning.search_folder import SearchFolder

if TYPE_CHECKING:
    import pandas as pd


class SearchResult:
    """What a search has left in its folder so far; read when it is first asked for.

    Args:
        folder: the search's folder.

    Raises:
        UserError: there is no search in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = SearchFolder(Path(folder))
        if not self._folder.identity.is_file():
            raise UserError(
                f"{folder}: expected the folder of a search, found no search.json in it"
            )
        self._folder.check_usable()

    def __repr__(self) -> str:
        found = self.record.counts() if self._folder.found.is_file() else "no result yet"
        return f"SearchResult({str(self.folder)!r}, {found})"

    @property
    def folder(self) -> Path:
        """The search's folder."""
        return self._folder.folder

    @cached_property
    def record(self) -> SearchRecord:
        """All that was found, see `kaggle_digits/results/README.md`."""
        if not self._folder.found.is_file():
            raise UserError(f"{self.folder}: no result yet; continue the search first")
        return self._folder.read_record()

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, in the order in which they began; a column for each setting."""
        import pandas as pd

        rows = []
        for trial in self.record.trials:
            figures = asdict(trial)
            rows.append(figures | figures.pop("settings"))
        return pd.DataFrame(rows)

    @cached_property
    def best_config(self) -> Config:
        """The config of the best trial, ready for `run`."""
        if not self._folder.best.is_file():
            raise UserError(f"{self.folder}: no trial is complete yet; continue the search first")
        return loading.load(str(self._folder.best))
