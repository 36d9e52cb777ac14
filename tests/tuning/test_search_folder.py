import json
from dataclasses import replace

import numpy as np
import pytest
from folders import names

from kaggle_digits.results import record
from kaggle_digits.results.search_records import (
    LearningCurve,
    Objective,
    SearchRecord,
    TrialResult,
)
from kaggle_digits.storage import files
from kaggle_digits.tuning.search_folder import SearchFolder


@pytest.fixture
def search(tmp_path):
    return SearchFolder(tmp_path / "search")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Places


def test_a_search_keeps_its_things_apart(search):
    assert search.candidate("abc").folder == search.folder / "candidates" / "abc"
    assert search.holdout_fits("abc").folder == search.folder / "holdout" / "abc"
    paths = [
        *(search.identity, search.best, search.found, search.page, search.tensorboard),
        *(search.log, search.oracle, search.candidates, search.holdout),
    ]
    assert len(set(paths)) == 9
    assert {path.parent for path in paths} == {search.folder}


def test_lock_clears_away_what_a_killed_search_left(search):
    for folder in (search, search.candidate("abc")):
        with folder.locked():
            pass
    left = [
        search.folder / f"{files.TEMP_PREFIX}77-search_record.json",
        search.oracle / f"{files.TEMP_PREFIX}77-oracle.json",
        search.oracle / "trial_0003" / f"{files.TEMP_PREFIX}77-trial.json",
    ]
    # A worker may be writing there now; the lock of the candidate's own folder is what counts.
    of_worker = search.candidate("abc").fits / f"{files.TEMP_PREFIX}78-cnn-fold1"
    whole = search.oracle / "trial_0003" / "trial.json"
    for path in (*left, of_worker, whole):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with search.locked():
        assert [path.exists() for path in left] == [False, False, False]
        assert of_worker.exists()
        assert whole.exists()
        with search.candidate("abc").locked():
            assert not of_worker.exists()


# How far trials are

WHOLE = TrialResult(
    trial="0003",
    candidate="abc",
    settings={"augment.rotate": [-5.0, 5.0], "augment.variants": None, "train.epochs": 9},
    status="stopped early",
    reason="after 2 of 4 folds significantly worse than trial 0001 (p = 0.01)",
    folds=2,
    folds_planned=4,
    rows=1000,
    errors=30,
    accuracy=0.97,
    log_loss=0.1234567890123,
    objective=0.975,
    seconds_per_fit=61.25,
    seconds=130.5,
    images_per_second=4321.5,
    parameters=123_456,
    flops=10**10,
    peak_memory_bytes=2**40,
)


def test_results_come_back(search):
    assert search.read_results() == {}
    begun = TrialResult("0004", "def", {"train.epochs": 4}, folds_planned=4)
    promoted = TrialResult("0005", "abc", WHOLE.settings, folds_planned=4)
    for result in (WHOLE, begun, promoted):
        search.write_result(result)
    assert SearchFolder(search.folder).read_results() == {
        "0003": WHOLE,
        "0004": begun,
        "0005": promoted,
    }
    assert names(search.candidates) == [
        "abc",
        "abc/trial-0003.json",
        "abc/trial-0005.json",
        "def",
        "def/trial-0004.json",
    ]


def test_a_later_result_takes_the_place_of_an_earlier_one(search):
    search.write_result(TrialResult("0003", "abc", WHOLE.settings))
    search.write_result(WHOLE)
    assert search.read_results() == {"0003": WHOLE}


def test_result_of_an_earlier_version_has_the_defaults_of_new_fields(search):
    path = search.candidates / "abc" / "trial-0004.json"
    files.write_json(
        path, {"format": 1, "trial": "0004", "candidate": "abc", "settings": {"train.epochs": 9}}
    )
    assert search.read_results(pytest.fail) == {
        "0004": TrialResult("0004", "abc", {"train.epochs": 9})
    }


