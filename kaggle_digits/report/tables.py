"""What a person sees of a search while it goes on: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from rich.table import Table

from kaggle_digits.results.search_records import (
    Findings,
    HoldoutComparison,
    HoldoutScore,
    TrialResult,
)

SHOWN = 12  # trials in the table; the page shows all
LONGEST = 80  # characters of a value


def text_of(value: Any) -> str:
    """Write a setting's value shortly."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(str(value), LONGEST, placeholder=" ...")


def changes(findings: Findings, trial: TrialResult) -> str:
    """Write what a trial changes of the config that the search began with."""
    different = [
        f"{key}={text_of(value)}"
        for key, value in trial.settings.items()
        if value != findings.start.get(key)
    ]
    return ", ".join(different) or "nothing: the config it began with"


def score(findings: Findings, trial: TrialResult) -> str:
    """Write a trial's figure so far."""
    if trial.errors is None:
        return "-"
    if findings.objective == "accuracy":
        return f"{trial.accuracy:.5f} ({trial.errors} of {trial.rows:,} wrong)"
    return f"log loss {trial.log_loss:.5f}"


def line(findings: Findings, trial: TrialResult) -> str:
    """Write how a trial stands in one line."""
    best = findings.best()
    so_far = f"; best so far: trial {best.trial}, {score(findings, best)}" if best else ""
    reason = f", {trial.reason}" if trial.reason else ""
    cost = f", {trial.seconds_per_fit:.1f} s a fit" if trial.seconds_per_fit else ""
    return (
        f"trial {trial.trial}: {trial.status}{reason}; fold {trial.folds} of "
        f"{trial.folds_planned}, {score(findings, trial)}{cost}{so_far}"
    )


def table(findings: Findings, doing: str) -> Table:
    """Show the latest trials, the best one, and what is going on.

    Args:
        findings: what has been found so far.
        doing: what is being done now.

    Returns:
        The table.
    """
    best = findings.best()
    shown = Table(caption=doing, caption_justify="left")
    for title in ("trial", "changes", "folds", findings.objective.replace("_", " "), "s a fit", ""):
        shown.add_column(title, overflow="fold")
    rows = findings.trials[-SHOWN:]
    if best and best not in rows:
        rows = (best, *rows)
    for trial in rows:
        mark = "best" if best and trial.trial == best.trial else trial.status
        cost = f"{trial.seconds_per_fit:.1f}" if trial.seconds_per_fit else "-"
        shown.add_row(
            trial.trial,
            changes(findings, trial),
            f"{trial.folds}/{trial.folds_planned}",
            score(findings, trial),
            cost,
            mark,
        )
    return shown


def result(findings: Findings) -> Table:
    """Show what a search has come to."""
    shown = Table(title="Result of the search", show_header=False)
    if best := findings.best():
        shown.add_row("best trial", f"{best.trial}: {changes(findings, best)}")
        shown.add_row(
            "on the folds of the search", f"{score(findings, best)}, optimistic: it was picked"
        )
    counts = [f"{len(findings.of(status))} {status}" for status in findings.statuses()]
    shown.add_row("trials", ", ".join(counts))
    if findings.check:
        _add_check(shown, findings.check, "the config it began with")
    for name, check in findings.against.items():
        _add_check(shown, check, name)
    for title, text in findings.facts.items():
        shown.add_row(title, text)
    return shown


def _add_check(shown: Table, check: HoldoutComparison, name: str) -> None:
    folds = "fold " + ", ".join(map(str, check.folds))
    shown.add_row(f"untouched {folds}: {name}", _side(check.start))
    shown.add_row(f"untouched {folds}: the best", _side(check.best))
    shown.add_row(
        "difference",
        f"{verdict(check)}: {check.only_start_wrong} rows that only {name} gets wrong, "
        f"{check.only_best_wrong} that only the best gets wrong (McNemar's exact test, "
        f"p = {check.p_value:.2g})",
    )


def _side(side: HoldoutScore) -> str:
    low, high = side.interval
    return (
        f"{side.accuracy:.5f} ({side.errors} of {side.rows:,} wrong; 95 % interval {low:.5f} to "
        f"{high:.5f}), {side.seconds_per_fit:.1f} s a fit"
    )


def verdict(check: HoldoutComparison) -> str:
    """Say in words how the best compares, at the 5 % level."""
    if check.p_value >= 0.05:
        return "no significant difference"
    better = check.only_start_wrong > check.only_best_wrong
    return f"the best is significantly {'better' if better else 'worse'}"
