from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kaggle_digits.report import tables
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.results.search_records import (
    HoldoutComparison,
    HoldoutScore,
    Objective,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.scoring.ensemble import Score

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


def test_changes_are_relative_to_the_start():
    record = of()
    assert tables.changes(record, trial()) == NOTHING
    changed = trial(settings=START | {"train.epochs": 9, "augment.rotate": [-5.0, 5.0]})
    assert tables.changes(record, changed) == "train.epochs=9, augment.rotate=[-5.0, 5.0]"
    # A setting that is not in force is no change.
    assert tables.changes(record, trial(settings={"train.learning_rate": 0.0012345})) == (
        "train.learning_rate=0.001234"
    )


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
    failed = replace(SOON, status="failed", reason="cnn fold 1 diverged (loss is nan)")
    assert tables.line(of(failed), failed) == (
        "trial 0003: failed, cnn fold 1 diverged (loss is nan); fold 0 of 4, -"
    )


# The live table


def test_table_of_a_search_that_begins():
    shown = text_of(tables.search_progress(of(), "starting"))
    assert "starting" in shown
    assert rows_of(tables.search_progress(of(), "starting")) == []


def test_table_by_hand():
    failed = replace(SOON, status="failed", reason="diverged")
    stopped = trial(
        "0002", wrong=30, folds=2, rows=1000, accuracy=0.97, status="stopped early", settings={}
    )
    record = of(trial(), trial("0001", wrong=4, settings={"train.epochs": 9}), stopped, failed)
    table = tables.search_progress(record, "trial 0004: cnn fold 1, epoch 2.5/7")
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
    table = tables.search_progress(of(trial(), objective="log_loss"), "")
    assert "log loss" in text_of(table).splitlines()[1]


def test_table_of_many_trials_keeps_the_best_in_sight():
    trials = [trial(f"{number:04}", wrong=20) for number in range(20)]
    trials[3] = trial("0003", wrong=1)
    names = [row[0] for row in rows_of(tables.search_progress(of(*trials), ""))]
    assert names == ["0003", *(f"{number:04}" for number in range(8, 20))]
    # Among the latest ones it stands where it is.
    trials[3], trials[15] = trials[15], trial("0015", wrong=0)
    rows = rows_of(tables.search_progress(of(*trials), ""))
    assert [row[0] for row in rows] == [f"{number:04}" for number in range(8, 20)]
    assert [row[0] for row in rows if row[-1] == "best"] == ["0015"]


def test_running_trials_stand_in_the_table_while_there_is_no_best():
    rows = rows_of(tables.search_progress(of(SOON, trial("0004", status="running", folds=1)), ""))
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("0003", "0/4", "running"),
        ("0004", "1/4", "running"),
    ]


def test_table_fits_a_narrow_terminal():
    long = trial(settings={"model.stages": [{"width": width} for width in range(30)]})
    lines = text_of(tables.search_progress(of(long), "doing"), width=60).splitlines()
    assert max(map(len, lines)) <= 60


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
    assert tables.verdict(comparison(only_reference, only_best, p_value)) == words


SCORE = "{} of 1,000 wrong; 95 % interval 0.98765 to 0.99876), 61.3 s a fit"


def test_result_of_nothing():
    assert rows_of(tables.search_result(of())) == [["trials", ""]]
    failed = replace(SOON, status="failed")
    assert rows_of(tables.search_result(of(failed))) == [["trials", "1 failed"]]


def test_result_by_hand():
    record = of(
        trial(),
        trial("0001", wrong=4, settings={"train.epochs": 9}),
        trial("0002", status="stopped early"),
        check=comparison(9, 1, 0.021484375),
        against={"quick": comparison(3, 4, 1.0)},
        facts={"wall time": "1 h 20 min"},
    )
    table = tables.search_result(record)
    assert rows_of(table) == [
        ["best trial", "0001: train.epochs=9"],
        ["on the folds of the search", "0.99800 (4 of 2,000 wrong), optimistic: it was picked"],
        ["trials", "2 completed, 1 stopped early"],
        ["holdout fold 5, 6: the config it began with", SCORE.format("0.98800 (12")],
        ["holdout fold 5, 6: the best", SCORE.format("0.99600 (4")],
        [
            "difference",
            "the best is significantly better: 9 rows that only the config it began with gets "
            "wrong, 1 that only the best gets wrong (McNemar's exact test, p = 0.021)",
        ],
        ["holdout fold 5, 6: quick", SCORE.format("0.98800 (12")],
        ["holdout fold 5, 6: the best", SCORE.format("0.99600 (4")],
        [
            "difference",
            "no significant difference: 3 rows that only quick gets wrong, 4 that only the best "
            "gets wrong (McNemar's exact test, p = 1)",
        ],
        ["note", tables.SCOPE],
        ["wall time", "1 h 20 min"],
    ]
    assert "these trained nets on these rows, not about the configs" in tables.SCOPE
    assert "Result of the search" in text_of(table).splitlines()[0]


# The result of a run

