import pytest

from kaggle_digits.results.search_records import Findings, TrialFailed, TrialResult


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
    return Findings(objective, (), {}, trials)


def names(trials):
    return [each.trial for each in trials]


def test_nothing_yet():
    for findings in (of(), of(trial("0", folds=0, status="running"))):
        assert findings.comparable() == []
        assert findings.best() is None
        assert findings.front() == []
    assert of().statuses() == []


def test_statuses_in_their_order():
    findings = of(
        trial("0", status="failed"),
        trial("1", status="stopped early"),
        trial("2", status="completed"),
        trial("3", status="failed"),
        trial("4", status="running"),
        trial("5", status="out of bounds"),
    )
    assert findings.statuses() == [
        "running",
        "completed",
        "stopped early",
        "failed",
        "out of bounds",
    ]
    assert names(findings.of("failed")) == ["0", "3"]
    assert names(of(trial("0")).of("failed")) == []
    assert of(trial("0"), trial("1", status="failed")).statuses() == ["completed", "failed"]


@pytest.mark.parametrize("status", ["running", "stopped early", "failed", "out of bounds"])
def test_only_whole_trials_are_compared(status):
    findings = of(trial("0", wrong=9), trial("1", wrong=1, status=status), trial("2", wrong=5))
    assert names(findings.comparable()) == ["0", "2"]
    assert findings.best().trial == "2"
    assert names(findings.front()) == ["2"]


def test_best_is_the_most_accurate():
    findings = of(trial("0", wrong=7), trial("1", wrong=3), trial("2", wrong=4))
    assert findings.best().trial == "1"
    assert findings.loss(findings.best()) == pytest.approx(3 / 400)


def test_best_by_log_loss():
    # Fewer mistakes, but surer of them.
    trials = trial("0", wrong=3, log_loss=0.25), trial("1", wrong=7, log_loss=0.125)
    assert of(*trials).best().trial == "0"
    by_loss = of(*trials, objective="log_loss")
    assert by_loss.best().trial == "1"
    assert by_loss.loss(trials[0]) == 0.25


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
    findings = of(
        trial("dear and good", wrong=4, seconds=90.0),
        trial("cheap and poor", wrong=20, seconds=10.0),
        trial("dominated", wrong=12, seconds=40.0),
        trial("middle", wrong=8, seconds=30.0),
        trial("dear and no better", wrong=4, seconds=95.0),
        trial("as cheap but poorer", wrong=21, seconds=10.0),
    )
    assert names(findings.front()) == ["cheap and poor", "middle", "dear and good"]
    assert findings.best().trial == "dear and good"


def test_front_by_log_loss():
    findings = of(
        trial("0", seconds=10.0, log_loss=0.5),
        trial("1", seconds=20.0, log_loss=0.5),
        trial("2", seconds=30.0, log_loss=0.25),
        objective="log_loss",
    )
    assert names(findings.front()) == ["0", "2"]


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
    findings = of(
        trial("0", candidate="a", wrong=3),
        trial("1", candidate="b", wrong=5),
        trial("2", candidate="a", wrong=3),
    )
    assert names(findings.comparable()) == ["2", "1"]
    assert findings.best().candidate == "a"


def test_unfit_error_knows_what_becomes_of_its_trial():
    assert TrialFailed("cnn fold 1 is sick").status == "failed"
    error = TrialFailed("too many parameters", "out of bounds")
    assert (str(error), error.status) == ("too many parameters", "out of bounds")
