"""What all HTML pages have in common: their frame, the figures on top, the cells of their tables.

A page is one file that needs nothing but a browser; `templates/page.html` is its frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_digits.report import charts
from kaggle_digits.report.rendering import templates


@dataclass(frozen=True)
class Card:
    """One of the few figures on top of a page.

    Attributes:
        title: what it is.
        figure: the figure.
        notes: what to know of it.
        verdicts: of tests: (tone: good, bad or even; text).
    """

    title: str
    figure: str
    notes: tuple[str, ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One cell of a table that can be sorted.

    Attributes:
        text: what is shown.
        key: what its column is sorted by; None comes last.
    """

    text: str
    key: float | str | None


@dataclass(frozen=True)
class Table:
    """A table that can be sorted; its first column names the rows.

    Attributes:
        headings: of the columns.
        rows: a cell for each column.
        thumbnails: a data URI for each row, shown beside its name; () for none.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    thumbnails: Sequence[str] = ()

    @property
    def is_numeric(self) -> list[bool]:
        """Whether each column holds numbers, which stand at the right."""
        columns = zip(*self.rows, strict=True)
        return [not any(isinstance(cell.key, str) for cell in column) for column in columns]


def cell_of(value: float | None, form: str) -> Cell:
    """Make a cell of a number, a dash where there is none.

    Args:
        value: the number.
        form: how it is written, as `format` takes it.
    """
    return Cell("\N{EN DASH}" if value is None else format(value, form), value)


def render(template: str, title: str, demo: str | None, **values: Any) -> str:
    """Fill in a page.

    Args:
        template: its name in `templates/`; it extends `page.html`.
        title: the page's heading, plain text.
        demo: what to say of figures that are made from demo data; None: they are not.
        values: what the template shows.

    Returns:
        The page; the same for the same values.
    """
    found = templates("kaggle_digits.report").get_template(template)
    return found.render(title=title, demo=demo, palette=charts.PALETTE, **values)
