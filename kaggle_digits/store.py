"""Artefacts on disk: the cache, the run folder, and how a file appears whole or not at all.

The only owner of paths. What other modules compute comes here as bytes or arrays.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kaggle_digits.errors import UserError

Arrays = dict[str, np.ndarray]


def digest(*parts: bytes | np.ndarray | str) -> str:
    """Hash parts in order with BLAKE2b to 32 hex digits; each part's length counts too."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else memoryview(part).cast("B")
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
    return hasher.hexdigest()


def digest_json(values: object) -> str:
    """Hash a JSON-ready value; the order of keys does not count."""
    return digest(json.dumps(values, sort_keys=True, separators=(",", ":")))


def checksum(path: Path) -> str:
    """Hash a file's content with BLAKE2b to 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place, then flush it and move it there.

    Args:
        path: where the file shall appear; its folder is made.

    Yields:
        The path to write to. If the block fails, nothing is left behind.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    # The ending stays last: Keras chooses a file's format by it.
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: cannot be written ({error.strerror}); make space or choose "
            "another folder (--out, --cache), then repeat the command"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as beside:
        beside.write_bytes(content)


def write_json(path: Path, values: Mapping) -> None:
    """Write a JSON file whole or not at all, for people to read."""
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write an uncompressed `.npz` whole or not at all; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> Arrays:
    """Read all arrays of an `.npz`."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def default_cache() -> Path:
    """Return the platform's user cache folder for this program."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("kaggle-digits", appauthor=False))


class Cache:
    """Results that any run may use again: parsed arrays and the augmentation bank.

    Everything in it is named by a key of what it was made from, and may be deleted at any time.

    Args:
        folder: made when the first entry is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified: set[Path] = set()

    def arrays(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays stored under a key, or make and store them.

        Args:
            key: names the content.
            make: returns the arrays.

        Returns:
            The arrays by name.
        """
        path = self.arrays_path(key)
        if path.is_file() and self._is_sound(path):
            return read_arrays(path)
        arrays = make()
        write_arrays(path, arrays)
        self._write_sum(path)
        return arrays

    def arrays_path(self, key: str) -> Path:
        """Say where the arrays of a key lie."""
        return self.folder / "arrays" / f"{key}.npz"

    def has_variant(self, bank: str, variant: int) -> bool:
        """Tell whether a variant of a bank is there and undamaged."""
        path = self._variant_path(bank, variant)
        return path.is_file() and self._is_sound(path)

    def write_variant(self, bank: str, variant: int, images: np.ndarray) -> None:
        """Store a variant, (n, 28, 28) uint8, of a bank."""
        path = self._variant_path(bank, variant)
        buffer = io.BytesIO()
        np.save(buffer, images)
        write_bytes(path, buffer.getvalue())
        self._write_sum(path)

    def read_variant(self, bank: str, variant: int) -> np.ndarray:
        """Open a variant as a read-only (n, 28, 28) uint8 map of its file."""
        return np.load(self._variant_path(bank, variant), mmap_mode="r")

    def _variant_path(self, bank: str, variant: int) -> Path:
        return self.folder / "bank" / bank / f"variant-{variant:03d}.npy"

    def _is_sound(self, path: Path) -> bool:
        """Compare with the checksum beside the file, once a process."""
        if path not in self._verified:
            try:
                if self._sum_path(path).read_text().strip() != checksum(path):
                    return False
            except OSError:
                return False
            self._verified.add(path)
        return True

    def _write_sum(self, path: Path) -> None:
        write_bytes(self._sum_path(path), f"{checksum(path)}\n".encode())
        self._verified.add(path)

    def _sum_path(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.blake2b")


class RunFolder:
    """Everything that a run leaves behind.

    Args:
        folder: made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.submission = folder / "submission.csv"
        self.metrics = folder / "metrics.json"
        self.config = folder / "config.yaml"
        self.manifest = folder / "manifest.json"
        self.predictions = folder / "predictions.npz"
        self.folds = folder / "folds.npz"
        self.augmentation = folder / "augmentation.png"
        self.log = folder / "run.log"
        self.fits = folder / "fits"

    def fit_folder(self, member: str, fold: int) -> Path:
        """Say where a fit lies; folds are counted from 1 in names that people see."""
        return self.fits / f"{member}-fold{fold + 1}"

    def read_fit(self, member: str, fold: int) -> dict | None:
        """Read a fit's `fit.json`, or None if the fit is not there."""
        path = self.fit_folder(member, fold) / "fit.json"
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); delete the folder {path.parent} and repeat the "
                "command to train this fit again"
            ) from None

    def read_fit_arrays(self, member: str, fold: int) -> Arrays:
        """Read a fit's `predictions.npz` after comparing all its files with their checksums."""
        folder = self.fit_folder(member, fold)
        for name, expected in (self.read_fit(member, fold) or {}).get("checksums", {}).items():
            path = folder / name
            if not path.is_file() or checksum(path) != expected:
                raise UserError(
                    f"{path}: differs from its checksum in fit.json; delete the folder {folder} "
                    "and repeat the command to train this fit again"
                )
        return read_arrays(folder / "predictions.npz")

    def write_fit(
        self, member: str, fold: int, files: Mapping[str, Callable[[Path], None]], facts: dict
    ) -> None:
        """Write a fit's folder whole or not at all.

        Args:
            member: the member's name.
            fold: from 0.
            files: name -> function that writes the file to the path it is given.
            facts: for `fit.json`, which also gets every file's checksum.
        """
        place = self.fit_folder(member, fold)
        beside = place.with_name(f".{os.getpid()}-{place.name}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, write in files.items():
                with whole_file(beside / name) as path:
                    write(path)
            checksums = {name: checksum(beside / name) for name in files}
            write_json(beside / "fit.json", facts | {"checksums": checksums})
            beside.replace(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def checksums(self) -> dict[str, str]:
        """Hash every artefact but the manifest and the log, by its path within the folder."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path: path.relative_to(self.folder).as_posix() for path in files}
        return {
            name: checksum(path)
            for path, name in names.items()
            if path not in (self.manifest, self.log) and not path.name.startswith(".")
        }


def next_run_folder(root: Path, name: str, goes_on: Callable[[RunFolder], bool]) -> RunFolder:
    """Choose a folder for a run that was given none.

    Args:
        root: the folder of all runs.
        name: the config's name; folders are called `<name>-<number>`.
        goes_on: tells whether a folder is an unfinished run of the same config and data.

    Returns:
        The newest folder that goes on, else the one with the next free number.
    """
    numbers = []
    for path in root.glob(f"{name}-*"):
        if match := re.fullmatch(re.escape(name) + r"-(\d+)", path.name):
            numbers.append(int(match[1]))
    for number in sorted(numbers, reverse=True):
        if goes_on(RunFolder(root / f"{name}-{number}")):
            return RunFolder(root / f"{name}-{number}")
    return RunFolder(root / f"{name}-{max(numbers, default=0) + 1}")


def expected_rows(submission: Path) -> int:
    """Say how many rows a submission must have: as its run's manifest, else Kaggle's 28,000."""
    try:
        return int(json.loads(RunFolder(submission.parent).manifest.read_text())["test_rows"])
    except (OSError, ValueError, KeyError):
        return 28_000
