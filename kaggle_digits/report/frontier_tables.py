"""A frontier -> the tables and the picture that people see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group
from rich.table import Table

from kaggle_digits.report import charts
from kaggle_digits.results.frontier_record import Frontier, FrontierPoint
from kaggle_digits.system.console import duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Out-of-fold accuracies that people ask for.
LEVELS = (0.990, 0.994, 0.995, 0.996, 0.997)
DEMO = "DEMO DATA, these figures mean nothing: "
MARKERS = "os^Dv"
COLORS = ("front", "best", "other", "edge")


def frontier_tables(frontier: Frontier) -> Group:
    """Make the table of all points and that of the levels.

    Args:
        frontier: what was measured.
    """
    return Group(points_table(frontier), "", levels_table(frontier))


def points_table(frontier: Frontier) -> Table:
    """Make the table of all points, the shortest run first."""
    table = Table(
        title=f"{DEMO if frontier.demo_data else ''}What every second buys",
        caption="Accuracy: out of fold, mean and standard deviation of the folds. Time: the whole "
        "run from an empty cache to its submission. "
        + "; ".join(f"{title}: {text}" for title, text in frontier.machine.items())
        + f"; {frontier.date}",
    )
    for heading in ("system", "point"):
        table.add_column(heading)
    for heading in ("folds", "accuracy", "wrong", "time", "image passes", "training PFLOP"):
        table.add_column(heading, justify="right")
    for point in sorted(frontier.points, key=lambda point: point.seconds):
        table.add_row(
            point.system,
            point.name,
            str(point.folds) if point.complete else f"{point.folds}, unfinished",
            f"{point.accuracy:.5f} ± {point.accuracy_std:.5f}",
            f"{point.errors:,} of {point.rows:,}",
            *_costs(point),
        )
    return table


def levels_table(frontier: Frontier) -> Table:
    """Make the table of what each accuracy costs, system by system."""
    table = Table(
        title="The least time to reach an out-of-fold accuracy",
        caption="Complete points only; a dash: none reaches it.",
    )
    for heading in ("accuracy", "system", "point"):
        table.add_column(heading)
    for heading in ("reached", "time", "image passes", "training PFLOP"):
        table.add_column(heading, justify="right")
    for level in LEVELS:
        table.add_section()
        for number, system in enumerate(frontier.systems()):
            point = frontier.cheapest(system, level)
            cells = ("-", "", "", "", "")
            if point:
                cells = (point.name, f"{point.accuracy:.5f}", *_costs(point))
            table.add_row("" if number else f"{level:.1%}", system, *cells)
    return table


def _costs(point: FrontierPoint) -> tuple[str, str, str]:
    return (
        duration(point.seconds),
        f"{point.image_passes / 1e6:.2f} million",
        f"{point.training_flops / 1e15:.2f}",
    )


def frontier_picture(frontier: Frontier) -> bytes:
    """Draw accuracy against time as a PNG file.

    Args:
        frontier: what was measured; complete points are drawn, and there is at least one.
    """
    complete = [point for point in frontier.points if point.complete]

    def fill(figure: Figure) -> dict[str, str]:
        axes = figure.subplots()
        for number, system in enumerate(frontier.systems()):
            points = sorted(
                (point for point in complete if point.system == system),
                key=lambda point: point.seconds,
            )
            color = charts.LIGHT[COLORS[number % len(COLORS)]]
            minutes = np.array([point.seconds / 60 for point in points])
            accuracies = np.array([point.accuracy for point in points])
            deviations = [point.accuracy_std for point in points]
            axes.errorbar(
                minutes,
                accuracies,
                deviations,
                color=color,
                marker=MARKERS[number % len(MARKERS)],
                linewidth=1,
                capsize=2,
                label=system,
            )
            for point, x, y in zip(points, minutes, accuracies, strict=True):
                axes.annotate(
                    point.name,
                    (x, y),
                    (4, -10),
                    textcoords="offset points",
                    fontsize=7,
                    color=color,
                )
        axes.set_xscale("log")
        charts.set_ticks(axes.xaxis, charts.ROUND)
        charts.scale_accuracies(axes, [point.accuracy for point in complete])
        axes.set_xlabel("minutes of the whole run")
        axes.set_ylabel("out-of-fold accuracy")
        axes.legend(loc="lower right")
        if frontier.demo_data:
            axes.set_title(DEMO.rstrip(": "))
        return {}

    text = "Out-of-fold accuracy against minutes of the whole run, system by system"
    return charts.picture("frontier", 3.6, fill, text)
