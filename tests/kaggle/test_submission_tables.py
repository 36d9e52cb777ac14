"""What people see of their submissions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from kaggle_digits.kaggle import submission_tables
from kaggle_digits.kaggle.client import Submission
from kaggle_digits.kaggle.ledger import Entry
from kaggle_digits.results.run_metrics import RunMetrics

ENTRY = Entry(
    time="2026-11-21T10:00:00Z",
    file="submissions/quick-1/submission.csv",
    sha256="0" * 64,
    message="quick-1 [000000000000]",
    reference="40000000",
    status="complete",
    public_score="0.99500",
    oof_accuracy="0.99440",
    expected_low="0.99376",
    expected_high="0.99653",
)


def text_of(content, width=100):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(content)
    return capture.get()


def test_a_score_stands_beside_its_forecast():
    text = text_of(submission_tables.submit_result(ENTRY))
    for words in ("Submission 40000000", "0.99500", "0.99440", "0.99376 to 0.99653, the score is"):
        assert words in text
    assert "WARNING" not in text


@pytest.mark.parametrize(("score", "where"), [("0.99375", "below"), ("0.99654", "above")])
def test_a_score_outside_its_band_is_a_warning(score, where):
    text = text_of(submission_tables.submit_result(replace(ENTRY, public_score=score)))
    assert f"WARNING               the score lies {where} the expected 0.99376 to 0.99653" in text


@pytest.mark.parametrize("score", ["0.99376", "0.99653"])
def test_the_ends_of_the_band_are_inside(score):
    entry = replace(ENTRY, public_score=score)
    assert "WARNING" not in text_of(submission_tables.submit_result(entry))


def test_a_submission_without_a_run_has_no_forecast():
    entry = replace(ENTRY, oof_accuracy="", expected_low="", expected_high="")
    text = text_of(submission_tables.submit_result(entry))
    assert "0.99500" in text
    assert "expected" not in text


def test_nets_on_all_rows_have_no_forecast():
    metrics = RunMetrics(True, False, 1, 1, holds_rows_out=False)
    entry = replace(ENTRY, oof_accuracy="", expected_low="", expected_high="")
    text = text_of(submission_tables.submit_result(entry, metrics))
    assert "out of fold   no rows held out, so there is no figure and no forecast" in text


def test_optimistic_figures_say_why():
    metrics = RunMetrics(
        True, False, 1, 1, oof_accuracy=0.9944, optimistic=True, optimistic_because=("training",)
    )
    text = text_of(submission_tables.submit_result(ENTRY, metrics))
    assert "OPTIMISTIC            each fit looked at the rows that it holds out" in text
    assert "OPTIMISTIC" not in text_of(submission_tables.submit_result(ENTRY))


def test_one_that_is_not_scored_yet_says_so():
    entry = replace(ENTRY, public_score="", status="pending")
    text = text_of(submission_tables.submit_result(entry))
    assert "public score          pending" in text
    assert "WARNING" not in text
    assert "inside" not in text


def test_the_ledger_beside_what_kaggle_lists():
    listed = [
        Submission(
            40000001,
            datetime(2026, 11, 22, 9, 0, tzinfo=UTC),
            "by hand",
            "mine.csv",
            "error",
            None,
            "wrong rows",
        ),
        Submission(40000000, None, ENTRY.message, "submission.csv", "complete", 0.995, ""),
    ]
    high = replace(ENTRY, reference="39", time="2026-11-20T08:00:00Z", public_score="0.99900")
    refused = replace(
        ENTRY,
        reference="",
        time="2026-11-19T08:00:00Z",
        status="refused",
        public_score="",
        file="mine.csv",
        reason="HTTP 400 (wrong rows)",
    )
    lines = text_of(submission_tables.table([refused, high, ENTRY], listed), 80).splitlines()
    assert [line.split()[2] for line in lines[2:5]] == ["40000001", "40000000", "39"]
    assert max(map(len, lines)) <= 80
    assert "quick-1" in lines[3]
    assert lines[6:] == [
        "* at Kaggle only, not in this ledger",
        "! the score lies outside the expected band",
        "2026-11-19T08:00:00Z: HTTP 400 (wrong rows)",
    ]
    assert "mine.csv" in lines[2]
    assert lines[2].rstrip().endswith("error*")
    assert "0.99500" in lines[3]
    assert "0.99900!" in lines[4]  # outside its band
