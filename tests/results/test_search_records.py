import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.results import record
from kaggle_digits.results.search_records import (
    FORMAT,
    HoldoutComparison,
    HoldoutScore,
    LearningCurve,
    Objective,
    Resolution,
    SearchRecord,
    TrialResult,
)


def trial(name, wrong=10, seconds=60.0, folds=4, candidate=None, **changes):
    """A trial that has come to its end on folds of 100 rows each."""
    rows = 100 * folds
    values = {
        "candidate": candidate or f"candidate of {name}",
        "settings": {},
        "status": "completed",
        "folds": folds,
        "folds_planned": folds,
        "rows": rows,
        "errors": wrong if folds else None,
        "accuracy": 1 - wrong / rows if folds else None,
        "log_loss": wrong / 100 if folds else None,
        "seconds_per_fit": seconds if folds else None,
        "flops": 1000,
    }
    return TrialResult(name, **values | changes)


def of(*trials, objective="accuracy"):
    return SearchRecord(Objective(objective), (), {}, trials)


def names(trials):
    return [each.trial for each in trials]


def test_nothing_yet():
    for search in (of(), of(trial("0", folds=0, status="running"))):
        assert search.comparable() == []
        assert search.best() is None
        assert search.front() == []
    assert of().counts() == ""


def test_statuses_are_counted_in_their_order():
    search = of(
        trial("0", status="failed"),
        trial("1", status="stopped early"),
        trial("2", status="completed"),
        trial("3", status="failed"),
        trial("4", status="running"),
        trial("5", status="out of bounds"),
    )
    assert search.counts() == ("1 running, 1 completed, 1 stopped early, 2 failed, 1 out of bounds")
    assert names(search.with_status("failed")) == ["0", "3"]
    assert names(of(trial("0")).with_status("failed")) == []
    assert of(trial("0"), trial("1", status="failed")).counts() == "1 completed, 1 failed"


@pytest.mark.parametrize("status", ["running", "stopped early", "failed", "out of bounds"])
def test_only_whole_trials_are_compared(status):
    search = of(trial("0", wrong=9), trial("1", wrong=1, status=status), trial("2", wrong=5))
    assert names(search.comparable()) == ["0", "2"]
    assert search.best().trial == "2"
    assert names(search.front()) == ["2"]


def test_best_is_the_most_accurate():
    search = of(trial("0", wrong=7), trial("1", wrong=3), trial("2", wrong=4))
    assert search.best().trial == "1"
    assert search.objective.loss(search.best()) == pytest.approx(3 / 400)


def test_best_by_log_loss():
    # Fewer mistakes, but surer of them.
    trials = trial("0", wrong=3, log_loss=0.25), trial("1", wrong=7, log_loss=0.125)
    assert of(*trials).best().trial == "0"
    by_loss = of(*trials, objective="log_loss")
    assert by_loss.best().trial == "1"
    assert by_loss.objective.loss(trials[0]) == 0.25


def test_of_equals_the_one_with_fewer_sums_is_best_and_of_those_the_earlier_one():
    # Seconds differ from one day to the next, and do not decide.
    equals = [
        trial("00", flops=3000, seconds=1.0),
        trial("01", flops=2000, seconds=9.0),
        trial("02", flops=2000, seconds=2.0),
        trial("03", flops=1000, wrong=11),
    ]
    assert of(*equals).best().trial == "01"
    assert of(*reversed(equals)).best().trial == "01"


def test_front_by_hand():
    search = of(
        trial("dear and good", wrong=4, seconds=90.0),
        trial("cheap and poor", wrong=20, seconds=10.0),
        trial("dominated", wrong=12, seconds=40.0),
        trial("middle", wrong=8, seconds=30.0),
        trial("dear and no better", wrong=4, seconds=95.0),
        trial("as cheap but poorer", wrong=21, seconds=10.0),
    )
    assert names(search.front()) == ["cheap and poor", "middle", "dear and good"]
    assert search.best().trial == "dear and good"


