"""The data set of a run or a search: train and test as checked arrays, and what is known of them.

Comes after `digits_csv`, which parses one file; the arrays go on to the folds, the augmentation
bank and the fits.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.data import digits_csv, leak_check, sources
from kaggle_digits.data.competition import DATA_PAGE, TEST_ROWS, TRAIN_ROWS
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.files import Arrays

DEMO_WARNING = (
    "DEMO DATA: the competition's files were not found, so this run uses scikit-learn's small "
    "digits. Its submission is NOT for upload. Get the real files with kaggle-digits data fetch, "
    f"or by hand from {DATA_PAGE} into the folder data."
)

CLASSES = 10
CachedArrays = Callable[[str, Callable[[], Arrays]], Arrays]


@dataclass(frozen=True, eq=False)
class Digits:
    """Train and test, checked.

    Attributes:
        train_images: (n, 28, 28) uint8, 0..255, 0 is the background.
        train_labels: (n,) uint8, 0..9.
        test_images: (m, 28, 28) uint8, 0..255.
        test_labels: (m,) uint8, 0..9, or None where test.csv has no label column.
        hashes: BLAKE2b hex digest of each file's unpacked bytes, by "train.csv" and "test.csv".
        source: where the files come from, for people.
        demo: whether this is the demo data, which is not for upload.
        leaked_rows: test rows whose 784 pixels are also in train, see `leak_check`.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray | None
    hashes: dict[str, str]
    source: str
    demo: bool
    leaked_rows: int

    @property
    def unusual_sizes(self) -> list[str]:
        """One clause for each file that has other than the competition's number of rows."""
        return [
            f"{name} has {len(images):,} rows, the competition's has {expected:,}"
            for name, images, expected in (
                ("train.csv", self.train_images, TRAIN_ROWS),
                ("test.csv", self.test_images, TEST_ROWS),
            )
            if len(images) != expected
        ]

    @property
    def warning(self) -> str | None:
        """What people should know of the data: it is the demo data, or has other rows."""
        if self.demo:
            return DEMO_WARNING
        if not self.unusual_sizes:
            return None
        upload = "" if self.has_upload_size else "; the submission is not fit for upload"
        return f"WARNING: {self.source}: {'; '.join(self.unusual_sizes)}{upload}"

    @property
    def has_upload_size(self) -> bool:
        """Whether a submission has as many rows as Kaggle expects; train may have any number."""
        return len(self.test_images) == TEST_ROWS


def load_digits(
    path: str | Path | None,
    folds: Folds,
    cache: Cache,
    say: Callable[[str], None],
    setting: str = "--data",
) -> Digits:
    """Find and load the data that a command works on.

    Args:
        path: a folder or a zip; None to search, see `sources.find_source`.
        folds: how the rows are to be split, which needs enough of them.
        cache: where parsed arrays are stored.
        say: called with one line before the files are read, which can take seconds.
        setting: the option that gives `path`, see `sources.find_source`.

    Returns:
        The data.

    Raises:
        UserError: the files are not found, fail a check, or have too few rows of a class.
    """
    source = sources.find_source(path, setting=setting)
    cache.clear_temporary_files()
    say(f"reading {source.description}")
    digits = read_digits(source, cache.arrays)
    check_class_counts(digits.train_labels, folds, digits.source)
    return digits


def read_digits(source: sources.Source, cached: CachedArrays | None = None) -> Digits:
    """Read, check and assemble train and test.

    Args:
        source: where the files come from, see `sources.find_source`.
        cached: called as `cached(key, make)` once for each file; returns the arrays stored under
            `key`, or those of `make()` after storing them. The key changes with the parser and
            with the file's content. Without it, every call parses.

    Returns:
        The checked arrays and what is known about them.

    Raises:
        UserError: a file cannot be read or fails a check; names file, row and column.
    """
    train, test = (_load_part(source, part, cached) for part in sources.PARTS)
    digests = {"train.csv": train["digest"], "test.csv": test["digest"]}
    return Digits(
        train_images=train["images"],
        train_labels=train["labels"],
        test_images=test["images"],
        test_labels=test.get("labels"),
        hashes={name: digest.tobytes().hex() for name, digest in digests.items()},
        source=source.description,
        demo=source.demo,
        leaked_rows=leak_check.count_leaked_rows(train["images"], test["images"]),
    )


def read_test_images(path: str | Path) -> np.ndarray:
    """Read rows to predict, however many, from a file like test.csv.

    Args:
        path: see `sources.find_test`.

    Returns:
        (m, 28, 28) uint8, 0..255.

    Raises:
        UserError: the file cannot be read or fails a check; names file, row and column.
    """
    return _load_part(sources.find_test(path), "test", cached=None)["images"]


def check_class_counts(labels: np.ndarray, folds: Folds, source: str) -> None:
    """Refuse data with too few rows for its split: of a class, or in all.

    Args:
        labels: (n,) integers 0..9.
        folds: how the rows are to be split.
        source: where the labels come from, for the error message.

    Raises:
        UserError: names the smallest class, its rows, and what to set.
    """
    where, rows = f"{source}: train.csv, column label: expected at least", len(labels)
    counts = np.bincount(labels, minlength=CLASSES)
    smallest, needed = counts.argmin(), folds.rows_per_class
    if counts[smallest] < needed:
        is_of_folds = folds.kind == "stratified"
        each, lower = (", one for each fold", "lower folds.count or ") if is_of_folds else ("", "")
        raise UserError(
            f"{where} {needed} rows of each class{each}, found {counts[smallest]} of class "
            f"{smallest}; {lower}give more rows"
        )
    if folds.kind == "kfold" and rows < folds.count:
        raise UserError(
            f"{where} {folds.count} rows, one for each fold, found {rows}; lower folds.count or "
            "give more rows"
        )
    heldout = math.ceil(rows * folds.holdout)
    if folds.kind == "holdout" and min(heldout, rows - heldout) < CLASSES:
        raise UserError(
            f"{where} {CLASSES} rows to hold out and {CLASSES} to train on, found {heldout} and "
            f"{rows - heldout}; change folds.holdout or give more rows"
        )


def _load_part(source: sources.Source, part: str, cached: CachedArrays | None) -> Arrays:
    def make() -> Arrays:
        where, content = sources.read(source, part)
        images, labels = digits_csv.parse_csv(content, where, label_required=part == "train")
        arrays = {
            "images": images,
            "digest": np.frombuffer(hashlib.blake2b(content).digest(), np.uint8),
        }
        return arrays if labels is None else arrays | {"labels": labels}

    if cached is None:
        return make()
    return cached(f"csv{digits_csv.PARSER_VERSION}-{sources.fingerprint(source, part)}", make)
