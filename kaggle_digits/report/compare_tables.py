"""Comparison of runs -> what the terminal shows: scores and costs, and which differences count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from rich.console import Group

from kaggle_digits.report.fitted_table import FittedTable
from kaggle_digits.report.run_list_table import LEAST_NAME, TEXTS, columns_of
from kaggle_digits.report.search_tables import THESE_NETS
from kaggle_digits.results.comparison import Comparison, PairTest, RunEntry
from kaggle_digits.results.search_records import LEVEL
from kaggle_digits.system.console import NO_BREAK, Fact, Facts, count_of

SHOWN = (
    "name",
    "accuracy",
    "wrong",
    "95 % interval",
    "expected",
    "Kaggle",
    "image passes",
    "wall time",
    "parameters",
    "notes",
)
DISPENSABLE = ("expected", "Kaggle", "wrong", "notes")  # on a narrow terminal, this one first
SHOWN_ROWS = 8  # on which the runs differ most; the page shows more
NOT_SET = "has none"  # of a setting that another run has
KINDS = {"even": "strong", "different": "good"}  # tone -> how it looks
INTERVALS = (
    "Each interval is of one run alone; the tests are finer, because they pair the same rows."
)
OTHER_FOLDS = (
    "Runs over other folds: the nets behind a row were trained on other rows, which counts as a "
    "difference too."
)
HOLM = "With several tests one looks significant by luck alone; p is corrected by Holm's method."
OPTIMISTIC = (
    "looks better than it is: a search chose its settings by these rows, or its training looked at "
    "them, to stop early or to lower its learning rate."
)
Tone = Literal["even", "different"]


def tone(test: PairTest) -> Tone:
    """Return whether a test finds a difference, at the 5 % level."""
    return "different" if test.corrected < LEVEL else "even"


def marked(run: RunEntry) -> str:
    """Return the name of a run, with a mark where its figures are optimistic."""
    return f"{run.name} (optimistic)" if run.optimistic else run.name


def verdict(test: PairTest, runs: Iterable[RunEntry]) -> str:
    """Write what a test finds.

    Args:
        test: of two runs.
        runs: all that are compared; where one of the two is optimistic, the verdict names both.
    """
    names = {run.name: marked(run) for run in runs}
    one, other = names[test.one], names[test.other]
    is_marked = (one, other) != (test.one, test.other)
    if tone(test) == "even":
        return "no significant difference" + (f" between {one} and {other}" if is_marked else "")
    better, worse = (one, other) if test.only_one_wrong < test.only_other_wrong else (other, one)
    return f"{better} is significantly better" + (f" than {worse}" if is_marked else "")


def evidence(test: PairTest) -> str:
    """Write what a verdict rests on."""
    text = (
        f"of {count_of(test.rows, 'row')} {test.only_one_wrong:,} wrong only by {test.one}, "
        f"{test.only_other_wrong:,} only by {test.other}, McNemar's exact test, "
        f"p{NO_BREAK}={NO_BREAK}{test.p_value:.2g}"
    )
    is_corrected = test.corrected != test.p_value
    return text + (f", corrected{NO_BREAK}{test.corrected:.2g}" if is_corrected else "")


def scope(comparison: Comparison) -> Iterator[str]:
    """Yield what the tests can and cannot say."""
    yield INTERVALS
    yield THESE_NETS
    if len(comparison.tests) > 1:
        yield HOLM
    if not all(test.same_folds for test in comparison.tests):
        yield OTHER_FOLDS
    for name in dict.fromkeys(marked(run) for run in comparison.runs if run.optimistic):
        yield f"{name} {OPTIMISTIC}"


def compare_tables(comparison: Comparison) -> Group:
    """Show runs side by side and what the tests say.

    Args:
        comparison: of runs.

    Returns:
        A table that leaves columns out where the terminal is narrow, and facts.
    """
    return Group(
        _runs(comparison.runs),
        Facts(
            {
                "Settings that differ": list(_settings(comparison)),
                "Paired tests": list(_tests(comparison)),
                _rows_heading(comparison): list(_rows(comparison)),
                "": [Fact("note", note) for note in scope(comparison)],
            }
        ),
    )


def _runs(runs: tuple[RunEntry, ...]) -> FittedTable:
    return FittedTable(columns_of(runs, SHOWN), "name", LEAST_NAME, DISPENSABLE, TEXTS)


def _settings(comparison: Comparison) -> Iterator[Fact]:
    for setting in comparison.settings:
        values = (
            f"{run.name} {NOT_SET if value is None else value}"
            for run, value in zip(comparison.runs, setting.values, strict=True)
        )
        yield Fact(setting.key, "; ".join(values))


def _tests(comparison: Comparison) -> Iterator[Fact]:
    for test in comparison.tests:
        yield Fact(f"{test.one}, {test.other}", verdict(test, comparison.runs), KINDS[tone(test)])
        yield Fact("", evidence(test))


def _rows_heading(comparison: Comparison) -> str:
    rows = count_of(comparison.rows, "row")
    return (
        f"{comparison.disputed:,} of {rows} get different classes; they differ most on "
        "these (class, probability of the label)"
    )


def _rows(comparison: Comparison) -> Iterator[Fact]:
    for each in comparison.differences[:SHOWN_ROWS]:
        said = ", ".join(
            f"{run.name} {predicted} ({probability:.2f})"
            for run, predicted, probability in zip(
                comparison.runs, each.predicted, each.probabilities, strict=True
            )
        )
        yield Fact(f"row {each.row + 1}", f"labelled {each.label}: {said}")