OF_RUN = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=2,
    fits_planned=2,
    oof_accuracy=0.997,
    oof_errors=126,
    oof_rows=42_000,
    oof_interval=(0.99643, 0.99748),
    expected_leaderboard=(0.99612, 0.99788),
    members={
        "cnn": MemberScore(
            126,
            42_000,
            0.997,
            (0.99643, 0.99748),
            {
                "fold1": Score(60, 21_000, 0.99714, (0.996, 0.998)),
                "fold2": Score(66, 21_000, 0.99686, (0.996, 0.998)),
            },
        )
    },
    test_rows=28_000,
    images_per_second=1234.5,
    wall_seconds=4800.0,
    saving_seconds=12.0,
    peak_memory_bytes=3 * 2**29,
)
RUN, SUBMISSION = Path("runs/mine"), Path("runs/mine/submission.csv")
OOF = "0.99700 (126 of 42,000 wrong; 95 % interval 0.99643 to 0.99748)"
COSTS = [
    ["wall time, all invocations", "1 h 20 min"],
    ["of it saving, hashing, syncing", "12.0 s (0.2 %)"],
    ["peak memory, main process", "1.50 GiB"],
]
PLACES = [
    ["submission file", "runs/mine/submission.csv"],
    ["everything else", "runs/mine/ (metrics.json, manifest.json, fits/ ...)"],
]


def result_of(**changes):
    return rows_of(tables.run_result(replace(OF_RUN, **changes), RUN, SUBMISSION))


def test_result_of_a_complete_run():
    assert result_of() == [
        ["out-of-fold accuracy", OOF],
        ["member cnn", "0.99700 (2 fits)"],
        ["expected leaderboard", "0.99612 to 0.99788 (95 %)"],
        ["training speed", "1,234 images/s"],
        *COSTS,
        *PLACES,
    ]
    title = text_of(tables.run_result(OF_RUN, RUN, SUBMISSION)).splitlines()[0]
    assert title.strip() == "Result"


def test_result_of_settings_that_a_search_chose():
    score = Score(7, 14_000, 0.9995, (0.99897, 0.99976))
    assert result_of(optimistic=True, holdout=score)[:3] == [
        ["out-of-fold accuracy", OOF],
        ["OPTIMISTIC", "a search chose these settings, perhaps by some of the same rows"],
        [
            "on rows that the search never saw",
            "0.99950 (7 of 14,000 wrong; 95 % interval 0.99897 to 0.99976)",
        ],
    ]
    without = result_of(optimistic=True)
    assert [row[0] for row in without[1:3]] == ["OPTIMISTIC", "member cnn"]


def test_result_of_a_run_that_is_not_complete():
    rows = result_of(complete=False, fits_finished=1, fits_planned=3)
    assert ["fits finished", "1 of 3 so far"] in rows
    assert "fits finished" not in [row[0] for row in result_of()]


def test_result_of_an_unfinished_fit_has_no_out_of_fold_figure():
    metrics = RunMetrics(
        complete=False,
        provisional=True,
        fits_finished=0,
        fits_planned=2,
        provisional_fit="cnn fold 1",
        test_rows=28_000,
        wall_seconds=4800.0,
        saving_seconds=12.0,
        peak_memory_bytes=3 * 2**29,
    )
    assert rows_of(tables.run_result(metrics, RUN, SUBMISSION)) == [
        ["PROVISIONAL", "from cnn fold 1, which is not finished; no out-of-fold figure yet"],
        ["fits finished", "0 of 2 so far"],
        *COSTS,
        *PLACES,
    ]


def test_result_names_skipped_fits_and_callbacks():
    skipped = {"cnn fold 2": "loss is nan in epoch 1", "big fold 1": "its predictions"}
    rows = result_of(skipped=skipped, callbacks=("mine:Watch", "mine:Save"))
    assert [row for row in rows if row[0] == "WARNING: skipped"] == [
        ["WARNING: skipped", "cnn fold 2 diverged: loss is nan in epoch 1"],
        ["WARNING: skipped", "big fold 1 diverged: its predictions"],
    ]
    assert ["callbacks", "mine:Watch, mine:Save"] in rows


def test_result_on_labelled_test_rows():
    rows = result_of(test=Score(3, 397, 0.99244, (0.97796, 0.99743)))
    assert ["test accuracy", "0.99244 (3 wrong)"] in rows


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, []),
        ({"demo_data": True, "test_rows": 397}, ["DEMO DATA, NOT FOR UPLOAD"]),
        ({"demo_data": True}, ["DEMO DATA, NOT FOR UPLOAD"]),
        (
            {"test_rows": 27_999},
            ["NOT FOR UPLOAD: it has 27,999 rows, the competition's 28,000"],
        ),
        ({"test_rows": 300}, ["NOT FOR UPLOAD: it has 300 rows, the competition's 28,000"]),
    ],
)
def test_submission_that_is_not_for_upload_is_called_so(changes, warning):
    assert [text for title, text in result_of(**changes) if title == "submission"] == warning