def test_front_by_log_loss():
    search = of(
        trial("0", seconds=10.0, log_loss=0.5),
        trial("1", seconds=20.0, log_loss=0.5),
        trial("2", seconds=30.0, log_loss=0.25),
        objective="log_loss",
    )
    assert names(search.front()) == ["0", "2"]


def test_of_hyperband_only_trials_on_the_most_folds_are_compared():
    # Four candidates on one fold, two of them promoted to two, one to four.
    rounds = [
        trial("0", folds=1, wrong=1, candidate="a"),
        trial("1", folds=1, wrong=2, candidate="b"),
        trial("2", folds=1, wrong=0, candidate="c"),
        trial("3", folds=1, wrong=5, candidate="d"),
    ]
    assert of(*rounds).best().trial == "2"
    rounds += [
        trial("4", folds=2, wrong=4, candidate="a"),
        trial("5", folds=2, wrong=6, candidate="c"),
    ]
    assert names(of(*rounds).comparable()) == ["4", "5"]
    assert of(*rounds).best().trial == "4"
    # On its way to four folds it has no more than the others.
    rounds.append(trial("6", folds=3, wrong=5, candidate="a", status="running", folds_planned=4))
    assert of(*rounds).best().trial == "4"
    rounds[-1] = trial("6", folds=4, wrong=9, candidate="a")
    assert names(of(*rounds).comparable()) == ["6"]
    assert names(of(*rounds).front()) == ["6"]


def test_a_candidate_that_was_tried_twice_counts_once():
    search = of(
        trial("0", candidate="a", wrong=3),
        trial("1", candidate="b", wrong=5),
        trial("2", candidate="a", wrong=3),
    )
    assert names(search.comparable()) == ["2", "1"]
    assert search.best().candidate == "a"


# What trials are compared by, together


def scored(name, objective, **changes):
    return trial(name, objective=objective, **changes)


def test_scored_are_the_ended_trials_with_an_objective():
    search = of(
        scored("0", 0.9),
        scored("1", 0.8, status="stopped early"),
        scored("2", 0.7, status="running"),
        scored("3", None, status="failed", folds=0),
        scored("4", 0.6, candidate="promoted", folds=1),
        scored("5", 0.5, candidate="promoted", folds=2),
    )
    assert names(search.scored()) == ["0", "1", "5"]


@pytest.mark.parametrize(
    ("figures", "objective", "typical"),
    [
        ((0.9,), "accuracy", None),  # there is no other one
        ((0.9, 0.8), "accuracy", "1"),
        ((0.7, 0.9, 0.8), "accuracy", "2"),  # of the middle two the better one
        ((0.7, 0.9, 0.8, 0.85), "accuracy", "2"),
        ((0.7, 0.9, 0.8, 0.85), "log_loss", "3"),
        ((0.7, 0.9, 0.8), "log_loss", "2"),
    ],
)
def test_typical_is_the_middle_of_the_others(figures, objective, typical):
    search = of(
        *(
            scored(str(n), figure, wrong=round(400 * (1 - figure)), log_loss=figure)
            for n, figure in enumerate(figures)
        ),
        objective=objective,
    )
    found = search.typical()
    assert (found and found.trial) == typical
    assert of(scored("0", 0.9, status="stopped early")).typical() is None  # no best


def test_trials_of_a_candidate_share_their_seconds():
    search = of(
        TrialResult("0", "a", {}, seconds=10.0),
        TrialResult("1", "a", {}, seconds=25.0),
        TrialResult("2", "b", {}, seconds=4.0),
    )
    assert search.seconds() == 29.0
    assert of().seconds() == 0


def test_comparisons_begin_with_the_start():
    check = SEARCH.check
    whole = replace(of(), check=check, against={"quick": check, "mine": check})
    assert [name for name, _ in whole.comparisons()] == ["the start", "quick", "mine"]
    assert list(of().comparisons()) == []


