"""NumPy files to checked uint8 arrays: `.npz` with Keras' names, or images and labels; `.npy`.

One of the readers of `other_formats`; nothing in a file is ever unpickled.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kaggle_digits.data import packed
from kaggle_digits.errors import UserError

VERSION = 1  # part of every cache key: raise it when the same file gives other arrays
SUFFIXES = (".npz", ".npy")
LAYOUT = "a NumPy file needs x_train, y_train and x_test, and may have y_test"
# Keys of images and labels, in order of preference. Any rows may be predicted.
KERAS_TRAIN, KERAS_TEST, ALONE = ("x_train", "y_train"), ("x_test", "y_test"), ("images", "labels")
KEYS = {"train": (KERAS_TRAIN, ALONE), "test": (KERAS_TEST, ALONE, KERAS_TRAIN)}
SHAPES = "(n, 28, 28), (n, 28, 28, 1) or (n, 784)"


def parts(path: Path) -> tuple[str, ...]:
    """Return which of "train" and "test" a file holds; labelled images alone are "train".

    Raises:
        UserError: the file cannot be read, or has none of the arrays.
    """
    with _arrays(path) as arrays:
        names = set(arrays)
    if "x_train" in names:
        return ("train", "test") if "x_test" in names else ("train",)
    if "images" in names:
        return ("train",) if "labels" in names else ("test",)
    if "x_test" in names:
        return ("test",)
    found = ", ".join(sorted(names)) or "nothing"
    raise UserError(
        f"{path}: expected the arrays x_train, y_train, x_test and y_test, or images and labels, "
        f"found {found}; save it with numpy.savez(path, images=..., labels=...)"
    )


def fingerprint(path: Path, part: str) -> str:
    """Return the BLAKE2b hex digest of a file.

    Args:
        path: the file.
        part: has no part in it; the same file holds both.

    Raises:
        UserError: the file cannot be read, or is over 2 GiB.
    """
    with packed.opened(path) as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


def read(path: Path, part: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read and check a part of a file.

    Args:
        path: the file.
        part: "train", which must have labels, or "test".

    Returns:
        (images, labels): (n, 28, 28) uint8 of 0..255, and (n,) uint8 of 0..9 or None.

    Raises:
        UserError: an array is missing or is not as it must be; names its key.
    """
    with _arrays(path) as arrays:
        image_key, label_key = next(keys for keys in KEYS[part] if keys[0] in arrays)
        images = _checked_images(arrays[image_key], f"{path}: {image_key}")
        if label_key not in arrays:
            if part == "train":
                raise UserError(
                    f"{path}: expected the labels of {image_key} as {label_key}, found none; add "
                    "them"
                )
            return images, None
        return images, _checked_labels(arrays[label_key], f"{path}: {label_key}", len(images))


@contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Open a file; arrays are read when they are asked for. Of a `.npy` it is `images`."""
    try:
        with packed.opened(path) as file:
            if path.suffix == ".npy":
                yield {"images": np.load(file, allow_pickle=False)}
                return
            with zipfile.ZipFile(file) as archive:
                if sum(member.file_size for member in archive.infolist()) > packed.UNPACKED_LIMIT:
                    raise ValueError(f"more than {packed.UNPACKED_LIMIT} bytes unpacked")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays
    except UserError:
        raise
    # Damaged bytes make zipfile and numpy raise almost anything.
    except Exception as error:
        reason = str(error)[: packed.SHOWN_CHARACTERS] or type(error).__name__
        raise UserError(
            f"{path}: expected a NumPy file of plain arrays, found none ({reason}); save it with "
            "numpy.savez"
        ) from error


def _checked_images(array: np.ndarray, where: str) -> np.ndarray:
    shape = array.shape
    if len(shape) < 2 or shape[1:] not in ((28, 28), (28, 28, 1), (784,)) or not len(array):
        raise UserError(f"{where}: expected the shape {SHAPES}, found {shape}; reshape it")
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{where}: expected integers from 0 to 255, found {array.dtype}; store "
            "numpy.rint(images * 255).astype(numpy.uint8) of images from 0 to 1"
        )
    if array.min() < 0 or array.max() > 255:
        raise UserError(
            f"{where}: expected integers from 0 to 255, found {array.min()} to {array.max()}; "
            "scale them"
        )
    return np.ascontiguousarray(array.reshape(-1, 28, 28), np.uint8)


def _checked_labels(array: np.ndarray, where: str, rows: int) -> np.ndarray:
    if array.shape not in ((rows,), (rows, 1)):
        raise UserError(
            f"{where}: expected the shape ({rows},), a label for each image, found {array.shape}; "
            "give the digits themselves"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{where}: expected integers from 0 to 9, found {array.dtype}; store them as "
            "numpy.uint8"
        )
    if array.min() < 0 or array.max() > 9:
        bad = int(np.flatnonzero((array < 0) | (array > 9))[0])
        raise UserError(
            f"{where}: expected integers from 0 to 9, found {array.ravel()[bad]} in row {bad} "
            "(counted from 0); correct it"
        )
    return array.reshape(-1).astype(np.uint8)
