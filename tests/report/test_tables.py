from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kaggle_digits.report import tables
from kaggle_digits.results.search_records import (
    Findings,
    HoldoutComparison,
    HoldoutScore,
    TrialResult,
)

START = {"train.epochs": 7, "train.learning_rate": 0.008, "augment.rotate": [-12.0, 12.0]}
SOON = TrialResult("0003", "d", {"train.epochs": 9}, folds_planned=4)  # nothing is known of it yet
NOTHING = "nothing: the config it began with"


def trial(name="0000", wrong=8, **changes):
    values = {
        "settings": dict(START),
        "status": "completed",
        "folds": 4,
        "folds_planned": 4,
        "rows": 2000,
        "errors": wrong,
        "accuracy": 1 - wrong / 2000,
        "log_loss": 0.0123456,
        "objective": 1 - wrong / 2000,
        "seconds_per_fit": 61.26,
        "flops": 1000,
    }
    return TrialResult(name, f"candidate of {name}", **values | changes)


def of(*trials, **facts):
    return Findings(facts.pop("objective", "accuracy"), tuple(START), START, trials, **facts)


def text_of(table, width=300):
    """A table as a terminal shows it, its lines without borders."""
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def rows_of(table):
    """The cells that a table shows, row by row."""
    lines = text_of(table).splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    return [row for row in cells if row]


# Texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123456, "0.001235"),
        (0.5, "0.5"),
        (1.0, "1"),
        (12, "12"),
        (None, "None"),
        ("adamw", "adamw"),
        ([-5.0, 5.0], "[-5.0, 5.0]"),
        ({"p": 0.5}, "{'p': 0.5}"),
    ],
)
def test_value_in_short(value, text):
    assert tables.text_of(value) == text


def test_long_value_is_cut():
    text = tables.text_of([{"width": width} for width in range(10, 40)])
    assert len(text) <= tables.LONGEST
    assert text.startswith("[{'width': 10}, {'width': 11}")
    assert text.endswith(" ...")


def test_changes_are_told_against_the_start():
    findings = of()
    assert tables.changes(findings, trial()) == NOTHING
    changed = trial(settings=START | {"train.epochs": 9, "augment.rotate": [-5.0, 5.0]})
    assert tables.changes(findings, changed) == "train.epochs=9, augment.rotate=[-5.0, 5.0]"
    # A setting that is not in force is no change.
    assert tables.changes(findings, trial(settings={"train.learning_rate": 0.0012345})) == (
        "train.learning_rate=0.001234"
    )


def test_score():
    assert tables.score(of(), SOON) == "-"
    assert tables.score(of(), trial(wrong=8)) == "0.99600 (8 of 2,000 wrong)"
    assert tables.score(of(objective="log_loss"), trial()) == "log loss 0.01235"


# Lines


def test_line_of_the_first_fold():
    first = trial(status="running", folds=1, rows=500, wrong=2, accuracy=0.996)
    assert tables.line(of(first), first) == (
        "trial 0000: running; fold 1 of 4, 0.99600 (2 of 500 wrong), 61.3 s a fit"
    )


def test_line_names_the_best_so_far():
    best, worse = trial("0001", wrong=4), trial("0002", wrong=9)
    end = "; best so far: trial 0001, 0.99800 (4 of 2,000 wrong)"
    assert tables.line(of(best, worse), worse) == (
        f"trial 0002: completed; fold 4 of 4, 0.99550 (9 of 2,000 wrong), 61.3 s a fit{end}"
    )
    assert tables.line(of(best, SOON), SOON) == f"trial 0003: running; fold 0 of 4, -{end}"


def test_line_says_why_a_trial_ended():
    failed = replace(SOON, status="failed", reason="cnn fold 1 is sick: the loss was nan")
    assert tables.line(of(failed), failed) == (
        "trial 0003: failed, cnn fold 1 is sick: the loss was nan; fold 0 of 4, -"
    )


# The live table


def test_table_of_a_search_that_begins():
    shown = text_of(tables.table(of(), "starting"))
    assert "starting" in shown
    assert rows_of(tables.table(of(), "starting")) == []


