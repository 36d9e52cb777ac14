import io
from dataclasses import replace

import pytest
from rich.console import Console

from kaggle_digits.report import compare_tables
from kaggle_digits.results.comparison import (
    Comparison,
    PairTest,
    RowDifference,
    RunEntry,
    SettingDifference,
)

A = RunEntry(
    "quick-1", "run", accuracy=0.9944, wrong=235, rows=42_000, low=0.99364, high=0.99507,
    image_passes=586_000, seconds=257.0, parameters=165_634,
)  # fmt: skip
B = replace(A, name="standard-1", accuracy=0.99605, wrong=166, seconds=1548.0, optimistic=True)
TEST = PairTest("quick-1", "standard-1", 42_000, 120, 51, 1.5e-7, 1.5e-7, same_folds=True)
SETTINGS = (
    SettingDifference("train.epochs", ("7", "12")),
    SettingDifference("members.x", (None, "{}")),
)
PAIR = Comparison(
    (A, B), SETTINGS, (TEST,), 42_000, 171, (RowDifference(77, 4, (4, 9), (0.9, 0.25)),)
)


def shown(comparison, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(compare_tables.compare_tables(comparison))
    return console.file.getvalue()


def test_side_by_side():
    head, _, first, second = shown(PAIR).splitlines()[:4]
    for name in ("accuracy", "95 % interval", "image passes", "wall time", "parameters"):
        assert name in head
    for text in ("quick-1", "0.99440", "0.99364-0.99507", "586 k", "4 min 17 s", "166 k"):
        assert text in first
    assert "25 min 48 s" in second


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal(width):
    assert max(map(len, shown(PAIR, width).splitlines())) <= width


@pytest.mark.parametrize(
    ("one", "other", "p", "verdict", "tone"),
    [
        (120, 51, 0.049, "standard-1 is significantly better", "different"),
        (51, 120, 0.049, "quick-1 is significantly better", "different"),
        (120, 51, 0.05, "no significant difference", "even"),
    ],
)
def test_verdict_rests_on_the_corrected_p_value(one, other, p, verdict, tone):
    test = replace(TEST, only_one_wrong=one, only_other_wrong=other, p_value=p / 3, corrected=p)
    assert compare_tables.verdict(test, (A, replace(B, optimistic=False))) == verdict
    assert compare_tables.tone(test) == tone


def test_evidence():
    words = " ".join(shown(PAIR, 200).split())
    assert (
        "of 42,000 rows 120 wrong only by quick-1, 51 only by standard-1, McNemar's exact test, "
        "p = 1.5e-07" in words
    )
    assert "corrected" not in words
    both = replace(PAIR, tests=(replace(TEST, corrected=4.5e-7),))
    assert "p = 1.5e-07, corrected 4.5e-07" in " ".join(shown(both, 200).split())


def test_rows_on_which_they_differ():
    text = shown(PAIR, 120)
    assert (
        "171 of 42,000 rows get different classes; they differ most on these (class, prob" in text
    )
    assert "row 78" in text
    assert "labelled 4: quick-1 4 (0.90), standard-1 9 (0.25)" in text


def test_settings_that_differ():
    words = " ".join(shown(PAIR, 120).split())
    assert "train.epochs quick-1 7; standard-1 12" in words
    assert "members.x quick-1 has none; standard-1 {}" in words
    assert "Settings" not in shown(replace(PAIR, settings=()))


def test_scope_of_a_pair():
    assert list(compare_tables.scope(replace(PAIR, runs=(A, A)))) == [
        compare_tables.INTERVALS,
        compare_tables.THESE_NETS,
    ]


def test_optimistic_runs_are_named_with_all_reasons():
    *_, said = compare_tables.scope(PAIR)
    assert said.split()[:5] == ["standard-1", "(optimistic)", "looks", "better", "than"]
    assert "a search chose its settings" in said
    assert "to stop early" in said


@pytest.mark.parametrize(
    ("one", "other", "p", "verdict"),
    [
        (120, 51, 0.049, "standard-1 (optimistic) is significantly better than quick-1"),
        (51, 120, 0.049, "quick-1 is significantly better than standard-1 (optimistic)"),
        (120, 51, 0.05, "no significant difference between quick-1 and standard-1 (optimistic)"),
    ],
)
def test_verdict_marks_optimistic_runs(one, other, p, verdict):
    test = replace(TEST, only_one_wrong=one, only_other_wrong=other, corrected=p)
    assert compare_tables.verdict(test, (A, B)) == verdict


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_mark_stays_on_a_narrow_terminal(width):
    words = " ".join(shown(PAIR, width).partition("Paired tests")[2].split())
    assert words.startswith("quick-1, standard-1 standard-1 (optimistic) is")


def test_scope_of_several_runs_over_other_folds():
    tests = (TEST, replace(TEST, same_folds=False))
    said = list(compare_tables.scope(replace(PAIR, tests=tests)))
    assert compare_tables.HOLM in said
    assert compare_tables.OTHER_FOLDS in said
