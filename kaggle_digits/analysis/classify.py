"""A run and pictures of handwriting -> the digits in them and what the nets take them for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from kaggle_digits.data import picture_files
from kaggle_digits.data.photographs import FoundDigit, find_digits
from kaggle_digits.errors import UserError
from kaggle_digits.results.classification import Classification, ReadDigit, ReadPicture
from kaggle_digits.runs.run import Run

Pictures = str | Path | np.ndarray | Iterable[str | Path | np.ndarray]


def classify(
    run: Run,
    images: Pictures,
    on_progress: Callable[[int, str], None] = lambda done, name: None,
) -> Classification:
    """Read the digits in pictures.

    All pictures are prepared before a backend is imported, and the nets are read once for all.

    Args:
        run: a run with at least one finished fit.
        images: paths of pictures and of folders of them, or arrays: (h, w) uint8 in grey or
            (h, w, 3) RGB, dark on light or light on dark; or one of these.
        on_progress: is given the number of pictures that are prepared and the name of the next.

    Returns:
        What was read. A file that cannot be is named there, and the others are done.

    Raises:
        UserError: an array is no picture, a folder has none, or no fit of the run is finished.
    """
    found: list[tuple[str, tuple[int, int], list[FoundDigit]]] = []
    unreadable: dict[str, str] = {}
    for number, image in enumerate(_listed(images)):
        name = f"array {number + 1}" if isinstance(image, np.ndarray) else str(image)
        on_progress(number, name)
        if isinstance(image, np.ndarray):
            grey, size = picture_files.grey_of_array(image, name)
        else:
            try:
                grey, size = picture_files.read_grey(image)
            except UserError as error:
                unreadable[name] = str(error)
                continue
        found.append((name, size, find_digits(grey, size)))
    digits = [digit for _, _, inside in found for digit in inside]
    probabilities = iter(run.predict(np.stack([each.image for each in digits])) if digits else ())
    pictures = [
        ReadPicture(name, size, tuple(ReadDigit(each, next(probabilities)) for each in inside))
        for name, size, inside in found
    ]
    return Classification(str(run.folder), tuple(pictures), unreadable)


def _listed(images: Pictures) -> Sequence[Path | np.ndarray]:
    """List what was given, with the files of folders in their place."""
    given = [images] if isinstance(images, str | Path | np.ndarray) else images
    listed: list[Path | np.ndarray] = []
    for each in given:
        is_array = isinstance(each, np.ndarray)
        listed += [each] if is_array else picture_files.find_pictures([Path(each).expanduser()])
    return listed


def refusal(classification: Classification, given: int) -> UserError | None:
    """Return the one line that says which pictures could not be read; None: all could.

    Args:
        classification: what was read.
        given: pictures in all.
    """
    reasons = list(classification.unreadable.values())
    if len(reasons) < 2:
        return UserError(reasons[0]) if reasons else None
    return UserError(f"{len(reasons)} of {given} pictures could not be read: {' | '.join(reasons)}")
