"""Records -> what the terminal shows: the result of a run, and a search while it goes on."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.table import Table

from kaggle_digits.data.competition import TEST_ROWS
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    HoldoutScore,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.system.console import duration

SHOWN = 12  # trials in the live table; the page shows all
LONGEST = 80  # characters of a value
SCOPE = (
    "The comparison is about these trained nets on these rows, not about the configs: with one "
    "seed a fold, the noise between seeds counts as a difference."
)


def text_of(value: Any) -> str:
    """Write a setting's value in short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(str(value), LONGEST, placeholder=" ...")


def changes(record: SearchRecord, trial: TrialResult) -> str:
    """Write what a trial changes of the config that the search began with."""
    different = [
        f"{key}={text_of(value)}"
        for key, value in trial.settings.items()
        if value != record.start.get(key)
    ]
    return ", ".join(different) or "nothing: the config it began with"


def line(record: SearchRecord, trial: TrialResult) -> str:
    """Write how far a trial is in one line."""
    score, best = record.objective.text, record.best()
    so_far = f"; best so far: trial {best.trial}, {score(best)}" if best else ""
    reason = f", {trial.reason}" if trial.reason else ""
    cost = f", {trial.seconds_per_fit:.1f} s a fit" if trial.seconds_per_fit else ""
    return (
        f"trial {trial.trial}: {trial.status}{reason}; fold {trial.folds} of "
        f"{trial.folds_planned}, {score(trial)}{cost}{so_far}"
    )


def search_progress(record: SearchRecord, activity: str) -> Table:
    """Show the latest trials, the best one, and what is going on.

    Args:
        record: what has been found so far.
        activity: what is being done now.

    Returns:
        The table.
    """
    best = record.best()
    table = Table(caption=activity, caption_justify="left")
    for title in ("trial", "changes", "folds", record.objective.label, "s a fit", ""):
        table.add_column(title, overflow="fold")
    trials = record.trials[-SHOWN:]
    if best and best not in trials:
        trials = (best, *trials)
    for trial in trials:
        table.add_row(
            trial.trial,
            changes(record, trial),
            f"{trial.folds}/{trial.folds_planned}",
            record.objective.text(trial),
            f"{trial.seconds_per_fit:.1f}" if trial.seconds_per_fit else "-",
            "best" if best and trial.trial == best.trial else trial.status,
        )
    return table


def search_result(record: SearchRecord) -> Table:
    """Show what a search has found."""
    table = Table(title="Result of the search", show_header=False)
    if best := record.best():
        table.add_row("best trial", f"{best.trial}: {changes(record, best)}")
        score = record.objective.text(best)
        table.add_row("on the folds of the search", f"{score}, optimistic: it was picked")
    table.add_row("trials", record.counts())
    if record.check:
        _add_comparison(table, record.check, "the config it began with")
    for name, comparison in record.against.items():
        _add_comparison(table, comparison, name)
    if record.check or record.against:
        table.add_row("note", SCOPE)
    for title, text in record.facts.items():
        table.add_row(title, text)
    return table


def _add_comparison(table: Table, comparison: HoldoutComparison, name: str) -> None:
    folds = "holdout fold " + ", ".join(map(str, comparison.folds))
    table.add_row(f"{folds}: {name}", _score(comparison.reference))
    table.add_row(f"{folds}: the best", _score(comparison.best))
    table.add_row(
        "difference",
        f"{verdict(comparison)}: {comparison.only_reference_wrong} rows that only {name} gets "
        f"wrong, {comparison.only_best_wrong} that only the best gets wrong (McNemar's exact test, "
        f"p = {comparison.p_value:.2g})",
    )


def _score(score: HoldoutScore) -> str:
    low, high = score.interval
    return (
        f"{score.accuracy:.5f} ({score.errors} of {score.rows:,} wrong; 95 % interval {low:.5f} to "
        f"{high:.5f}), {score.seconds_per_fit:.1f} s a fit"
    )


def verdict(comparison: HoldoutComparison) -> str:
    """Write how the nets of the best compare, at the 5 % level; `SCOPE` says what it is about."""
    if comparison.p_value >= 0.05:
        return "no significant difference"
    better = comparison.only_reference_wrong > comparison.only_best_wrong
    return f"the best is significantly {'better' if better else 'worse'}"


def run_result(metrics: RunMetrics, folder: Path, submission: Path) -> Table:
    """Show what a run has come to.

    Args:
        metrics: its figures.
        folder: the run's folder.
        submission: the submission in it.

    Returns:
        The table.
    """
    table = Table(title="Result", show_header=False)
    if metrics.provisional:
        table.add_row(
            "PROVISIONAL",
            f"from {metrics.provisional_fit}, which is not finished; no out-of-fold figure yet",
        )
    else:
        table.add_row("out-of-fold accuracy", _with_interval(metrics.oof))
        if metrics.optimistic:
            table.add_row(
                "OPTIMISTIC", "a search chose these settings, perhaps by some of the same rows"
            )
        if metrics.holdout:
            table.add_row("on rows that the search never saw", _with_interval(metrics.holdout))
        for name, member in metrics.members.items():
            table.add_row(f"member {name}", f"{member.accuracy:.5f} ({len(member.fits)} fits)")
    if metrics.test:
        table.add_row("test accuracy", f"{metrics.test.accuracy:.5f} ({metrics.test.errors} wrong)")
    if not metrics.provisional:
        low, high = metrics.expected_leaderboard
        table.add_row("expected leaderboard", f"{low:.5f} to {high:.5f} (95 %)")
        if metrics.images_per_second:
            table.add_row("training speed", f"{metrics.images_per_second:,.0f} images/s")
    if not metrics.complete:
        table.add_row("fits finished", f"{metrics.fits_finished} of {metrics.fits_planned} so far")
    for name, reason in metrics.skipped.items():
        table.add_row("WARNING: skipped", f"{name} diverged: {reason}")
    if metrics.callbacks:
        table.add_row("callbacks", ", ".join(metrics.callbacks))
    table.add_row("wall time, all invocations", duration(metrics.wall_seconds))
    table.add_row(
        "of it saving, hashing, syncing",
        f"{metrics.saving_seconds:.1f} s ({100 * metrics.saving_fraction:.1f} %)",
    )
    table.add_row("peak memory, main process", f"{metrics.peak_memory_bytes / 2**30:.2f} GiB")
    if metrics.demo_data:
        table.add_row("submission", "DEMO DATA, NOT FOR UPLOAD")
    elif metrics.test_rows != TEST_ROWS:
        table.add_row(
            "submission",
            f"NOT FOR UPLOAD: it has {metrics.test_rows:,} rows, the competition's {TEST_ROWS:,}",
        )
    table.add_row("submission file", str(submission))
    table.add_row("everything else", f"{folder}/ (metrics.json, manifest.json, fits/ ...)")
    return table


def _with_interval(score: Score) -> str:
    low, high = score.interval
    return (
        f"{score.accuracy:.5f} ({score.errors} of {score.rows:,} wrong; 95 % interval {low:.5f} to "
        f"{high:.5f})"
    )
