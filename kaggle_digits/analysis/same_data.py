"""Runs beside each other: what they are called, and whether they are of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

TRAINING = ("train.csv",)


def check_same_data(folders: Sequence[RunFolder], names: Sequence[str] | None = None) -> None:
    """Refuse runs of different data.

    Args:
        folders: of the runs.
        names: of the files that must be the same; None: all.

    Raises:
        UserError: a file of one run is not that of the first; names it.
    """
    first, *others = (files.read_json(folder.manifest).get("data") or {} for folder in folders)
    for folder, other in zip(folders[1:], others, strict=True):
        for name in names or sorted(first | other):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"{folder.folder} and {folders[0].folder}: expected runs on the same data, "
                    f"found another {name}; give runs of the same files"
                )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return what runs are called: by their folders' names, unless two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))
