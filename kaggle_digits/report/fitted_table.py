"""A table for the terminal that leaves columns out where it is narrow: no figure is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2  # between two columns


@dataclass(frozen=True)
class FittedTable:
    """Columns, of which one may be cut, and some may be left out.

    Attributes:
        columns: heading -> cells.
        flexible: heading of the column that becomes narrower; its texts are cut.
        least: width that it keeps before other columns are left out.
        dispensable: headings of columns that may be left out, the first one first.
        texts: headings of columns that begin at their left.
    """

    columns: Mapping[str, Sequence[Text]]
    flexible: str
    least: int
    dispensable: Sequence[str]
    texts: Set[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table in the width that there is."""
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
        )
        shown = self._fitting(options.max_width)
        for name in shown:
            # A cell that may wrap is the one that becomes narrower; its text is cut instead.
            justify = "left" if name in self.texts else "right"
            table.add_column(name, justify=justify, no_wrap=name != self.flexible)
        for row in zip(*shown.values(), strict=True):
            table.add_row(*row)
        yield table

    def _fitting(self, width: int) -> dict[str, Sequence[Text]]:
        shown = dict(self.columns)
        least = min(self.least, _width(self.flexible, shown[self.flexible]))
        for name in self.dispensable:
            others = (_width(k, cells) + GAP for k, cells in shown.items() if k != self.flexible)
            if sum(others) + least > width:
                shown.pop(name, None)
        return shown


def cell(text: str, style: str = "") -> Text:
    """Return a cell that is cut rather than broken."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _width(name: str, cells: Sequence[Text]) -> int:
    return max(cell_len(name), *(each.cell_len for each in cells), 0)
