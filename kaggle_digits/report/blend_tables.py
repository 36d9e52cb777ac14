"""What joining runs gives -> what the terminal shows: each method's score, each member's weight."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from kaggle_digits.results.joined import BlendRecord, MemberWeight, MethodScore
from kaggle_digits.system.console import Fact, Facts, count_of

CHOSEN = "*"
NOTES = (
    "The figure of greedy is from weights fitted without the fold that is scored; its final "
    "weights, for the test rows, are fitted on all folds. Better and worse are rows that only the "
    "mean, or only this one, predicts wrongly; p is of McNemar's exact test, about these trained "
    "nets.",
    "To take the method that is best in this table is itself a little optimistic, unless it was "
    "chosen beforehand.",
)


def blend_tables(record: BlendRecord) -> Group:
    """Show what each method would have given out of fold, and how much each member counts.

    Args:
        record: what joining runs has given.

    Returns:
        Two tables that fit into 80 columns, and what to know of them.
    """
    rows = count_of(record.methods[0].score.rows, "row")
    return Group(
        Text(f"\nOut of fold, on {rows} that all members predict", "bold"),
        _scores(record),
        Text("\nWeights of the members", "bold"),
        _weights(record.weights),
        Facts({"": [Fact("note", note) for note in NOTES]}),
    )


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _scores(record: BlendRecord) -> Table:
    table = _table()
    table.add_column("method", overflow="fold")
    for name in ("wrong", "accuracy", "95 % interval", "against the mean", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for found in record.methods:
        is_chosen = found.name == record.method
        name = found.name + CHOSEN * is_chosen
        table.add_row(name, *_cells(found), style="bold" if is_chosen else "")
    table.add_section()
    for found in record.sources:
        table.add_row(f"{found.name} alone", *_cells(found))
    return table


def _cells(found: MethodScore) -> tuple[str, ...]:
    low, high = found.score.interval
    better = f"{found.only_mean_wrong:,} better, {found.only_this_wrong:,} worse"
    test = ("", "") if found.name == "mean" else (better, f"{found.p_value:.2g}")
    score = found.score
    return f"{score.errors:,}", f"{score.accuracy:.5f}", f"{low:.5f}-{high:.5f}", *test


def _weights(weights: Iterable[MemberWeight]) -> Table:
    table = _table()
    for name in ("member", "of"):
        table.add_column(name, overflow="fold")
    for name in ("equal", "greedy", "without a fold"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in weights:
        greedy = "-" if each.greedy is None else f"{each.greedy:.3f}"
        spread = "-" if each.least is None else f"{each.least:.3f} to {each.most:.3f}"
        table.add_row(each.member, each.source, f"{each.equal:.3f}", greedy, spread)
    return table
