"""Labels and predictions of digits -> the charts and the gallery that pages show of them.

Arrays in, markup out; whether predictions are out of fold or of other data is the page's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kaggle_digits.report import charts, samples
from kaggle_digits.report.charts import LIGHT
from kaggle_digits.scoring.calibration import Calibration
from kaggle_digits.scoring.ensemble import CLASSES, accuracy_interval
from kaggle_digits.system.console import count_of

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawn = TypeVar("Drawn")  # what a way of drawing returns

DIGITS = np.arange(CLASSES)
PICTURE_COLUMNS, PICTURE_GAP = 10, 12  # of a picture of many digits; the gap in their pixels
MOST_NAMED = 3  # confusions that are named for those who do not see the chart
# Colour of a cell and of its text, from the fewest mistakes to the most.
SHADES = (("fifth1", "ink"), ("fifth2", "ink"), ("fifth3", "ink"), ("fifth5", "paper"))


@dataclass(frozen=True)
class Tile:
    """A digit of a gallery.

    Attributes:
        image: a PNG as a data URI, 28x28, dark on white.
        title: what it is and what it was taken for.
        notes: further lines.
    """

    image: str
    title: str
    notes: tuple[str, ...] = ()


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count rows by their label and by what was predicted.

    Args:
        labels: (n,) integers 0..9.
        predicted: (n,) integers 0..9.

    Returns:
        (10, 10) int64, a line for each label, a column for each predicted class.
    """
    cells = labels.astype(np.int64) * CLASSES + predicted
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def confusion_chart(matrix: np.ndarray, draw: Callable[..., Drawn] = charts.draw) -> Drawn:
    """Draw a confusion matrix; mistakes are shaded by how many there are, right rows are not.

    Args:
        matrix: (10, 10) integers, see `confusion_matrix`.
        draw: `charts.draw` or `charts.picture`.
    """
    from matplotlib.patches import Rectangle

    mistakes = np.where(np.eye(CLASSES, dtype=bool), 0, matrix)
    most = max(int(mistakes.max()), 1)

    def fill(figure: Figure) -> dict[str, str]:
        axes, titles = figure.subplots(), {}
        for label, predicted in np.ndindex(matrix.shape):
            count, part = int(matrix[label, predicted]), f"cell{label}{predicted}"
            shade, ink = "grid", "ink"
            if count and label != predicted:
                shade, ink = SHADES[(count * len(SHADES) - 1) // most]
            color = "none" if not count else LIGHT[shade]
            place = predicted - 0.5, label - 0.5
            cell = Rectangle(place, 1, 1, facecolor=color, edgecolor=LIGHT["paper"], gid=part)
            axes.add_patch(cell)
            if count:
                middle = {"ha": "center", "va": "center", "fontsize": 9}
                axes.text(predicted, label, f"{count}", color=LIGHT[ink], **middle)
                rows = f"{count:,} of {count_of(int(matrix[label].sum()), 'row')}"
                titles[part] = f"{label} taken for {predicted}: {rows}"
        axes.set_xlim(-0.5, 9.5)
        axes.set_ylim(9.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xticks(DIGITS)
        axes.set_yticks(DIGITS)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.grid(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")
        return titles

    rows = count_of(int(matrix.sum()), "row")
    description = f"Confusion matrix of {rows}, {int(mistakes.sum()):,} of them wrong"
    if named := _most_frequent(mistakes):
        description += f"; most often {named}"
    return draw("confusion", 4.6, fill, description)


def _most_frequent(mistakes: np.ndarray) -> str:
    """Name the most frequent mistakes of a (10, 10) matrix."""
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_NAMED]
    pairs = [divmod(int(cell), CLASSES) for cell in order]
    return ", ".join(
        f"{label} taken for {predicted} ({count_of(int(mistakes[label, predicted]), 'row')})"
        for label, predicted in pairs
        if mistakes[label, predicted]
    )


def mistakes_chart(matrix: np.ndarray) -> Markup:
    """Draw bars for each digit: how often it was not recognised, and how often wrongly seen.

    Args:
        matrix: (10, 10) integers, see `confusion_matrix`.
    """
    mistakes = np.where(np.eye(CLASSES, dtype=bool), 0, matrix)
    missed, invented = mistakes.sum(axis=1), mistakes.sum(axis=0)
    most = max(int(missed.max()), int(invented.max()), 1)

    def fill(figure: Figure) -> dict[str, str]:
        # Two panels rather than two colours: a side is read without seeing either.
        left, right = figure.subplots(1, 2, sharey=True)
        look = {"fontsize": 9, "color": LIGHT["ink"]}
        left.set_title("missed", **look)
        right.set_title("seen where there was another", **look)
        for axes, counts, color in ((left, missed, "front"), (right, invented, "best")):
            axes.barh(DIGITS, counts, height=0.6, color=LIGHT[color])
            axes.set_xlim(0, 1.2 * most)
            axes.set_ylim(9.6, -0.6)
            axes.set_xticks([])
            axes.grid(False)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            for digit, count in enumerate(counts):
                beside = -4 if axes is left else 4
                place = {"xytext": (beside, 0), "textcoords": "offset points", "va": "center"}
                ha = "right" if axes is left else "left"
                axes.annotate(f"{count:,}", (count, digit), ha=ha, fontsize=8, **place)
        left.invert_xaxis()
        right.set_yticks(DIGITS)
        left.yaxis.tick_right()
        left.tick_params(labelright=False, length=0)
        right.tick_params(labelleft=True)
        return {}

    each = (f"{digit} {missed[digit]:,} and {invented[digit]:,}" for digit in DIGITS)
    description = f"Mistakes by digit, missed and wrongly seen: {', '.join(each)}"
    return charts.draw("mistakes", 3.4, fill, description)


def calibration_chart(before: Calibration, after: Calibration | None = None) -> Markup:
    """Draw how often predictions are right by how confident they are, and how many there are.

    A vertical line is the 95 % interval of a bin's accuracy.

    Args:
        before: of the predictions as they are.
        after: of the same predictions after a temperature; None: it is not known.
    """
    series = [(before, "as predicted", "front", "o")]
    if after is not None:
        series.append((after, "after the temperature", "best", "s"))

    def fill(figure: Figure) -> dict[str, str]:
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color=LIGHT["other"], linewidth=1, linestyle="--")
        titles = {}
        for number, (found, label, color, marker) in enumerate(series):
            look = {"color": LIGHT[color], "marker": marker, "markersize": 5, "label": label}
            _draw_intervals(above, found, LIGHT[color])
            above.plot(found.confidence, found.accuracy, linewidth=1.2, **look)
            for point, (rows, confidence, accuracy) in enumerate(_bins(found)):
                part = f"bin{number}-{point}"
                below.plot(confidence, rows, color=LIGHT[color], marker=marker, ms=4, gid=part)
                titles[part] = (
                    f"{label}: {count_of(rows, 'row')}, mean confidence {confidence:.3f}, "
                    f"accuracy {accuracy:.3f}"
                )
        above.set_xlim(0, 1.01)
        above.set_ylim(0, 1.02)
        above.set_ylabel("accuracy")
        below.set_yscale("log")
        charts.set_ticks(below.yaxis, 10.0 ** np.arange(0, 6, 2))
        below.set_ylim(0.5, 2 * before.rows.sum())
        below.set_ylabel("rows")
        below.set_xlabel("confidence")
        if after is not None:
            above.legend(loc="lower right")
        return titles

    found = "; ".join(
        f"{label}: expected calibration error {each.expected_error:.5f}"
        for each, label, *_ in series
    )
    rows = count_of(int(before.rows.sum()), "row")
    return charts.draw("calibration", 4.2, fill, f"Calibration of {rows}. {found}")


def _bins(found: Calibration) -> list[tuple[int, float, float]]:
    """List (rows, confidence, accuracy) of each bin."""
    columns = (found.rows, found.confidence, found.accuracy)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _draw_intervals(axes: Axes, found: Calibration, color: str) -> None:
    for rows, confidence, accuracy in _bins(found):
        low, high = accuracy_interval(rows - round(accuracy * rows), rows)
        axes.plot([confidence] * 2, [low, high], color=color, linewidth=1, alpha=0.6)


def surest_mistakes(
    labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, most: int
) -> np.ndarray:
    """Return the rows that are wrong, the most confident first.

    Args:
        labels: (n,) integers 0..9.
        predicted: (n,) integers 0..9.
        confidence: (n,) probabilities of the predicted classes.
        most: how many at most.

    Returns:
        (k,) int64, k at most `most`; rows of equal confidence in their order.
    """
    wrong = np.flatnonzero(labels != predicted)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


def gallery(
    images: np.ndarray,
    labels: np.ndarray | None,
    predicted: np.ndarray,
    confidence: np.ndarray,
    names: Sequence[str] = (),
) -> list[Tile]:
    """Make a tile of each digit, in the order given.

    Args:
        images: (n, 28, 28) uint8, 0..255, 0 is the background.
        labels: (n,) integers 0..9; None: they are not known.
        predicted: (n,) integers 0..9.
        confidence: (n,) probabilities of the predicted classes.
        names: a text for each, such as its row; () for none.
    """
    import cv2

    tiles = []
    for number, image in enumerate(images):
        png = cv2.imencode(".png", 255 - image)[1].tobytes()
        read = int(predicted[number])
        label = read if labels is None else int(labels[number])
        tiles.append(
            Tile(
                image=samples.data_uri(png),
                title=f"read as {read}" if read == label else f"{label} taken for {read}",
                notes=(f"{100 * confidence[number]:.1f} % sure", *names[number : number + 1]),
            )
        )
    return tiles


def gallery_picture(images: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> bytes:
    """Draw misclassified digits with what they are and what they were taken for, as a PNG file.

    Args:
        images: (n, 28, 28) uint8, n at least 1; 0 is the background.
        labels: (n,) integers 0..9.
        predicted: (n,) integers 0..9.
    """
    columns = min(PICTURE_COLUMNS, len(images))
    lines = -(-len(images) // columns)
    cell, edge = 28 + PICTURE_GAP, PICTURE_GAP

    def fill(figure: Figure) -> dict[str, str]:
        sheet = np.full((lines * cell, columns * cell), 255, np.uint8)
        axes = figure.subplots()
        for number, image in enumerate(images):
            line, column = divmod(number, columns)
            top, left = line * cell + edge, column * cell + edge // 2
            sheet[top : top + 28, left : left + 28] = 255 - image
            text = f"{labels[number]} \N{RIGHTWARDS ARROW} {predicted[number]}"
            axes.text(left + 14, top + 1, text, ha="center", va="bottom", fontsize=7)
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        return {}

    height = charts.WIDTH * lines / columns
    return charts.picture("gallery", height, fill, "Misclassified digits: label, what was read")
