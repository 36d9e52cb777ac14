"""Record of a search -> what the terminal shows: lines, the live table, the result, the costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from kaggle_digits.report.fitted_table import FittedTable, cell
from kaggle_digits.results.search_records import (
    LEVEL,
    HoldoutComparison,
    HoldoutScore,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.system.console import Fact, Facts, count_of, duration

SHOWN = 12  # trials in the live table; the page shows all
LONGEST = 80  # characters of a value
THESE_NETS = (
    "The comparison is about these trained nets on these rows, not about the configs: with one "
    "seed a fold, the noise between seeds counts as a difference."
)
SCOPE = (
    "Trials train on fewer rows than the check, so compare a figure with those of its own kind. "
    f"{THESE_NETS}"
)
DEMO = (
    "made on scikit-learn's small digits: these settings mean nothing for the competition; get the "
    "real files and give them with --data"
)
IN_FULL: Mapping[str, str] = MappingProxyType({})

LEAST_CHANGES = 20  # columns for what a trial changes, before others are left out
DISPENSABLE = ("wrong", "s per fit", "folds")  # columns of the live table, this one first
KINDS = {"good": "good", "bad": "bad", "even": "strong"}  # tone -> how it looks
STYLES = {
    "best": "bold green",
    "running": "cyan",
    "stopped early": "dim",
    "failed": "red",
    "out of bounds": "red",
}


# Texts


def text_of(value: Any) -> str:
    """Write a setting's value in short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(str(value), LONGEST, placeholder=" ...")


def changes(record: SearchRecord, trial: TrialResult, names: Mapping[str, str] = IN_FULL) -> str:
    """Write what a trial changes of the config that the search began with.

    Args:
        record: the search.
        trial: one of its trials.
        names: config key -> what it is called here; one that is not there is written in full.
    """
    different = [
        f"{names.get(key, key)}={text_of(value)}"
        for key, value in trial.settings.items()
        if value != record.start.get(key)
    ]
    return ", ".join(different) or "nothing: the config it began with"


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Shorten config keys to their last parts, as long as no two get the same name.

    A name begins with a word: `stages.0.width` and `elastic.p`, not `0.width` and `p`.
    """
    return {key: _short_name(key, keys) for key in keys}


def _short_name(key: str, keys: Sequence[str]) -> str:
    parts = key.split(".")
    for begin in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[begin:])
        is_word = len(parts[begin]) > 1 and not parts[begin].isdecimal()
        if is_word and sum(f".{other}".endswith(f".{name}") for other in keys) == 1:
            return name
    return key


def line(record: SearchRecord, trial: TrialResult) -> str:
    """Write how far a trial is in one line."""
    score, best = record.objective.text, record.best()
    reason = f", {trial.reason}" if trial.reason else ""
    found = f": {score(trial)}" if trial.folds else ""
    cost = f", {trial.seconds_per_fit:.1f} s per fit" if trial.seconds_per_fit else ""
    so_far = ""
    if best:
        is_best = best.trial == trial.trial
        so_far = "; best so far" + ("" if is_best else f": trial {best.trial}, {score(best)}")
    return (
        f"trial {trial.trial}: {trial.status}{reason}; {trial.folds} of "
        f"{count_of(trial.folds_planned, 'fold')}{found}{cost}{so_far}"
    )


def verdict(comparison: HoldoutComparison) -> str:
    """Write how the nets of the best compare, at the 5 % level; `SCOPE` says what it is about."""
    return {
        "good": "the best is significantly better",
        "bad": "the best is significantly worse",
        "even": "no significant difference",
    }[tone(comparison)]


def tone(comparison: HoldoutComparison) -> Literal["good", "bad", "even"]:
    """Return whether a verdict is good news of the best."""
    if comparison.p_value >= LEVEL:
        return "even"
    return "good" if comparison.only_reference_wrong > comparison.only_best_wrong else "bad"


def evidence(comparison: HoldoutComparison, name: str) -> str:
    """Write what a verdict rests on.

    Args:
        comparison: of the best config and another one.
        name: of the other one.
    """
    return (
        f"{count_of(comparison.only_reference_wrong, 'row')} wrong only by {name}, "
        f"{comparison.only_best_wrong:,} only by the best, McNemar's exact test, "
        f"p = {comparison.p_value:.2g}"
    )


def warnings(record: SearchRecord) -> list[tuple[str, str]]:
    """List what people have to know before they trust the figures: (label, text)."""
    found = []
    if record.demo_data:
        found.append(("DEMO DATA", DEMO))
    elif record.not_for_upload:
        found.append(("NOT FOR UPLOAD", f"the trials' nets are {record.not_for_upload}"))
    if text := too_few_rows(record):
        found.append(("TOO FEW ROWS", text))
    return found


def too_few_rows(record: SearchRecord) -> str | None:
    """Write that the rows do not tell trials apart, and what to do; None where they do.

    See `Resolution` for the test.
    """
    found = record.resolution
    if not (found and found.is_too_coarse):
        return None
    rows = count_of(found.rows, "row")
    return (
        f"the best trial cannot be told from the typical one, trial {found.trial}, on {rows} "
        f"(p = {found.p_value:.2g}): which one is best may well be luck; judge trials on more rows "
        "(tune.row_fraction, tune.holdout_folds, or more data)"
    )


def is_better(record: SearchRecord, best: TrialResult) -> bool:
    """Return whether the best trial changes something, and the check does not call it worse."""
    changes_something = any(value != record.start.get(key) for key, value in best.settings.items())
    return changes_something and not (record.check and tone(record.check) == "bad")


def holdout(comparison: HoldoutComparison) -> str:
    """Name the holdout folds of a comparison."""
    plural = "s" * (len(comparison.folds) > 1)
    return f"holdout fold{plural} {', '.join(map(str, comparison.folds))}"


# The live table


@dataclass(frozen=True)
class SearchProgress:
    """The latest trials of a search, the best one, and what is going on; a line each.

    Figures are never broken: on a narrow terminal what a trial changes is cut, and then columns are
    left out.

    Attributes:
        record: what has been found so far.
        activity: what is being done now.
    """

    record: SearchRecord
    activity: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table in the width that there is, and the activity."""
        texts = {"trial", "changes", "state"}
        yield FittedTable(self._columns(), "changes", LEAST_CHANGES, DISPENSABLE, texts)
        yield Text(self.activity, style="dim", no_wrap=True, overflow="ellipsis")

    def _columns(self) -> dict[str, list[Text]]:
        record, best = self.record, self.record.best()
        trials = record.trials[-SHOWN:]
        if best and best not in trials:
            trials = (best, *trials)
        names = short_names(record.keys)
        score = record.objective.label
        cells: dict[str, list[Text]] = {
            name: [] for name in ("trial", "changes", "folds", score, "wrong", "s per fit", "state")
        }
        for trial in trials:
            figure, seconds = record.objective.of(trial), trial.seconds_per_fit
            state = "best" if best and trial.trial == best.trial else trial.status
            row = {
                "trial": trial.trial,
                "changes": changes(record, trial, names),
                "folds": f"{trial.folds}/{trial.folds_planned}",
                score: "-" if figure is None else f"{figure:.5f}",
                "wrong": "-" if figure is None else f"{trial.errors:,} of {trial.rows:,}",
                "s per fit": f"{seconds:,.1f}" if seconds else "-",
                "state": state,
            }
            for name, text in row.items():
                cells[name].append(cell(text))
            cells["state"][-1].stylize(STYLES.get(state, ""))
        return cells


