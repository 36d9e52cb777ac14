"""Runs beside each other: what they are called, and whether they are of the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kaggle_digits.data.sources import PARTS
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

TRAINING = ("train",)


def check_different(command: str, folders: Sequence[Path]) -> None:
    """Refuse fewer than two runs, or one that is named twice.

    Args:
        command: that is given the folders.
        folders: of the runs.

    Raises:
        UserError: says which.
    """
    if len(folders) < 2:
        raise UserError(f"{command}: expected at least two runs, found one; name another one too")
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]}: named twice; name each run once")


def check_same_data(folders: Sequence[RunFolder], parts: Sequence[str] = PARTS) -> None:
    """Refuse runs of different data.

    Args:
        folders: of the runs.
        parts: of the data that must be the same, of "train" and "test".

    Raises:
        UserError: a part of one run's data is not that of the first's, or not known; names it.
    """
    first, *others = (hashes_of(folder) for folder in folders)
    for folder, other in zip(folders[1:], others, strict=True):
        if name := another_part(first, other, parts):
            raise UserError(
                f"{folder.folder} and {folders[0].folder}: expected runs on the same data, "
                f"found another {name}; give runs of the same files"
            )


def hashes_of(folder: RunFolder) -> Mapping[str, str]:
    """Return the hashes of a run's data that its manifest has noted, see `digits.Digits`."""
    return files.read_json(folder.manifest).get("data") or {}


def another_part(
    one: Mapping[str, str], other: Mapping[str, str], parts: Sequence[str]
) -> str | None:
    """Return what the first part that differs is called; None where all are known and the same.

    Args:
        one: hashes, by "train.csv" and "test.csv" or, of other formats, by "train" and "test".
        other: the same.
        parts: of "train" and "test".
    """
    for part in parts:
        names = (f"{part}.csv", part)
        own, others = ({n: each[n] for n in names if each.get(n)} for each in (one, other))
        if not own or own != others:
            return next(iter(own | others), names[0])
    return None


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return what runs are called: by their folders' names, unless two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))
