"""A photograph and what was found in it -> a picture of what the nets saw and read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.results.classification import ReadDigit, ReadPicture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, PHOTO_HEIGHT, CELL_HEIGHT = 9.0, 6.5, 0.62  # inches
COLUMNS = 5  # digits beside each other below the photograph
CELL_WIDTH, CELL_LINES = 80, 34  # pixels: the digit's 28x28, and its classes beside it
FRAME, UNSURE_FRAME = "#2563eb", "#d1440c"


def seen_picture(photo: np.ndarray, read: ReadPicture) -> bytes:
    """Draw the photograph with boxes in reading order, and below it what the nets saw.

    Args:
        photo: (h, w, 3) uint8 RGB, `read`'s picture in any size.
        read: its digits.

    Returns:
        A PNG file: each digit's number and class at its box; then the 28x28 images in the same
        order, each beside its most probable classes.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    lines = max(1, -(-len(read.digits) // COLUMNS))
    height = min(PHOTO_HEIGHT, WIDTH * photo.shape[0] / photo.shape[1])
    ratios = [height, CELL_HEIGHT * lines]
    with style.context("default"):  # not a user's own
        figure = Figure(figsize=(WIDTH, sum(ratios) + 0.4), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=ratios)
        _draw_photo(above, photo, read)
        _draw_digits(below, read.digits, lines)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _draw_photo(axes: Axes, photo: np.ndarray, read: ReadPicture) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(photo, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_title(read.text or "no digit found", fontsize=10, parse_math=False)
    across, down = photo.shape[1] / read.size[0], photo.shape[0] / read.size[1]
    for number, digit in enumerate(read.digits, 1):
        box, color = digit.found.box, _color(digit)
        corner = box.left * across - 0.5, box.top * down - 0.5
        size = box.width * across, box.height * down
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=1.2))
        axes.annotate(
            f"{number}: {digit.predicted}",
            corner,
            (1, 2),
            textcoords="offset points",
            fontsize=8,
            color="white",
            bbox={"boxstyle": "square,pad=0.15", "facecolor": color, "edgecolor": "none"},
        )


def _draw_digits(axes: Axes, digits: tuple[ReadDigit, ...], lines: int) -> None:
    # One picture of all of them: axes for each would take seconds.
    sheet = np.full((CELL_LINES * lines, CELL_WIDTH * COLUMNS), 255, np.uint8)
    for index, digit in enumerate(digits):
        top, left = CELL_LINES * (index // COLUMNS) + 3, CELL_WIDTH * (index % COLUMNS) + 10
        sheet[top : top + 28, left : left + 28] = digit.found.image
        axes.text(left - 2, top + 14, index + 1, ha="right", va="center", fontsize=7, color="grey")
        for place, (each, sure) in enumerate(digit.top):
            axes.text(
                left + 31,
                top + 5 + 9 * place,
                f"{each}  {100 * sure:.1f} %",
                va="center",
                fontsize=8,
                color="grey" if place else _color(digit),
                weight="normal" if place else "bold",
            )
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _color(digit: ReadDigit) -> str:
    return UNSURE_FRAME if digit.is_unsure else FRAME
