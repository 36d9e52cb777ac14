"""The folder of an evaluation: the only module that knows the names of its files."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import count
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

PREFIX = "evaluation-"  # of the names of such folders within a run's


class EvaluationFolder:
    """What an evaluation of a run leaves behind.

    Args:
        folder: is created by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "evaluation.json"
        self.page = folder / "evaluation.html"

    @classmethod
    def of_run(cls, run: Path, source: str | Path | None, data: str) -> EvaluationFolder:
        """Return where an evaluation of a run goes by default.

        An evaluation of the same data is replaced, nothing else: other data of the same name gets
        the next free number.

        Args:
            run: the run's folder.
            source: the path or name of the evaluated data; None: its own rows, out of fold.
            data: digest of the data.
        """
        name = "out-of-fold" if source is None else Path(source).expanduser().resolve().name
        stem = re.sub(r"(\.(csv|gz|zip|npz|npy))+$", "", name)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-") or "data"
        numbered = (cls(run / f"{PREFIX}{stem}{f'-{n}' * (n > 1)}") for n in count(1))
        return next(each for each in numbered if each.is_free() or each.data() == data)

    def is_free(self) -> bool:
        """Return whether nothing is there but what a killed process has left half written."""
        if not self.folder.is_dir():
            return not self.folder.exists()
        return all(path.name.startswith(files.TEMP_PREFIX) for path in self.folder.iterdir())

    def holds_evaluation(self) -> bool:
        """Return whether an evaluation is there, whatever its data."""
        return {"format", "out_of_fold"} <= files.read_json(self.record).keys()

    def data(self) -> str | None:
        """Return the digest of the evaluated data; None: there is no evaluation, or none noted."""
        return files.read_json(self.record).get("data") if self.holds_evaluation() else None

    def check_usable(self) -> None:
        """Refuse a place where anything but an evaluation could be overwritten.

        Raises:
            UserError: says what was found.
        """
        if self.is_free() or self.holds_evaluation():
            return
        found = "other files" if self.folder.is_dir() else "a file"
        raise UserError(
            f"--out {self.folder}: expected a new or empty folder, or that of an evaluation, found "
            f"{found}; give another path"
        )

    def remove(self) -> None:
        """Delete the evaluation; the folder too, unless something else is in it."""
        for path in (self.record, self.page, *self.folder.glob(f"{files.TEMP_PREFIX}*")):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()
