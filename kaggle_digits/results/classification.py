"""Typed records of what a run's nets read in pictures, for tables, pictures and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.data.photographs import FoundDigit

if TYPE_CHECKING:
    import pandas as pd

TOP = 3  # classes that are shown of each digit
UNSURE = 0.8  # a digit whose class is less probable is marked


@dataclass(frozen=True)
class ReadDigit:
    """A digit in a picture, and what the nets take it for.

    Attributes:
        found: where it is, and the image that the nets saw.
        probabilities: (10,) float32, of the classes 0 to 9.
    """

    found: FoundDigit
    probabilities: np.ndarray

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def is_unsure(self) -> bool:
        """Whether the nets waver between classes."""
        return self.top[0][1] < UNSURE

    @cached_property
    def top(self) -> list[tuple[int, float]]:
        """The `TOP` most probable classes, each with its probability, the first one first."""
        order = np.argsort(-self.probabilities, kind="stable")[:TOP]
        return [(int(digit), float(self.probabilities[digit])) for digit in order]


@dataclass(frozen=True)
class ReadPicture:
    """A picture and the digits in it.

    Attributes:
        name: its path as it was given, or for an array its number.
        size: (width, height) in pixels, upright.
        digits: in reading order; none on an empty page.
    """

    name: str
    size: tuple[int, int]
    digits: tuple[ReadDigit, ...]

    @property
    def text(self) -> str:
        """What it reads: the digits, with a space between two lines of writing."""
        lines: dict[int, str] = {}
        for digit in self.digits:
            line = digit.found.line
            lines[line] = f"{lines.get(line, '')}{digit.predicted}"
        return " ".join(lines.values())


@dataclass(frozen=True)
class Classification:
    """What a run's nets read in pictures.

    Attributes:
        run: the run's folder.
        pictures: those that could be read, in the order given.
        unreadable: of each other file the line that says why, by its name.
    """

    run: str
    pictures: tuple[ReadPicture, ...]
    unreadable: dict[str, str]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each digit, in reading order.

        `picture`, `line` and `number` (from 1; the number counts a picture's digits), the box in
        pixels (`left`, `top`, `width`, `height`), `predicted`, and a probability per class.
        """
        import pandas as pd

        places = ("left", "top", "width", "height")
        classes = [str(digit) for digit in range(10)]
        rows = [
            (
                *(picture.name, digit.found.line + 1, number),
                *(getattr(digit.found.box, place) for place in places),
                *(digit.predicted, *digit.probabilities.tolist()),
            )
            for picture in self.pictures
            for number, digit in enumerate(picture.digits, 1)
        ]
        columns = ["picture", "line", "number", *places, "predicted", *classes]
        return pd.DataFrame(rows, columns=columns)

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready; the 28x28 images are left out."""
        pictures = [
            {
                "picture": picture.name,
                "width": picture.size[0],
                "height": picture.size[1],
                "text": picture.text,
                "digits": [_digit_json(digit) for digit in picture.digits],
            }
            for picture in self.pictures
        ]
        return {"run": self.run, "pictures": pictures, "unreadable": self.unreadable}


def _digit_json(digit: ReadDigit) -> dict[str, Any]:
    return {
        "line": digit.found.line + 1,
        "box": vars(digit.found.box),
        "predicted": digit.predicted,
        "top": [{"digit": each, "probability": round(sure, 6)} for each, sure in digit.top],
    }
