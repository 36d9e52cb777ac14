import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kaggle_digits.report import search_tables
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    HoldoutScore,
    Objective,
    Resolution,
    SearchRecord,
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
    objective = Objective(facts.pop("objective", "accuracy"))
    return SearchRecord(objective, tuple(START), START, trials, **facts)


def text_of(table, width=300):
    """What a terminal of a width shows."""
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def cells_of(record, width=300):
    """The cells of the live table, row by row, without its head and foot."""
    lines = text_of(search_tables.SearchProgress(record, "doing"), width).splitlines()
    return [re.split(r"  +", line.strip()) for line in lines[2:-1]]


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
    assert search_tables.text_of(value) == text


def test_long_value_is_cut():
    text = search_tables.text_of([{"width": width} for width in range(10, 40)])
    assert len(text) <= search_tables.LONGEST
    assert text.startswith("[{'width': 10}, {'width': 11}")
    assert text.endswith(" ...")


def test_changes_are_relative_to_the_start():
    record = of()
    assert search_tables.changes(record, trial()) == NOTHING
    changed = trial(settings=START | {"train.epochs": 9, "augment.rotate": [-5.0, 5.0]})
    assert search_tables.changes(record, changed) == "train.epochs=9, augment.rotate=[-5.0, 5.0]"
    # A setting that is not in force is no change.
    assert search_tables.changes(record, trial(settings={"train.learning_rate": 0.0012345})) == (
        "train.learning_rate=0.001234"
    )


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["train.learning_rate", "train.epochs"], ["learning_rate", "epochs"]),
        # Two of a name keep what tells them apart, and a name begins with a word.
        (["model.stages.0.width", "model.stages.1.width"], ["stages.0.width", "stages.1.width"]),
        (["model.stages.0.width"], ["width"]),
        (["augment.elastic.p", "augment.grid.p"], ["elastic.p", "grid.p"]),
        (["augment.elastic.p"], ["elastic.p"]),
        (["a.p", "seed"], ["a.p", "seed"]),
        (["members.big.seed", "seed"], ["big.seed", "seed"]),
        ([], []),
    ],
)
def test_short_names(keys, names):
    assert search_tables.short_names(keys) == dict(zip(keys, names, strict=True))


def test_changes_by_short_names():
    changed = trial(settings=START | {"train.epochs": 9, "train.learning_rate": 0.25})
    assert search_tables.changes(of(), changed, {"train.epochs": "epochs"}) == (
        "epochs=9, train.learning_rate=0.25"
    )


# Lines


def test_line_of_the_first_fold():
    first = trial(status="running", folds=1, rows=500, wrong=2, accuracy=0.996)
    assert search_tables.line(of(first), first) == (
        "trial 0000: running; 1 of 4 folds: 0.99600 (2 of 500 wrong), 61.3 s per fit"
    )


def test_line_names_the_best_so_far():
    best, worse = trial("0001", wrong=4), trial("0002", wrong=9)
    end = "; best so far: trial 0001, 0.99800 (4 of 2,000 wrong)"
    assert search_tables.line(of(best, worse), worse) == (
        f"trial 0002: completed; 4 of 4 folds: 0.99550 (9 of 2,000 wrong), 61.3 s per fit{end}"
    )
    assert search_tables.line(of(best, SOON), SOON) == f"trial 0003: running; 0 of 4 folds{end}"
    assert search_tables.line(of(best, worse), best) == (
        "trial 0001: completed; 4 of 4 folds: 0.99800 (4 of 2,000 wrong), 61.3 s per fit; best so "
        "far"
    )


def test_line_of_a_single_fold():
    soon = replace(SOON, folds_planned=1)
    assert search_tables.line(of(soon), soon) == "trial 0003: running; 0 of 1 fold"


def test_line_says_why_a_trial_ended():
    failed = replace(SOON, status="failed", reason="cnn fold 1 diverged (loss is nan)")
    assert search_tables.line(of(failed), failed) == (
        "trial 0003: failed, cnn fold 1 diverged (loss is nan); 0 of 4 folds"
    )


# The live table


def test_table_of_a_search_that_begins():
    shown = text_of(search_tables.SearchProgress(of(), "starting"))
    assert shown.splitlines()[-1] == "starting"
    assert cells_of(of()) == []