def test_result_of_a_later_version_is_read_without_its_new_fields(search):
    path = search.candidates / "abc" / "trial-0003.json"
    files.write_json(path, record.to_json(WHOLE, 1) | {"joules": 12.5})
    assert search.read_results(pytest.fail) == {"0003": WHOLE}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "expected a JSON object, found none; delete the file"),
        ("{", "expected a JSON object, found none; delete the file"),
        ("[]", "expected a JSON object, found none; delete the file"),
        (json.dumps(vars(WHOLE)), "made by an earlier version of kaggle-digits; "),
        ('{"format": 1, "trial": "0004"}', "candidate: missing; delete the file"),
        (
            json.dumps(record.to_json(WHOLE, 2)),
            "made by a newer version of kaggle-digits (format 2, expected 1); update kagg",
        ),
    ],
)
def test_result_that_cannot_be_read_is_reported_once(search, content, reason):
    search.write_result(WHOLE)
    path = search.candidates / "abc" / "trial-0004.json"
    path.write_text(content)
    (search.candidates / "abc" / f"{files.TEMP_PREFIX}77-trial-0005.json").write_text(content)
    said = []
    for _ in range(2):
        assert search.read_results(said.append) == {"0003": WHOLE}
    (line,) = said
    assert line.startswith(f"WARNING: a trial is left out: {path}: {reason}")


# What the search has found


def test_record_and_whether_it_is_complete(search):
    assert not search.is_complete()
    found = SearchRecord(Objective.ACCURACY, ("train.epochs",), {"train.epochs": 7}, (WHOLE,))
    search.write_record(found)
    assert not search.is_complete()
    written = json.loads(search.found.read_text())
    assert record.from_json(SearchRecord, written, 1, search.found) == found
    search.write_record(replace(found, complete=True))
    assert search.is_complete()


# What a candidate predicts for each row

ROWS = {
    "rows": np.array([1, 4, 9]),
    "fold": np.int16([0, 1, 0]),
    "wrong": np.array([True, False, False]),
    "loss": np.array([2.5, 0.125, 1e-300]),
}


def test_rows_come_back(search):
    said = []
    assert search.read_rows("abc", said.append) is None
    search.write_rows("abc", {"rows": np.arange(2)})
    search.write_rows("abc", ROWS)
    found = search.read_rows("abc", said.append)
    assert list(found) == list(ROWS)
    for name, array in ROWS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert search.read_rows("def", said.append) is None
    assert said == []


def test_curves_of_finished_fits(search):
    folder = search.candidate("abc")
    histories = {
        0: "epoch,loss,accuracy,seconds\n1,0.5,0.75,3.0\n2,0.25,0.875,3.0\n",
        1: "epoch,loss\n1,0.5\n",  # damaged
        2: None,  # not there
    }
    for fold, history in histories.items():
        path = folder.history_path("cnn", fold)
        path.parent.mkdir(parents=True)
        (path.parent / "fit.json").write_text("{}")
        if history:
            path.write_text(history)
    assert search.read_curves("abc") == {"cnn-fold1": LearningCurve((0.5, 0.25), (0.75, 0.875))}
    assert search.read_curves("def") == {}


@pytest.mark.parametrize("damage", [flip_a_byte, lambda path: path.write_bytes(b"")])
def test_damaged_rows_are_reported_and_not_read(search, damage):
    search.write_rows("abc", ROWS)
    path = search.candidates / "abc" / "rows.npz"
    damage(path)
    said = []
    assert search.read_rows("abc", said.append) is None
    assert said == [f"damaged: {path}: its checksum differs; no trial is raced against it"]


@pytest.mark.parametrize(
    ("number", "words"), [({"format": np.int64(2)}, "a newer version"), ({}, "an earlier version")]
)
def test_rows_of_another_format_are_reported_and_not_read(search, number, words):
    path = search.candidates / "abc" / "rows.npz"
    path.parent.mkdir(parents=True)
    files.write_checksummed(path, files.npz(ROWS | number))
    said = []
    assert search.read_rows("abc", said.append) is None
    (line,) = said
    assert line.startswith(f"{path}: made by {words} of kaggle-digits")
    assert line.endswith("; no trial is raced against it")
