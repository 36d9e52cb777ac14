"""What a run's nets read in pictures -> what the terminal shows."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from kaggle_digits.results.classification import TOP, UNSURE, Classification, ReadDigit
from kaggle_digits.system.console import count_of

EMPTY = "no digit found"


def classification_table(read: Classification) -> Table:
    """Show each digit in reading order with its most probable classes.

    Args:
        read: what was read.

    Returns:
        A table that fits into 80 columns; file names are wrapped, never cut.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("picture", overflow="fold")
    table.add_column("digit", justify="right", no_wrap=True)
    table.add_column("at (x, y)", justify="right", no_wrap=True)
    for place in ("read", "or", "or")[:TOP]:
        table.add_column(place, justify="right", no_wrap=True)
    for picture in read.pictures:
        if not picture.digits:
            table.add_row(picture.name, "", "", Text(EMPTY, "yellow"))
        for number, digit in enumerate(picture.digits, 1):
            name = picture.name if number == 1 else ""
            at = f"{digit.found.box.left}, {digit.found.box.top}"
            table.add_row(name, str(number), at, *_cells(digit))
    return table


def _cells(digit: ReadDigit) -> list[Text]:
    first, *others = (f"{each}  {100 * sure:5.1f} %" for each, sure in digit.top)
    return [Text(first, "bold yellow" if digit.is_unsure else "bold"), *map(Text, others)]


def classification_text(read: Classification) -> list[str]:
    """Return a line for each picture with several digits, what it reads, and one for them all."""
    lines = [
        f"{picture.name} reads {picture.text}"
        for picture in read.pictures
        if len(picture.digits) > 1
    ]
    digits = [digit for picture in read.pictures for digit in picture.digits]
    text = f"{count_of(len(digits), 'digit')} in {count_of(len(read.pictures), 'picture')}"
    if unsure := sum(digit.is_unsure for digit in digits):
        text += f"; of {unsure:,} the nets are less than {100 * UNSURE:.0f} % sure"
    return [*lines, text]