def test_table_by_hand():
    failed = replace(SOON, status="failed", reason="diverged")
    stopped = trial(
        "0002", wrong=30, folds=2, rows=1000, accuracy=0.97, status="stopped early", settings={}
    )
    record = of(trial(), trial("0001", wrong=4, settings={"train.epochs": 9}), stopped, failed)
    assert cells_of(record) == [
        ["0000", NOTHING, "4/4", "0.99600", "8 of 2,000", "61.3", "completed"],
        ["0001", "epochs=9", "4/4", "0.99800", "4 of 2,000", "61.3", "best"],
        ["0002", NOTHING, "2/4", "0.97000", "30 of 1,000", "61.3", "stopped early"],
        ["0003", "epochs=9", "0/4", "-", "-", "-", "failed"],
    ]
    shown = text_of(search_tables.SearchProgress(record, "trial 0004: cnn fold 1, epoch 2.5/7"))
    head, *_, foot = shown.splitlines()
    assert re.split(r"  +", head.strip()) == [
        *("trial", "changes", "folds", "accuracy", "wrong", "s per fit", "state")
    ]
    assert foot == "trial 0004: cnn fold 1, epoch 2.5/7"


def test_table_names_the_objective():
    shown = text_of(search_tables.SearchProgress(of(trial(), objective="log_loss"), ""))
    assert "log loss" in shown.splitlines()[0]
    assert "0.01235" in shown


def test_table_of_many_trials_keeps_the_best_in_sight():
    trials = [trial(f"{number:04}", wrong=20) for number in range(20)]
    trials[3] = trial("0003", wrong=1)
    names = [row[0] for row in cells_of(of(*trials))]
    assert names == ["0003", *(f"{number:04}" for number in range(8, 20))]
    # Among the latest ones it stands where it is.
    trials[3], trials[15] = trials[15], trial("0015", wrong=0)
    rows = cells_of(of(*trials))
    assert [row[0] for row in rows] == [f"{number:04}" for number in range(8, 20)]
    assert [row[0] for row in rows if row[-1] == "best"] == ["0015"]


def test_running_trials_stand_in_the_table_while_there_is_no_best():
    rows = cells_of(of(SOON, trial("0004", status="running", folds=1)))
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("0003", "0/4", "running"),
        ("0004", "1/4", "running"),
    ]


LONG = {"train.learning_rate": 0.0025675, "train.epochs": 12, "augment.rotate": [-15.0, 15.0]}
FIGURES = {"wrong": "12,345 of 42,000", "s per fit": "1,061.3", "folds": "4/4"}


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(120, []), (80, ["wrong"]), (60, ["wrong", "s per fit"]), (50, list(FIGURES))],
)
def test_figures_stay_whole_and_a_trial_is_one_line(width, left_out):
    long = trial(
        "0011",
        wrong=12345,
        rows=42000,
        accuracy=0.70607,
        seconds_per_fit=1061.26,
        status="stopped early",
        settings=LONG,
    )
    progress = search_tables.SearchProgress(of(long), "fold 1, " * 40)
    head, _, row, foot = text_of(progress, width).splitlines()
    assert max(map(len, (head, row, foot))) <= width
    assert row.startswith("0011   learning_rate=0.0")
    assert "0.70607" in row
    assert row.endswith("  stopped early")
    for name, figure in FIGURES.items():
        assert (f" {figure} " in row) is (f" {name} " in head) is (name not in left_out)
    assert "…" in row or width == 120
    assert foot.endswith("…")


