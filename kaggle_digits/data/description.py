"""Checked train and test -> what people want to know of them before they train.

`describe` is a function of `digits.Digits`; `report.data_tables` shows what it returns.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kaggle_digits.data.competition import CONTENT
from kaggle_digits.data.digits import Digits
from kaggle_digits.storage import files


@dataclass(frozen=True)
class FileDescription:
    """What is in train.csv or in test.csv.

    Attributes:
        name: "train.csv" or "test.csv"; of other formats "train" or "test".
        rows: how many there are.
        blake2b: hex digest of the unpacked bytes, as `b2sum` prints it.
        is_competitions: whether labels and pixels are the competition's own, row for row. The bytes
            may differ, in line ends for example.
        class_counts: rows of each class, 0 to 9; None where there is no label column.
        mean_pixel: 0..255.
        zero_fraction: of all pixels, 0..1.
        blank_rows: rows without any pixel above 0.
        duplicate_rows: rows whose pixels are those of an earlier row.
        contradicting_rows: rows whose pixels are also there with another label.
    """

    name: str
    rows: int
    blake2b: str
    is_competitions: bool
    class_counts: tuple[int, ...] | None
    mean_pixel: float
    zero_fraction: float
    blank_rows: int
    duplicate_rows: int
    contradicting_rows: int


@dataclass(frozen=True)
class Description:
    """What is in both files.

    Attributes:
        source: where the files come from, for people.
        demo: whether this is the demo data.
        train: of train.csv.
        test: of test.csv.
        leaked_rows: rows of test.csv whose pixels are also in train.csv.
        not_for_upload: why a submission of it must not be uploaded, see `digits.Digits`.
    """

    source: str
    demo: bool
    train: FileDescription
    test: FileDescription
    leaked_rows: int
    not_for_upload: str | None = None


def describe(digits: Digits) -> Description:
    """Describe train and test.

    Args:
        digits: the data; a test.csv with labels is never the competition's.

    Returns:
        Counts and figures of each file, and of what the two have in common.
    """
    return Description(
        source=digits.source,
        demo=digits.demo,
        not_for_upload=digits.not_for_upload,
        train=_describe_file("train", digits.train_images, digits.train_labels, digits.hashes),
        test=_describe_file("test", digits.test_images, digits.test_labels, digits.hashes),
        leaked_rows=digits.leaked_rows,
    )


def _describe_file(
    part: str, images: np.ndarray, labels: np.ndarray | None, hashes: dict[str, str]
) -> FileDescription:
    arrays = [images] if labels is None else [images, labels]
    labels_of = defaultdict(list)  # an image's bytes -> the labels of its rows
    # Rows without labels contradict nobody.
    labels_of_rows = [None] * len(images) if labels is None else labels.tolist()
    for image, label in zip(images, labels_of_rows, strict=True):
        labels_of[image.tobytes()].append(label)
    name = part if part in hashes else f"{part}.csv"
    return FileDescription(
        name=name,
        rows=len(images),
        blake2b=hashes[name],
        is_competitions=files.digest(*arrays) == CONTENT[f"{part}.csv"],
        class_counts=None if labels is None else tuple(np.bincount(labels, minlength=10).tolist()),
        mean_pixel=float(images.mean()),
        zero_fraction=float((images == 0).mean()),
        blank_rows=int((~images.any(axis=(1, 2))).sum()),
        duplicate_rows=len(images) - len(labels_of),
        contradicting_rows=sum(len(each) for each in labels_of.values() if len(set(each)) > 1),
    )
