"""The ledger -> what the terminal shows: a score beside its forecast, and all submissions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from kaggle_digits.kaggle.client import Submission
from kaggle_digits.kaggle.ledger import Entry, figure, utc_text
from kaggle_digits.report import run_tables
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.system.console import Fact, Facts

ELSEWHERE, OUTSIDE = "*", "!"


def submit_result(entry: Entry, metrics: RunMetrics | None = None) -> Facts:
    """Show what a submission has come to, beside what was expected of it.

    Args:
        entry: the ledger's row.
        metrics: the figures of the run that made it, if one did.

    Returns:
        Facts under headings.
    """
    facts = [Fact("public score", entry.public_score or entry.status, "strong")]
    if entry.oof_accuracy:
        facts.append(Fact("out-of-fold accuracy", entry.oof_accuracy))
        if metrics:
            facts += run_tables.optimism(metrics)
    elif metrics and not metrics.holds_rows_out:
        facts.append(Fact("out of fold", run_tables.NO_FIGURE))
    if entry.expected_low:
        band = f"{entry.expected_low} to {entry.expected_high}"
        if warning := _outside(entry):
            facts.insert(0, Fact("WARNING", warning, "warning"))
        elif entry.public_score:
            band += ", the score is inside"
        facts.append(Fact("expected leaderboard", band))
    facts.append(Fact("file", entry.file))
    facts.append(Fact("message", entry.message))
    return Facts(
        {
            f"Submission {entry.reference}": facts,
            "Next": [Fact("all of them", "kaggle-digits submissions", "command")],
        }
    )


def _outside(entry: Entry) -> str:
    """Return what a score outside its band means, "" where it lies inside or is not known."""
    if not entry.public_score or not entry.expected_low:
        return ""
    score, band = float(entry.public_score), f"{entry.expected_low} to {entry.expected_high}"
    if score < float(entry.expected_low):
        return (
            f"the score lies below the expected {band}; in 1 of 40 runs chance alone does that, "
            "else the test rows differ from what the nets were trained on"
        )
    if score > float(entry.expected_high):
        return (
            f"the score lies above the expected {band}; in 1 of 40 runs chance alone does that, "
            "else test rows have found their way into training"
        )
    return ""


def table(entries: Sequence[Entry], listed: Sequence[Submission] = ()) -> Group:
    """Show all submissions, newest first, and why some have no score.

    Args:
        entries: the ledger's rows, oldest first.
        listed: Kaggle's submissions; those that the ledger does not have are shown too.

    Returns:
        A table that fits into 80 columns, and notes below it.
    """
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("UTC", "reference", "file"):
        shown.add_column(name, overflow="fold")
    for name in ("expected", "score"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    rows = [(entry.time, _cells(entry)) for entry in entries]
    known = {entry.reference for entry in entries}
    rows += [
        (utc_text(found.time) if found.time else "", _cells_of_listed(found))
        for found in listed
        if str(found.reference) not in known
    ]
    for time, cells in sorted(rows, key=lambda row: row[0], reverse=True):
        shown.add_row(time[5:16].replace("T", " "), *cells)
    notes = [
        f"{entry.reference or entry.time}: {entry.reason}" for entry in entries if entry.reason
    ]
    if any(_outside(entry) for entry in entries):
        notes.insert(0, f"{OUTSIDE} the score lies outside the expected band")
    if len(rows) > len(entries):
        notes.insert(0, f"{ELSEWHERE} at Kaggle only, not in this ledger")
    return Group(shown, *map(Text, notes))


def _cells(entry: Entry) -> tuple[str, ...]:
    file = Path(entry.file)
    # All submissions of runs have the same name; their folders tell them apart.
    name = file.parent.name if file.name == "submission.csv" and file.parent.name else file.name
    band = f"{entry.expected_low}-{entry.expected_high}" if entry.expected_low else ""
    score = entry.public_score + OUTSIDE * bool(_outside(entry))
    return entry.reference, name, band, score, entry.status


def _cells_of_listed(found: Submission) -> tuple[str, ...]:
    status = f"{found.status}{ELSEWHERE}"
    return str(found.reference), found.file_name, "", figure(found.public_score), status
