"""Record of a search -> one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kaggle_digits.report import pages, search_charts, search_tables
from kaggle_digits.report.importance import FEWEST_TRIALS, importance, is_number
from kaggle_digits.report.pages import Card, Cell, cell_of
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    Objective,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.storage import files
from kaggle_digits.system.console import count_of, duration

MIB = 2**20


def _errors(trial: TrialResult) -> Cell:
    if trial.errors is None:
        return cell_of(None, "")
    # Trials may have different numbers of folds: fractions compare, counts do not.
    return Cell(f"{trial.errors:,} of {trial.rows:,}", trial.errors / trial.rows)


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


# Of a trial, before and after its settings.
RESULTS: dict[str, Callable[[TrialResult], Cell]] = {
    "accuracy": lambda t: cell_of(t.accuracy, ".5f"),
    "wrong": _errors,
    "status": lambda t: Cell(t.status, t.status),
    "log loss": lambda t: cell_of(t.log_loss, ".5f"),
    "folds": lambda t: Cell(f"{t.folds} of {t.folds_planned}", t.folds),
    "s per fit": lambda t: cell_of(t.seconds_per_fit, ",.1f"),
}
COSTS: dict[str, Callable[[TrialResult], Cell]] = {
    "images/s": lambda t: cell_of(t.images_per_second, ",.0f"),
    "parameters": lambda t: cell_of(t.parameters, ",d"),
    "MFLOP/image": lambda t: cell_of(_scaled(t.flops, 1e6), ",.2f"),
    "memory, MiB": lambda t: cell_of(_scaled(t.peak_memory_bytes, MIB), ",.0f"),
}


def page(record: SearchRecord, title: str, next_command: str = "") -> str:
    """Show what a search has found as one HTML page that needs nothing from elsewhere.

    Args:
        record: what has been found so far.
        title: the page's heading, plain text.
        next_command: what to type next, for a shell; "" where there is nothing.

    Returns:
        The page; the same for the same record.
    """
    fractions, roles = importance(record), search_charts.roles(record)
    rows = [(trial, roles[trial.trial], _row(record, trial)) for trial in record.trials]
    columns = zip(*(cells for *_, cells in rows), strict=True)
    is_rough, best = bool(search_tables.too_few_rows(record)), record.best()
    warnings = search_tables.warnings(record)
    return pages.render(
        "search.html",
        title=title,
        demo=search_tables.DEMO if record.demo_data else None,
        # Of the demo data the page's frame speaks.
        warnings=[each for each in warnings if each[0] != "DEMO DATA"],
        is_rough=is_rough,
        cards=list(_cards(record)),
        next_command=next_command if best else "",
        sentences=list(_sentences(record)),
        progress_chart=search_charts.progress_chart(record),
        cost_chart=search_charts.cost_chart(record),
        parallel_chart=search_charts.parallel_chart(record),
        curves_chart=search_charts.curves_chart(record),
        importance_chart=search_charts.importance_chart(fractions, is_rough) if fractions else None,
        fewest=FEWEST_TRIALS,
        shown={trial.status for trial in record.trials}.union(*roles.values()),
        best=best,
        settings=list(_settings(record)),
        facts=record.facts | record.machine,
        headings=[*RESULTS, *record.keys, *COSTS, "reason"],
        names=search_tables.short_names(record.keys),
        numeric=[not any(isinstance(cell.key, str) for cell in column) for column in columns],
        rows=rows,
    )


def _cards(record: SearchRecord) -> Iterator[Card]:
    """Yield the figures on top of the page, the most important first."""
    best = record.best()
    if best:
        notes = (
            f"{best.errors:,} of {best.rows:,} rows wrong",
            f"trial {best.trial}, {best.seconds_per_fit:,.1f} s per fit",
            "optimistic: it was picked by this figure",
        )
        yield Card(f"best {record.objective.label}", f"{record.objective.of(best):.5f}", notes)
    comparisons = dict(record.comparisons())
    for found in list(comparisons.values())[:1]:  # the best is the same in all of them
        low, high = found.best.interval
        notes = (
            f"{found.best.errors:,} of {found.best.rows:,} rows wrong",
            f"95 % interval {low:.5f} to {high:.5f}",
        )
        verdicts = tuple(_verdict(each, name) for name, each in comparisons.items())
        title = f"accuracy of the best on {search_tables.holdout(found)}"
        yield Card(title, f"{found.best.accuracy:.5f}", notes, verdicts)
    if record.trials:
        yield Card(
            "trials",
            f"{len(record.trials):,}",
            (f"{duration(record.seconds())} of training", record.counts()),
        )


def _verdict(found: HoldoutComparison, name: str) -> tuple[str, str]:
    """Return the tone and the text of how the best compares."""
    tone, text = search_tables.tone(found), search_tables.verdict(found)
    than = "from" if tone == "even" else "than"
    mistakes = f"{name}, {found.reference.errors:,} wrong"
    return tone, f"{text.removeprefix('the best is ')} {than} {mistakes}"


def _sentences(record: SearchRecord) -> Iterator[str]:
    """Yield what was found, a sentence each."""
    best = record.best()
    if not best:
        yield "No trial is completed yet, so there is nothing to compare."
        return
    score = record.objective.text(best)
    if record.objective is Objective.LOG_LOSS:
        score += f" ({best.errors:,} of {best.rows:,} wrong)"
    yield (
        f"The best is trial {best.trial}: {score} on the folds of the search, which is optimistic, "
        "because it was picked by them."
    )
    for name, found in record.comparisons():
        yield (
            f"On the {search_tables.holdout(found)} it predicts {found.best.errors:,} of "
            f"{count_of(found.best.rows, 'row')} wrongly, {name} {found.reference.errors:,}: "
            f"{search_tables.verdict(found)} ({search_tables.evidence(found, name)})."
        )
    if record.check or record.against:
        yield search_tables.SCOPE


def _settings(record: SearchRecord) -> Iterator[tuple[str, str, str, bool]]:
    """Yield (key, value of the start, value of the best, whether they differ)."""
    best = record.best()
    for key in record.keys if best else ():
        start = record.start.get(key)
        if key in best.settings:
            value = best.settings[key]
            yield key, search_tables.text_of(start), search_tables.text_of(value), value != start
        else:
            yield key, search_tables.text_of(start), "not in force", False


def _row(record: SearchRecord, trial: TrialResult) -> list[Cell]:
    """Make a trial's cells, without those of its id and status."""
    settings = (_setting(trial.settings.get(key)) for key in record.keys)
    results, costs = ([make(trial) for make in each.values()] for each in (RESULTS, COSTS))
    return [*results, *settings, *costs, Cell(trial.reason or "", trial.reason)]


def _setting(value: Any) -> Cell:
    if value is None:
        return cell_of(None, "")
    text = search_tables.text_of(value)
    return Cell(text, value if is_number(value) else text)


def write_page(record: SearchRecord, title: str, path: Path, next_command: str = "") -> None:
    """Write the page of `page` whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    files.write_bytes(path, page(record, title, next_command).encode())
