"""Comparison of runs -> one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.report import charts, compare_tables, pages
from kaggle_digits.report.pages import Card, Cell, cell_of
from kaggle_digits.report.run_list_table import notes
from kaggle_digits.report.samples import digit_uri
from kaggle_digits.results.comparison import Comparison, RunEntry
from kaggle_digits.storage import files
from kaggle_digits.system.console import count_of, duration

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

NAME = "compare.html"
DEMO = (
    "made on scikit-learn's small digits: which of these runs is better there says nothing about "
    "the competition"
)
# Of the table of runs: heading -> a run's cell.
CELLS: dict[str, Callable[[RunEntry], Cell]] = {
    "accuracy": lambda run: cell_of(run.accuracy, ".5f"),
    "wrong rows": lambda run: cell_of(run.wrong, ",d"),
    "95 % interval": lambda run: _band(run.low, run.high),
    "expected leaderboard": lambda run: _band(run.expected_low, run.expected_high),
    "Kaggle": lambda run: cell_of(run.kaggle, ".5f"),
    "image passes": lambda run: cell_of(run.image_passes, ",d"),
    "wall time": lambda run: _wall_time(run.seconds),
    "parameters": lambda run: cell_of(run.parameters, ",d"),
    "fits": lambda run: cell_of(run.fits, ",d"),
    "notes": lambda run: Cell(notes(run), notes(run) or None),
}


def page(comparison: Comparison, images: Mapping[int, np.ndarray]) -> str:
    """Show runs side by side as one HTML page that needs nothing from elsewhere.

    Args:
        comparison: of runs.
        images: training row -> (28, 28) uint8, of the rows on which they differ most; where an
            image is missing the row's number alone is shown.

    Returns:
        The page; the same for the same arguments.
    """
    columns = {name: [make(run) for run in comparison.runs] for name, make in CELLS.items()}
    columns = {n: cells for n, cells in columns.items() if any(c.key is not None for c in cells)}
    names = [run.name for run in comparison.runs]
    return pages.render(
        "compare.html",
        title=f"{', '.join(names)} compared",
        demo=DEMO if any(run.demo for run in comparison.runs) else None,
        cards=list(_cards(comparison)),
        chart=_chart(comparison),
        headings=list(columns),
        numeric=[not any(isinstance(c.key, str) for c in cells) for cells in columns.values()],
        rows=list(zip(names, zip(*columns.values(), strict=True), strict=True)),
        settings=[
            (each.key, [compare_tables.NOT_SET if v is None else v for v in each.values])
            for each in comparison.settings
        ],
        tests=[
            (test, compare_tables.tone(test), compare_tables.verdict(test, comparison.runs))
            for test in comparison.tests
        ],
        is_corrected=len(comparison.tests) > 1,
        scope=list(compare_tables.scope(comparison)),
        disputed=f"{comparison.disputed:,} of {count_of(comparison.rows, 'row')}",
        differences=[
            (each, digit_uri(images[each.row]) if each.row in images else None)
            for each in comparison.differences
        ],
        names=names,
    )


def write_page(comparison: Comparison, images: Mapping[int, np.ndarray], folder: Path) -> Path:
    """Write the page of `page` into a folder, whole or not at all; return its path.

    Raises:
        UserError: it cannot be written.
    """
    path = folder / NAME
    files.write_bytes(path, page(comparison, images).encode())
    return path


def _cards(comparison: Comparison) -> Iterator[Card]:
    for run in comparison.runs:
        if run.accuracy is None:
            continue
        wrong = f"{run.wrong:,} of {run.rows:,} rows wrong"
        interval = f"95 % interval {run.low:.5f} to {run.high:.5f}"
        yield Card(compare_tables.marked(run), f"{run.accuracy:.5f}", (wrong, interval))


def _band(low: float | None, high: float | None) -> Cell:
    if low is None or high is None:
        return cell_of(None, "")
    return Cell(f"{low:.5f} to {high:.5f}", low)


def _wall_time(seconds: float | None) -> Cell:
    return cell_of(None, "") if seconds is None else Cell(duration(seconds), seconds)


def _chart(comparison: Comparison) -> Markup | None:
    """Draw each run's accuracy with its interval, one below the other."""
    runs = [run for run in comparison.runs if run.accuracy is not None and run.low is not None]
    if not runs:
        return None
    places = np.arange(len(runs))
    accuracies = np.array([run.accuracy for run in runs])
    ends = np.array([(run.low, run.high) for run in runs])

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        around = np.abs(ends - accuracies[:, None]).T
        axes.errorbar(
            accuracies,
            places,
            xerr=around,
            fmt="o",
            color=charts.LIGHT["front"],
            ecolor=charts.LIGHT["other"],
            capsize=4,
        )
        charts.set_ticks(axes.yaxis, places)
        axes.set_yticks(places, [_shortened(run.name) for run in runs])
        axes.set_ylim(len(runs) - 0.5, -0.5)
        axes.set_xlabel("out-of-fold accuracy")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y", visible=False)
        return {}

    description = "Accuracies with their 95 % intervals: " + "; ".join(
        f"{run.name} {run.accuracy:.5f}, {run.low:.5f} to {run.high:.5f}" for run in runs
    )
    return charts.draw("intervals", 0.9 + 0.4 * len(runs), fill, description)


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}\N{HORIZONTAL ELLIPSIS}"
