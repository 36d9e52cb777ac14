"""Labelled digits in other formats than Kaggle's CSV: which one is at a place, and its reader.

`sources` asks it for what it does not know itself; `digits` gets checked arrays from it as from
`digits_csv`. Nothing of it is the competition's data, so none of it is for upload.
"""

from pathlib import Path
from types import ModuleType
from typing import Literal

from kaggle_digits.data import image_folder, numpy_file

Format = Literal["numpy", "mnist", "images"]

MNIST_NOT_FOR_UPLOAD = "trained on MNIST, whose images are the competition's"
NOT_FOR_UPLOAD = {
    "mnist": MNIST_NOT_FOR_UPLOAD,
    "numpy": "trained on a NumPy file, not on the competition's train.csv",
    "images": "trained on image files, not on the competition's train.csv",
}
# What a source of both parts looks like.
LAYOUTS = {
    "mnist": numpy_file.LAYOUT,
    "numpy": numpy_file.LAYOUT,
    "images": image_folder.LAYOUT,
}
# Each has VERSION, `fingerprint(path, part)` and `read(path, part)`.
_READERS: dict[Format, ModuleType] = {
    "mnist": numpy_file,
    "numpy": numpy_file,
    "images": image_folder,
}


def find(location: Path) -> tuple[Format, Path | None, Path | None] | None:
    """Return the format at a place, and where "train" and "test" are; None: there is no such.

    Raises:
        UserError: it looks like one of the formats, but cannot be read.
    """
    if location.is_file() and location.suffix in numpy_file.SUFFIXES:
        parts = numpy_file.parts(location)
        train, test = (location if part in parts else None for part in ("train", "test"))
        return "numpy", train, test
    if location.is_dir() and (folders := image_folder.parts(location)):
        return "images", folders.get("train"), folders.get("test")
    return None


def reader(format: Format) -> ModuleType:
    """Return the module that reads a format.

    It has `fingerprint(path, part)`, hex digits that change with the content, and
    `read(path, part)`, which returns images (n, 28, 28) uint8 and labels (n,) uint8 or None; both
    raise UserError. `VERSION` changes when the same content gives other arrays.
    """
    return _READERS[format]