# The result


def search_result(record: SearchRecord, next_command: str, best: Path, page: Path) -> Facts:
    """Show what a search has found: the best, the honest check of it, and what limits both.

    Args:
        record: what has been found.
        next_command: what trains the best config.
        best: file of the best config.
        page: file of the page.

    Returns:
        Facts under headings.
    """
    next_steps = []
    if found := record.best():
        next_steps = [
            Fact("train the best", next_command, "command"),
            Fact("its config", str(best)),
            Fact("the page", str(page)),
        ]
        if not is_better(record, found):
            text = "nothing better than the start; give it more --trials or another tune.space"
            next_steps.insert(0, Fact("search more", text))
    return Facts(
        {
            "Result of the search": [*_found(record)],
            "Next": next_steps,
            "Trials and costs": [*_costs(record)],
        }
    )


def _found(record: SearchRecord) -> Iterator[Fact]:
    yield from (Fact(label, text, "warning") for label, text in warnings(record))
    best = record.best()
    if not best:
        yield Fact("best trial", "none is completed yet")
        return
    yield Fact("best trial", f"{best.trial}: {record.objective.text(best)}", "good")
    yield Fact("", "optimistic: it was picked by this figure")
    yield Fact("it changes", changes(record, best))
    comparisons = dict(record.comparisons())
    for found in list(comparisons.values())[:1]:  # the best is the same in all of them
        yield Fact(holdout(found), _score(found.best), "good")
    for name, found in comparisons.items():
        yield Fact(f"against {name}", verdict(found), KINDS[tone(found)])
        yield Fact("", evidence(found, name))
        yield Fact(name, _score(found.reference))
    if comparisons:
        yield Fact("note", SCOPE)


def _costs(record: SearchRecord) -> Iterator[Fact]:
    counts = record.counts()
    yield Fact("trials", f"{len(record.trials):,}" + (f": {counts}" if counts else ""))
    if best := record.best():
        yield Fact("one fit of the best", f"{best.seconds_per_fit:,.1f} s of training")
    yield Fact("all trials", f"{duration(record.seconds())} of training")
    for title, text in (record.facts | record.machine).items():
        yield Fact(title, text)


def _score(score: HoldoutScore) -> str:
    low, high = score.interval
    wrong = f"{score.errors:,} of {count_of(score.rows, 'row')} wrong"
    cost = f"{score.seconds_per_fit:,.1f} s per fit"
    return f"{score.accuracy:.5f} ({wrong}), 95 % interval {low:.5f} to {high:.5f}, {cost}"