def test_table_by_hand():
    failed = replace(SOON, status="failed", reason="sick")
    stopped = trial(
        "0002", wrong=30, folds=2, rows=1000, accuracy=0.97, status="stopped early", settings={}
    )
    findings = of(trial(), trial("0001", wrong=4, settings={"train.epochs": 9}), stopped, failed)
    table = tables.table(findings, "trial 0004: cnn fold 1, epoch 2.5/7")
    assert rows_of(table) == [
        ["0000", NOTHING, "4/4", "0.99600 (8 of 2,000 wrong)", "61.3", "completed"],
        ["0001", "train.epochs=9", "4/4", "0.99800 (4 of 2,000 wrong)", "61.3", "best"],
        ["0002", NOTHING, "2/4", "0.97000 (30 of 1,000 wrong)", "61.3", "stopped early"],
        ["0003", "train.epochs=9", "0/4", "-", "-", "failed"],
    ]
    shown = text_of(table)
    assert shown.rstrip().endswith("trial 0004: cnn fold 1, epoch 2.5/7")
    for title in ("trial", "changes", "folds", "accuracy", "s a fit"):
        assert title in shown.splitlines()[1]


def test_table_names_the_objective():
    assert (
        "log loss" in text_of(tables.table(of(trial(), objective="log_loss"), "")).splitlines()[1]
    )


def test_table_of_many_trials_keeps_the_best_in_sight():
    trials = [trial(f"{number:04}", wrong=20) for number in range(20)]
    trials[3] = trial("0003", wrong=1)
    names = [row[0] for row in rows_of(tables.table(of(*trials), ""))]
    assert names == ["0003", *(f"{number:04}" for number in range(8, 20))]
    # Among the latest ones it stands where it is.
    trials[3], trials[15] = trials[15], trial("0015", wrong=0)
    rows = rows_of(tables.table(of(*trials), ""))
    assert [row[0] for row in rows] == [f"{number:04}" for number in range(8, 20)]
    assert [row[0] for row in rows if row[-1] == "best"] == ["0015"]


def test_running_trials_stand_in_the_table_while_there_is_no_best():
    rows = rows_of(tables.table(of(SOON, trial("0004", status="running", folds=1)), ""))
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("0003", "0/4", "running"),
        ("0004", "1/4", "running"),
    ]


def test_table_fits_a_narrow_terminal():
    long = trial(settings={"model.stages": [{"width": width} for width in range(30)]})
    lines = text_of(tables.table(of(long), "doing"), width=60).splitlines()
    assert max(map(len, lines)) <= 60


# The result


def side(errors, rows=1000):
    return HoldoutScore(rows, errors, 1 - errors / rows, (0.98765, 0.99876), 61.26)


def check(only_start, only_best, p_value, folds=(5, 6)):
    return HoldoutComparison(folds, side(12), side(4), only_start, only_best, p_value)


@pytest.mark.parametrize(
    ("only_start", "only_best", "p_value", "words"),
    [
        (9, 1, 0.021484375, "the best is significantly better"),
        (1, 9, 0.021484375, "the best is significantly worse"),
        (9, 1, 0.05, "no significant difference"),
        (9, 1, 0.0499, "the best is significantly better"),
        (0, 0, 1.0, "no significant difference"),
    ],
)
def test_verdict(only_start, only_best, p_value, words):
    assert tables.verdict(check(only_start, only_best, p_value)) == words


SIDE = "{} of 1,000 wrong; 95 % interval 0.98765 to 0.99876), 61.3 s a fit"


def test_result_of_nothing():
    assert rows_of(tables.result(of())) == [["trials", ""]]
    failed = replace(SOON, status="failed")
    assert rows_of(tables.result(of(failed))) == [["trials", "1 failed"]]


def test_result_by_hand():
    findings = of(
        trial(),
        trial("0001", wrong=4, settings={"train.epochs": 9}),
        trial("0002", status="stopped early"),
        check=check(9, 1, 0.021484375),
        against={"quick": check(3, 4, 1.0)},
        facts={"wall time": "1 h 20 min"},
    )
    table = tables.result(findings)
    assert rows_of(table) == [
        ["best trial", "0001: train.epochs=9"],
        ["on the folds of the search", "0.99800 (4 of 2,000 wrong), optimistic: it was picked"],
        ["trials", "2 completed, 1 stopped early"],
        ["untouched fold 5, 6: the config it began with", SIDE.format("0.98800 (12")],
        ["untouched fold 5, 6: the best", SIDE.format("0.99600 (4")],
        [
            "difference",
            "the best is significantly better: 9 rows that only the config it began with gets "
            "wrong, 1 that only the best gets wrong (McNemar's exact test, p = 0.021)",
        ],
        ["untouched fold 5, 6: quick", SIDE.format("0.98800 (12")],
        ["untouched fold 5, 6: the best", SIDE.format("0.99600 (4")],
        [
            "difference",
            "no significant difference: 3 rows that only quick gets wrong, 4 that only the best "
            "gets wrong (McNemar's exact test, p = 1)",
        ],
        ["wall time", "1 h 20 min"],
    ]
    assert "Result of the search" in text_of(table).splitlines()[0]
