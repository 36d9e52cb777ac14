import io

import pytest
from rich.console import Console

from kaggle_digits.report.fitted_table import FittedTable, cell

COLUMNS = {
    "name": ["quick-1", "a-very-long-name"],
    "accuracy": ["0.99440", "0.99605"],
    "cost": ["4 min", "25 min"],
    "date": ["2026-11-21", "2026-11-22"],
}


def shown(width, dispensable=("date", "cost")):
    table = FittedTable(
        {name: [cell(text) for text in texts] for name, texts in COLUMNS.items()},
        flexible="name",
        least=7,
        dispensable=dispensable,
        texts={"name", "date"},
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()


def test_all_columns_where_there_is_room():
    head, _, first, _ = shown(80)
    assert head.split() == ["name", "accuracy", "cost", "date"]
    assert first.split() == ["quick-1", "0.99440", "4", "min", "2026-11-21"]


@pytest.mark.parametrize(
    ("width", "columns"),
    [(43, "name accuracy cost date"), (35, "name accuracy cost"), (24, "name accuracy")],
)
def test_columns_are_left_out_in_their_order(width, columns):
    assert shown(width)[0].split() == columns.split()


def test_figures_are_never_broken_and_names_are_cut():
    head, _, first, second = shown(24)
    assert len(head.rstrip()) <= 24
    assert first.split() == ["quick-1", "0.99440"]
    assert second.endswith("0.99605")
    assert "\N{HORIZONTAL ELLIPSIS}" in second


def test_a_column_that_is_not_there_cannot_be_left_out():
    assert shown(24, dispensable=("absent", "date", "cost"))[0].split() == ["name", "accuracy"]
