"""A search's folder as notebooks see it."""

import json
from dataclasses import replace

import pytest
from found import START, failed, search, trial

from kaggle_digits.config import loading
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.search_result import SearchResult

RECORD = replace(search(trial(0), trial(1, 5), failed(2)), complete=True)


@pytest.fixture
def folder(tmp_path):
    """The folder of a search that has ended."""
    made = SearchFolder(tmp_path / "search")
    with made.locked():
        files.write_json(made.identity, made.stamp)
        made.write_record(RECORD)
    return made


def test_record_is_what_was_found(folder):
    result = SearchResult(str(folder.folder))
    assert result.record == RECORD
    assert result.folder == folder.folder
    assert repr(result) == f"SearchResult('{folder.folder}', 2 completed, 1 failed)"


def test_trials_have_a_row_each_and_a_column_for_each_setting(folder):
    table = SearchResult(folder.folder).trials
    assert table["trial"].tolist() == ["0", "1", "2"]
    assert table["status"].tolist() == ["completed", "completed", "failed"]
    assert table["errors"].tolist()[:2] == [10, 5]
    assert table["errors"].isna().tolist() == [False, False, True]
    assert table["model.width"].tolist() == [8, 9, 8]
    assert {*START, "accuracy", "seconds_per_fit", "reason"} <= {*table.columns}
    assert "settings" not in table.columns


def test_best_config_is_ready_for_a_run(folder):
    folder.best.write_text("train: {epochs: 3}\n")
    assert SearchResult(folder.folder).best_config == loading.from_values({"train": {"epochs": 3}})


def test_search_without_a_complete_trial_has_no_best_config(folder):
    with pytest.raises(UserError, match=r"search: no trial is complete yet; continue the search"):
        _ = SearchResult(folder.folder).best_config


@pytest.mark.parametrize("content", [{}, {"notes.txt": "mine"}])
def test_folder_without_a_search_is_refused(tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError) as caught:
            SearchResult(folder)
        assert str(caught.value) == (
            f"{folder}: expected the folder of a search, found no search.json in it"
        )


def test_search_that_has_no_result_yet(folder):
    folder.found.unlink()
    result = SearchResult(folder.folder)
    assert repr(result) == f"SearchResult('{folder.folder}', no result yet)"
    with pytest.raises(UserError, match=r"search: no result yet; continue the search first$"):
        _ = result.record


def test_search_of_an_earlier_version_is_opened(tmp_path):
    # As this format was first written: a field that came later has its default here, and one that
    # this version does not know is ignored.
    made = SearchFolder(tmp_path)
    old = {
        "format": 1,
        "objective": "log_loss",
        "keys": ["train.epochs"],
        "start": {"train.epochs": 7},
        "trials": [
            {
                "trial": "0",
                "candidate": "abc",
                "settings": {"train.epochs": 9},
                "status": "completed",
                "folds": 2,
                "log_loss": 0.25,
                "joules": 12.5,
            }
        ],
    }
    made.found.write_text(json.dumps(old))
    made.identity.write_text(json.dumps({"kind": "search", "format": 1}))
    result = SearchResult(tmp_path)
    assert result.record.complete is False
    assert result.record.best().log_loss == 0.25
    assert result.trials["train.epochs"].tolist() == [9]
