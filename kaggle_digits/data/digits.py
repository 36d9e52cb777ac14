"""The data set of a run or a search: train and test as checked arrays, and what is known of them.

Comes after `digits_csv`, which parses one file; the arrays go on to the folds, the augmentation
bank and the fits.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.data import digits_csv, leak_check, other_formats, sources
from kaggle_digits.data.competition import DATA_PAGE, TEST_ROWS, TRAIN_ROWS
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.files import Arrays
from kaggle_digits.system.console import count_of

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
        hashes: BLAKE2b hex digest of each file's unpacked bytes, by "train.csv" and "test.csv"; of
            other formats that of the files, by "train" and "test".
        source: where the files come from, for people.
        demo: whether this is the demo data, which is not for upload.
        leaked_rows: test rows whose 784 pixels are also in train, see `leak_check`.
        not_for_upload: why a submission of it must not be uploaded, whatever it looks like; None:
            it is taken for the competition's.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray | None
    hashes: dict[str, str]
    source: str
    demo: bool
    leaked_rows: int
    not_for_upload: str | None = None

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
        """What people should know of the data: it is not the competition's, or has other rows."""
        if self.demo:
            return DEMO_WARNING
        if self.not_for_upload:
            return f"WARNING: {self.source}: not for upload: {self.not_for_upload}"
        if not self.unusual_sizes:
            return None
        upload = "" if self.has_upload_size else "; the submission is not fit for upload"
        return f"WARNING: {self.source}: {'; '.join(self.unusual_sizes)}{upload}"

    def refuse_leak(self, *, allowed: bool) -> None:
        """Refuse test rows that are also in train, see `leak_check.refuse_leak`.

        Raises:
            UserError: there are more than a handful, and that is not allowed.
        """
        rows = len(self.train_images)
        leak_check.refuse_leak(self.leaked_rows, self.source, train_rows=rows, allowed=allowed)

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
    check_enough_rows(digits.train_labels, folds, source.labels_place)
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
    digests = {source.name("train"): train["digest"], source.name("test"): test["digest"]}
    not_for_upload = source.not_for_upload
    if "mnist_layout" in train:
        not_for_upload = other_formats.MNIST_NOT_FOR_UPLOAD
    leaked_rows = leak_check.count_leaked_rows(train["images"], test["images"])
    if leaked_rows > leak_check.MOST_LEAKED_ROWS and not_for_upload is None:
        not_for_upload = f"trained on {leaked_rows:,} of the test rows"
    return Digits(
        train_images=train["images"],
        train_labels=train["labels"],
        test_images=test["images"],
        test_labels=test.get("labels"),
        hashes={name: digest.tobytes().hex() for name, digest in digests.items()},
        source=source.description,
        demo=source.demo,
        leaked_rows=leaked_rows,
        not_for_upload=not_for_upload,
    )


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows to evaluate nets on.

    Attributes:
        images: (n, 28, 28) uint8, 0..255.
        labels: (n,) uint8, 0..9.
        source: where they come from, for people.
        part: which part of the source they are, for people: the file's name of a CSV.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str
    part: str


def read_labelled_rows(path: str | Path, cached: CachedArrays | None = None) -> LabelledRows:
    """Read the labelled rows at a path: the test part where it has labels, else the other one.

    Args:
        path: see `sources.find_rows`.
        cached: see `read_digits`.

    Returns:
        The rows.

    Raises:
        UserError: there are none with labels, or a file fails a check.
    """
    source = sources.find_rows(path)
    for part in reversed(sources.PARTS):
        if source.demo or source.path(part) is not None:
            found = _load_part(source, part, cached)
            if "labels" in found:
                name = source.name(part)
                if source.format is None and not source.demo:
                    name = source.path(part).name
                return LabelledRows(found["images"], found["labels"], source.description, name)
    raise UserError(
        f"{path}: expected rows with labels, found only images; give a file or folder with labels"
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


def check_enough_rows(labels: np.ndarray, folds: Folds, where: str) -> None:
    """Refuse data with too few rows for its split: of a class, or in all.

    Args:
        labels: (n,) integers 0..9.
        folds: how the rows are to be split.
        where: the labels are, for the error message, see `sources.Source.labels_place`.

    Raises:
        UserError: names the smallest class, its rows, and what to set.
    """
    where, rows = f"{where}: expected at least", len(labels)
    counts = np.bincount(labels, minlength=CLASSES)
    smallest, needed = counts.argmin(), folds.rows_per_class
    if counts[smallest] < needed:
        is_of_folds = folds.kind == "stratified"
        each, lower = (", one for each fold", "lower folds.count or ") if is_of_folds else ("", "")
        raise UserError(
            f"{where} {count_of(needed, 'row')} of each class{each}, found {counts[smallest]} of "
            f"class {smallest}; {lower}give more rows"
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
    if source.format is None:
        version = f"csv{digits_csv.PARSER_VERSION}"
        fingerprint = sources.fingerprint(source, part) if cached else ""
        make = partial(_parse_csv, source, part)
    else:
        reader, path = other_formats.reader(source.format), source.path(part)
        version = f"{source.format}{reader.VERSION}"
        digest = reader.fingerprint(path, part)
        fingerprint = f"{part}-{digest}"
        make = partial(_read_other, reader, path, part, digest)
    return cached(f"{version}-{fingerprint}", make) if cached else make()


def _parse_csv(source: sources.Source, part: str) -> Arrays:
    where, content = sources.read(source, part)
    images, labels = digits_csv.parse_csv(content, where, label_required=part == "train")
    arrays = {
        "images": images,
        "digest": np.frombuffer(hashlib.blake2b(content).digest(), np.uint8),
    }
    if labels is not None:
        arrays["labels"] = labels
    if digits_csv.has_mnist_layout(content):
        arrays["mnist_layout"] = np.array(True)
    return arrays


def _read_other(reader: ModuleType, path: Path, part: str, digest: str) -> Arrays:
    images, labels = reader.read(path, part)
    arrays = {"images": images, "digest": np.frombuffer(bytes.fromhex(digest), np.uint8)}
    return arrays if labels is None else arrays | {"labels": labels}