@pytest.mark.parametrize(("p_value", "is_too_coarse"), [(0.0499, False), (0.05, True), (1.0, True)])
def test_resolution(p_value, is_too_coarse):
    assert Resolution("3", 100, p_value).is_too_coarse is is_too_coarse


# The objective

ACCURACY, LOG_LOSS = Objective.ACCURACY, Objective.LOG_LOSS
BEGUN = TrialResult("0", "d", {})
SCORED = TrialResult("1", "d", {}, rows=2000, errors=8, accuracy=0.996, log_loss=0.0123456)
ROWS = {"wrong": np.array([True, False, False, False]), "loss": np.array([2.0, 0.5, 0.25, 0.25])}


def test_names_are_those_of_a_config():
    assert Objective("accuracy") is ACCURACY
    assert Objective("log_loss") is LOG_LOSS
    assert (ACCURACY.label, LOG_LOSS.label) == ("accuracy", "log loss")
    assert (ACCURACY.direction, LOG_LOSS.direction) == ("max", "min")


def test_figure_of_a_trial():
    assert (ACCURACY.of(SCORED), LOG_LOSS.of(SCORED)) == (0.996, 0.0123456)
    assert ACCURACY.of(BEGUN) is LOG_LOSS.of(BEGUN) is None
    assert ACCURACY.loss(SCORED) == pytest.approx(0.004)
    assert LOG_LOSS.loss(SCORED) == 0.0123456


def test_figure_as_text():
    assert ACCURACY.text(BEGUN) == LOG_LOSS.text(BEGUN) == "-"
    assert ACCURACY.text(SCORED) == "0.99600 (8 of 2,000 wrong)"
    assert ACCURACY.text(replace(SCORED, errors=1234)) == "0.99600 (1,234 of 2,000 wrong)"
    assert LOG_LOSS.text(SCORED) == "log loss 0.01235"


def test_losses_of_rows_have_the_trials_loss_as_mean():
    assert ACCURACY.row_losses(ROWS).mean() == 0.25
    assert LOG_LOSS.row_losses(ROWS).mean() == 0.75


def test_worsened_is_worse():
    assert ACCURACY.worsened(0.98, 0.03) == pytest.approx(0.95)
    assert LOG_LOSS.worsened(0.25, 0.125) == 0.375


def test_p_value_of_mistakes():
    # Five rows that only the first gets wrong: luck has a chance of 1/2 each.
    own = np.array([True] * 5 + [False] * 45)
    assert ACCURACY.p_value_worse(own, np.zeros(50, bool)) == pytest.approx(1 / 32)
    assert ACCURACY.p_value_worse(np.zeros(50, bool), own) == 1
    assert ACCURACY.p_value_worse(own, own) == 1


def test_p_value_of_losses():
    # A fraction q of 50 rows has the same difference: t = q / sqrt(q (1 - q) / 49) = 1.769, with 49
    # degrees of freedom.
    own = np.array([0.5] * 3 + [0.25] * 47)
    other = np.full(50, 0.25)
    assert LOG_LOSS.p_value_worse(own, other) == pytest.approx(0.04160, abs=1e-5)
    assert LOG_LOSS.p_value_worse(other, own) == pytest.approx(1 - 0.04160, abs=1e-5)
    assert LOG_LOSS.p_value_worse(own, own) == 1


# Files


