import json

import numpy as np
import pytest

from kaggle_digits.results.search_records import TrialResult
from kaggle_digits.storage import files
from kaggle_digits.tuning.search_folder import SearchFolder

IDENTITY = {"config": {}, "data": {}, "backend": "tensorflow", "packages": {}}


@pytest.fixture
def search(tmp_path):
    return SearchFolder(tmp_path / "search")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Whose folder


def test_new_and_empty_folders_are_ours(search):
    assert search.is_ours()
    search.folder.mkdir()
    assert search.is_ours()
    # What a process leaves that was killed while it took the folder.
    with search.locked():
        pass
    (search.folder / f"{files.TEMP_PREFIX}77-search.json").write_text("{")
    assert search.is_ours()


def test_folder_of_a_search_is_ours(search):
    files.write_json(search.identity, IDENTITY)
    (search.folder / "notes.txt").write_text("mine, beside the search's")
    assert search.is_ours()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.tex", "mine"),
        (".hidden", "mine"),
        ("manifest.json", json.dumps(IDENTITY)),  # a run's folder
        ("search.json", "{}"),
        ("search.json", json.dumps({"config": {}, "data": {}})),
        ("search.json", "{"),
        ("search.json", "[]"),
        ("search.json", json.dumps(["config", "data", "backend"])),
    ],
)
def test_other_folders_are_not_ours(search, name, content):
    search.folder.mkdir()
    (search.folder / name).write_text(content)
    assert not search.is_ours()


# Places


def test_a_search_keeps_its_things_apart(search):
    assert search.candidate("abc").folder == search.folder / "candidates" / "abc"
    assert search.checked("abc").folder == search.folder / "check" / "abc"
    paths = [
        *(search.identity, search.best, search.findings, search.page, search.tensorboard),
        *(search.log, search.oracle, search.candidates, search.checks),
    ]
    assert len(set(paths)) == 9
    assert {path.parent for path in paths} == {search.folder}


def test_lock_clears_away_what_a_killed_search_left(search):
    left = [
        search.folder / f"{files.TEMP_PREFIX}77-findings.json",
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


# How trials stand

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


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"trial": "0004"}',
        json.dumps(vars(WHOLE) | {"trial": "0004", "of a later version": 1}),
    ],
)
def test_result_that_cannot_be_read_lacks(search, content):
    search.write_result(WHOLE)
    (search.candidates / "abc" / "trial-0004.json").write_text(content)
    (search.candidates / "abc" / f"{files.TEMP_PREFIX}77-trial-0005.json").write_text(content)
    assert search.read_results() == {"0003": WHOLE}


# What a candidate makes of each row

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


@pytest.mark.parametrize("damage", [flip_a_byte, lambda path: path.write_bytes(b"")])
def test_damaged_rows_are_told_and_none_are_there(search, damage):
    search.write_rows("abc", ROWS)
    path = search.candidates / "abc" / "rows.npz"
    damage(path)
    said = []
    assert search.read_rows("abc", said.append) is None
    assert said == [f"damaged: {path}: its checksum differs; no trial is raced against it"]