def test_what_a_trial_changes_is_cut_before_any_figure():
    long = trial("0011", status="stopped early", settings=LONG)
    lines = text_of(search_tables.SearchProgress(of(long), "doing"), width=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert re.fullmatch(r"0011 +lear.*… +0.99600  stopped early", lines[2])


# The result


def score(errors, rows=1000):
    return HoldoutScore(rows, errors, 1 - errors / rows, (0.98765, 0.99876), 61.26)


def comparison(only_reference, only_best, p_value, folds=(5, 6)):
    return HoldoutComparison(folds, score(12), score(4), only_reference, only_best, p_value)


@pytest.mark.parametrize(
    ("only_reference", "only_best", "p_value", "words"),
    [
        (9, 1, 0.021484375, "the best is significantly better"),
        (1, 9, 0.021484375, "the best is significantly worse"),
        (9, 1, 0.05, "no significant difference"),
        (9, 1, 0.0499, "the best is significantly better"),
        (0, 0, 1.0, "no significant difference"),
    ],
)
def test_verdict(only_reference, only_best, p_value, words):
    assert search_tables.verdict(comparison(only_reference, only_best, p_value)) == words


@pytest.mark.parametrize(
    ("only_reference", "only_best", "p_value", "tone"),
    [(9, 1, 0.02, "good"), (1, 9, 0.02, "bad"), (9, 1, 0.05, "even")],
)
def test_tone(only_reference, only_best, p_value, tone):
    assert search_tables.tone(comparison(only_reference, only_best, p_value)) == tone


def test_evidence_has_the_right_plural():
    assert search_tables.evidence(comparison(1, 2000, 0.5), "quick") == (
        "1 row wrong only by quick, 2,000 only by the best, McNemar's exact test, p = 0.5"
    )
    assert search_tables.evidence(comparison(2, 0, 0.000142), "it").startswith("2 rows wrong only")


def test_holdout_folds_are_named():
    assert search_tables.holdout(comparison(1, 1, 1)) == "holdout folds 5, 6"
    assert search_tables.holdout(comparison(1, 1, 1, folds=(3,))) == "holdout fold 3"


SCORE = "{} of 1,000 rows wrong), 95 % interval 0.98765 to 0.99876, 61.3 s per fit"


COMMAND, BEST, PAGE = (
    "kaggle-digits run --config s/best.yaml",
    Path("s/best.yaml"),
    Path("s/r.html"),
)


def facts_of(record):
    """(label, value) by heading."""
    sections = search_tables.search_result(record, COMMAND, BEST, PAGE).sections
    return {heading: [(f.label, f.value) for f in facts] for heading, facts in sections.items()}


def test_result_of_nothing():
    assert facts_of(of()) == {
        "Result of the search": [("best trial", "none is completed yet")],
        "Next": [],
        "Trials and costs": [("trials", "0"), ("all trials", "0 s of training")],
    }
    failed = replace(SOON, status="failed")
    assert facts_of(of(failed))["Trials and costs"][0] == ("trials", "1: 1 failed")


FOUND = of(
    trial(seconds=500.0),
    trial("0001", wrong=4, settings={"train.epochs": 9}, seconds=4300.0),
    trial("0002", status="stopped early"),
    check=comparison(9, 1, 0.021484375),
    against={"quick": comparison(3, 4, 1.0)},
    facts={"wall time": "1 h 30 min"},
    machine={"memory": "7.8 GiB"},
)


def test_result_by_hand():
    facts = facts_of(FOUND)
    assert facts["Result of the search"] == [
        ("best trial", "0001: 0.99800 (4 of 2,000 wrong)"),
        ("", "optimistic: it was picked by this figure"),
        ("it changes", "train.epochs=9"),
        ("holdout folds 5, 6", SCORE.format("0.99600 (4")),
        ("against the start", "the best is significantly better"),
        (
            "",
            "9 rows wrong only by the start, 1 only by the best, McNemar's exact test, p = 0.021",
        ),
        ("the start", SCORE.format("0.98800 (12")),
        ("against quick", "no significant difference"),
        ("", "3 rows wrong only by quick, 4 only by the best, McNemar's exact test, p = 1"),
        ("quick", SCORE.format("0.98800 (12")),
        ("note", search_tables.SCOPE),
    ]
    assert "these trained nets on these rows, not about the configs" in search_tables.SCOPE
    assert facts["Next"] == [
        ("train the best", COMMAND),
        ("its config", "s/best.yaml"),
        ("the page", "s/r.html"),
    ]
    assert facts["Trials and costs"] == [
        ("trials", "3: 2 completed, 1 stopped early"),
        ("one fit of the best", "61.3 s of training"),
        ("all trials", "1 h 20 min of training"),
        ("wall time", "1 h 30 min"),
        ("memory", "7.8 GiB"),
    ]


@pytest.mark.parametrize("is_demo", [True, False])
def test_demo_data_is_the_first_thing_said(is_demo):
    first = facts_of(replace(FOUND, demo_data=is_demo))["Result of the search"][0]
    assert (first == ("DEMO DATA", search_tables.DEMO)) is is_demo


def test_data_that_is_not_for_upload_is_the_first_thing_said():
    found = facts_of(replace(FOUND, not_for_upload="trained on MNIST"))["Result of the search"]
    assert found[0] == ("NOT FOR UPLOAD", "the trials' nets are trained on MNIST")


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        (Resolution("0003", 20, 0.31), "the typical one, trial 0003, on 20 rows (p = 0.31): which"),
        (Resolution("0003", 1, 1.0), "trial 0003, on 1 row (p = 1): which"),
        (Resolution("0003", 2000, 0.049), None),
        (None, None),
    ],
)
def test_too_few_rows_are_said(resolution, words):
    found = replace(FOUND, resolution=resolution)
    warning = search_tables.too_few_rows(found)
    assert dict(facts_of(found)["Result of the search"]).get("TOO FEW ROWS") == warning
    assert (words in warning) if words else warning is None


def test_a_search_that_found_nothing_better_says_so_first():
    start = of(trial(), trial("0001", wrong=9, settings={"train.epochs": 9}))
    assert facts_of(start)["Next"][0][0] == "search more"
    worse = replace(FOUND, check=comparison(1, 9, 0.02))
    assert facts_of(worse)["Next"][0][0] == "search more"
    assert facts_of(FOUND)["Next"][0][0] == "train the best"
