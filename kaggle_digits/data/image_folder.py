"""Folders of image files to checked uint8 arrays: a folder for each digit, or unlabelled images.

One of the readers of `other_formats`. Images are taken as they are, 28x28 grey, white on black as
MNIST's: photographs are for `kaggle-digits classify`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kaggle_digits.data import packed
from kaggle_digits.errors import UserError

VERSION = 1  # part of every cache key: raise it when the same files give other arrays
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
DIGITS = tuple("0123456789")
LAYOUT = "a folder of images needs train/0 to train/9, and test/0 to test/9 or test/*.png"
# White on black, MNIST has a mean pixel of 33; the other way round, 222.
BRIGHTEST_MEAN = 160
FORM = "28x28 pixels in grey, white on black"


def parts(folder: Path) -> dict[str, Path]:
    """Return which folders hold "train" and "test"; {}: there are no folders of images.

    Labelled images at the top, without `train`, are "train"; unlabelled ones are "test".
    """
    found = {
        part: folder / part
        for part in ("train", "test")
        if (folder / part).is_dir() and _holds_images(folder / part)
    }
    if "train" not in found and _digit_folders(folder):
        found["train"] = folder
    return found or ({"test": folder} if _holds_images(folder) else {})


def fingerprint(folder: Path, part: str) -> str:
    """Return the BLAKE2b hex digest of all images with their names.

    Args:
        folder: see `parts`.
        part: "train", which must have labels, or "test".

    Raises:
        UserError: see `read`.
    """
    hasher = hashlib.blake2b()
    for path, _ in _files(folder, part):
        content = _content(path)
        name = path.relative_to(folder).as_posix()
        hasher.update(f"{name}\0{len(content)}\0".encode())
        hasher.update(content)
    return hasher.hexdigest()


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read and check all images, ordered by their folders and names.

    Args:
        folder: see `parts`.
        part: "train", which must have labels, or "test".

    Returns:
        (images, labels): (n, 28, 28) uint8 of 0..255, and (n,) uint8 of 0..9 or None.

    Raises:
        UserError: a file is not such an image; names it.
    """
    files = _files(folder, part)
    images = np.stack([_image(path) for path, _ in files])
    if images.mean() > BRIGHTEST_MEAN:
        raise UserError(
            f"{folder}: expected white digits on black as MNIST's, with a mean pixel of about 33 "
            f"of 255, found one of {images.mean():.0f}; invert the images"
        )
    labels = [label for _, label in files]
    return images, None if None in labels else np.array(labels, np.uint8)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _digit_folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir() and path.name in DIGITS]


def _holds_images(folder: Path) -> bool:
    if _digit_folders(folder):
        return True
    return any(path.suffix.lower() in SUFFIXES for path in _visible(folder))


def _files(folder: Path, part: str) -> list[tuple[Path, int | None]]:
    """List (image, its digit) in order; the digit is None where there are no labels."""
    folders = _digit_folders(folder)
    if not folders:
        if part == "train":
            raise UserError(
                f"{folder}: expected a folder for each digit, 0 to 9, found images without labels; "
                "sort them into such folders"
            )
        return [(path, None) for path in _images_in(folder)]
    others = [path for path in _visible(folder) if path not in folders]
    # The other part, where this one is at the top.
    stray = [path for path in others if path.name not in ("train", "test")]
    if stray:
        raise UserError(
            f"{stray[0]}: expected nothing but the folders 0 to 9 beside it, found this; move it "
            "away"
        )
    found = [(path, int(each.name)) for each in folders for path in _images_in(each)]
    if not found:
        raise UserError(f"{folder}: expected images in the folders 0 to 9, found none; add some")
    return found


def _images_in(folder: Path) -> Iterator[Path]:
    for path in _visible(folder):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            endings = ", ".join(SUFFIXES)
            raise UserError(f"{path}: expected an image ({endings}), found this; move it away")
        yield path


def _content(path: Path) -> bytes:
    with packed.opened(path) as file:
        return file.read()


def _image(path: Path) -> np.ndarray:
    """Read an image, (28, 28) uint8; one whose channels are all the same is grey too."""
    import cv2

    content = np.frombuffer(_content(path), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        raise UserError(f"{path}: expected an image of {FORM}, found no image; save it again")
    height, width = image.shape[:2]
    if (height, width) != (28, 28):
        raise _refused(path, f"{width}x{height}")
    if image.dtype != np.uint8:
        raise _refused(path, f"{8 * image.dtype.itemsize} bits a pixel")
    if image.ndim == 2:
        return image
    colours, alpha = image[:, :, :3], image[:, :, 3:]
    if (colours != colours[:, :, :1]).any():
        raise _refused(path, "colours")
    if (alpha != 255).any():
        raise _refused(path, "transparency")
    return np.ascontiguousarray(image[:, :, 0])


def _refused(path: Path, found: str) -> UserError:
    return UserError(
        f"{path}: expected an image of {FORM}, found {found}; convert it, or give photographs to "
        "kaggle-digits classify"
    )
