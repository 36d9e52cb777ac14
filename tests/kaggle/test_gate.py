"""What the gate says of a run; that nothing else passes is tested with the command itself."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kaggle_digits.kaggle.gate import Candidate
from kaggle_digits.results.run_metrics import RunMetrics

METRICS = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=3,
    fits_planned=3,
    oof_accuracy=0.9944,
    oof_errors=235,
    oof_rows=42_000,
    oof_interval=(0.99364, 0.99507),
)


def candidate(tmp_path, made_by=("quick", "1a2b3c4"), **changes):
    run = SimpleNamespace(folder=tmp_path / "mine", made_by=lambda: made_by)
    return Candidate(tmp_path / "mine.csv", b"1\n", run, replace(METRICS, **changes))


def test_message_of_a_run(tmp_path):
    text = "mine, config quick, out-of-fold 0.99440 (235 of 42000 wrong), 3 fits, git 1a2b3c4"
    assert candidate(tmp_path).message == text
    assert candidate(tmp_path, ("", ""), oof_accuracy=None).message == "mine, 3 fits"


def test_message_of_nets_on_all_rows(tmp_path):
    changes = {"oof_accuracy": None, "holds_rows_out": False, "fits_finished": 1}
    assert candidate(tmp_path, ("", ""), **changes).message == "mine, no rows held out, 1 fit"


def test_message_of_optimistic_figures(tmp_path):
    message = candidate(tmp_path, ("", ""), optimistic=True).message
    assert message == "mine, out-of-fold 0.99440 (235 of 42000 wrong, optimistic), 3 fits"


def test_a_file_that_stands_alone_is_called_by_its_name(tmp_path):
    alone = Candidate(tmp_path / "mine.csv", b"1\n")
    assert (alone.message, alone.warning) == ("mine.csv", "")
    # echo 1 | sha256sum
    assert alone.sha256 == "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"complete": False, "fits_finished": 2}, "WARNING: the run is not complete: 2 of 3 fits"),
        ({"complete": False, "provisional": True}, ""),
    ],
)
def test_an_incomplete_run_is_a_warning(tmp_path, changes, warning):
    assert candidate(tmp_path, **changes).warning == warning
