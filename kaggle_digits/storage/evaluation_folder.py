"""The folder of an evaluation: the only module that knows the names of its files."""

from __future__ import annotations

import re
from pathlib import Path

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
    def of_run(cls, run: Path, source: str | None) -> EvaluationFolder:
        """Return where an evaluation of a run goes by default.

        Args:
            run: the run's folder.
            source: the path or name of the evaluated data; None: its own rows, out of fold.
        """
        name = "out-of-fold" if source is None else Path(source).expanduser().resolve().name
        stem = re.sub(r"(\.(csv|gz|zip|npz|npy))+$", "", name)
        return cls(run / f"{PREFIX}{re.sub(r'[^A-Za-z0-9._-]+', '-', stem).strip('-') or 'data'}")