# As this version wrote them first; every later one reads them.
TRIAL_1 = """{"format": 1, "trial": "0003", "candidate": "abc", "settings": {"augment.rotate":
[-5.0, 5.0], "augment.variants": null}, "status": "stopped early", "reason": "worse", "folds": 2,
"folds_planned": 4, "rows": 1000, "errors": 30, "accuracy": 0.97, "log_loss": 0.125, "objective":
0.975, "seconds_per_fit": 61.25, "seconds": 130.5, "images_per_second": 4321.5, "parameters": 1234,
"flops": 10000000000, "peak_memory_bytes": 1099511627776}"""
SEARCH_1 = """{"format": 1, "objective": "log_loss", "keys": ["train.epochs"], "start":
{"train.epochs": 7}, "trials": [{"trial": "0", "candidate": "abc", "settings": {"train.epochs": 7},
"status": "running", "reason": null, "folds": 0, "folds_planned": 4, "rows": 0, "errors": null,
"accuracy": null, "log_loss": null, "objective": null, "seconds_per_fit": null, "seconds": 0.0,
"images_per_second": null, "parameters": null, "flops": null, "peak_memory_bytes": null}], "check":
{"folds": [5, 6], "reference": {"rows": 200, "errors": 12, "accuracy": 0.94, "interval": [0.9,
0.97], "seconds_per_fit": 3.0}, "best": {"rows": 200, "errors": 4, "accuracy": 0.98, "interval":
[0.95, 0.99], "seconds_per_fit": 4.0}, "only_reference_wrong": 9, "only_best_wrong": 1,
"p_value": 0.0215}, "against": {}, "facts": {"oracle": "random"}, "complete": true}"""
TRIAL = TrialResult(
    trial="0003",
    candidate="abc",
    settings={"augment.rotate": [-5.0, 5.0], "augment.variants": None},
    status="stopped early",
    reason="worse",
    folds=2,
    folds_planned=4,
    rows=1000,
    errors=30,
    accuracy=0.97,
    log_loss=0.125,
    objective=0.975,
    seconds_per_fit=61.25,
    seconds=130.5,
    images_per_second=4321.5,
    parameters=1234,
    flops=10**10,
    peak_memory_bytes=2**40,
)
SEARCH = SearchRecord(
    objective=Objective.LOG_LOSS,
    keys=("train.epochs",),
    start={"train.epochs": 7},
    trials=(TrialResult("0", "abc", {"train.epochs": 7}, folds_planned=4),),
    check=HoldoutComparison(
        folds=(5, 6),
        reference=HoldoutScore(200, 12, 0.94, (0.9, 0.97), 3.0),
        best=HoldoutScore(200, 4, 0.98, (0.95, 0.99), 4.0),
        only_reference_wrong=9,
        only_best_wrong=1,
        p_value=0.0215,
    ),
    facts={"oracle": "random"},
    complete=True,
)


@pytest.mark.parametrize(("text", "expected"), [(TRIAL_1, TRIAL), (SEARCH_1, SEARCH)])
def test_files_of_format_1_are_read(text, expected):
    assert record.from_json(type(expected), json.loads(text), FORMAT, Path("file")) == expected


# What was added to format 1 later, as it is where files do not have it.
LATER = {"demo_data": False, "log_keys": [], "resolution": None, "curves": {}, "machine": {}}
LATER |= {"not_for_upload": None}


@pytest.mark.parametrize(
    ("text", "expected", "later"), [(TRIAL_1, TRIAL, {}), (SEARCH_1, SEARCH, LATER)]
)
def test_files_are_written_in_format_1(text, expected, later):
    assert json.loads(json.dumps(record.to_json(expected, FORMAT))) == json.loads(text) | later


def test_what_was_added_is_read_as_it_was_written():
    whole = replace(
        SEARCH,
        demo_data=True,
        log_keys=("train.learning_rate",),
        resolution=Resolution("3", 934, 0.25),
        curves={"cnn-fold1": LearningCurve((0.5, 0.25), (0.75, 0.875))},
        machine={"backend": "tensorflow on cpu:0, 2 threads"},
    )
    values = json.loads(json.dumps(record.to_json(whole, FORMAT)))
    assert values["resolution"] == {"trial": "3", "rows": 934, "p_value": 0.25}
    assert record.from_json(SearchRecord, values, FORMAT, Path("file")) == whole
