"""What is in the folders of runs -> what the terminal shows of them, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rich.console import Group
from rich.text import Text

from kaggle_digits.report.fitted_table import FittedTable, cell
from kaggle_digits.results.comparison import RunEntry
from kaggle_digits.system.console import Fact, Facts, duration

LEAST_NAME = 14  # columns for a name, before others are left out
NONE = "-"
TEXTS = frozenset(("name", "config", "date", "notes"))
# The first one is left out first.
DISPENSABLE = (
    "parameters",
    "config",
    "date",
    "image passes",
    "expected",
    "wrong",
    "wall time",
    "95 % interval",
    "notes",
)


def figure(value: float | None, form: str) -> str:
    """Write a number, a dash where there is none."""
    return NONE if value is None else format(value, form)


def band(low: float | None, high: float | None) -> str:
    """Write two ends of an interval, a dash where there are none."""
    return NONE if low is None or high is None else f"{low:.5f}-{high:.5f}"


def in_short(number: int | None) -> str:
    """Write a number in short: 5,376, 166 k, 2.4 M."""
    if number is None:
        return NONE
    if number < 10_000:
        return f"{number:,}"
    scaled, unit = (number / 1e6, "M") if number >= 999_500 else (number / 1e3, "k")
    return f"{scaled:,.{0 if scaled >= 100 else 1}f} {unit}"


def _fits(entry: RunEntry) -> str:
    if entry.fits is None:
        return NONE
    if entry.kind == "search":
        return f"{entry.fits:,} trials"
    return f"{entry.fits}/{figure(entry.fits_planned, 'd')}"


def notes(entry: RunEntry) -> str:
    """Write what is to be known of a run before its figures are believed, in few words."""
    is_search = entry.kind == "search"  # its number of trials says so
    said = {
        "joined": entry.kind == "joined",
        "demo": entry.demo,
        "not for upload": entry.not_for_upload and not entry.demo,
        "optimistic": entry.optimistic,
        "running": entry.running,
        # Of a run the number of its fits says so.
        "unfinished": is_search and entry.complete is False and not entry.running,
        "problem": bool(entry.problem),
    }
    return ", ".join(word for word, is_so in said.items() if is_so)


COLUMNS: dict[str, Callable[[RunEntry], str]] = {
    "name": lambda run: run.name,
    "config": lambda run: run.config or NONE,
    "fits": _fits,
    "accuracy": lambda run: figure(run.accuracy, ".5f"),
    "wrong": lambda run: figure(run.wrong, ",d"),
    "95 % interval": lambda run: band(run.low, run.high),
    "expected": lambda run: band(run.expected_low, run.expected_high),
    "Kaggle": lambda run: figure(run.kaggle, ".5f"),
    "image passes": lambda run: in_short(run.image_passes),
    "wall time": lambda run: NONE if run.seconds is None else duration(run.seconds),
    "parameters": lambda run: in_short(run.parameters),
    "date": lambda run: NONE if run.date is None else _day(run.date),
    "notes": notes,
}


def columns_of(entries: Sequence[RunEntry], names: Sequence[str]) -> dict[str, list[Text]]:
    """Return columns of `COLUMNS`, without those in which no entry has anything."""
    columns = {
        name: [cell(COLUMNS[name](each), _style(name, each)) for each in entries] for name in names
    }
    return {
        name: cells
        for name, cells in columns.items()
        if name == "accuracy" or any(each.plain not in (NONE, "") for each in cells)
    }


def run_list_table(entries: Sequence[RunEntry]) -> Group:
    """Show a line for each folder, and below what is amiss with some.

    Args:
        entries: in the order to show them; at least one.

    Returns:
        A table that leaves columns out where the terminal is narrow.
    """
    problems = [Fact(entry.name, entry.problem) for entry in entries if entry.problem]
    return Group(
        FittedTable(columns_of(entries, tuple(COLUMNS)), "name", LEAST_NAME, DISPENSABLE, TEXTS),
        *([Facts({"Problems": problems})] if problems else []),
    )


def _style(name: str, entry: RunEntry) -> str:
    if entry.problem:
        return "red" if name == "notes" else "dim"
    return "yellow" if name == "notes" else ""


def _day(date: str) -> str:
    return datetime.fromisoformat(date).strftime("%Y-%m-%d %H:%M")
