import json
import os

import pytest

from kaggle_digits.data import demo
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.handed_over import Settings, comparison

VALUES = {
    "RAW_DATA_DIR": "data",
    "CLEAN_DATA_DIR": "cache",
    "MODEL_DIR": "model",
    "RETRAINED_DIR": "retrained",
    "SUBMISSION_DIR": "submissions",
    "KERAS_BACKEND": "tensorflow",
}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write SETTINGS.json and read it."""
    monkeypatch.setenv("KERAS_BACKEND", "")  # so that it is put back
    monkeypatch.delenv("KERAS_BACKEND")

    def read(values):
        (tmp_path / "SETTINGS.json").write_text(json.dumps(values))
        return Settings.read(tmp_path)

    return read


def test_values_are_those_of_the_file():
    assert Settings.of_run(is_demo=False, keras_backend="tensorflow").values() == VALUES
    of_demo = Settings.of_run(is_demo=True, keras_backend="jax").values()
    assert of_demo == VALUES | {"RAW_DATA_DIR": demo.NAME, "KERAS_BACKEND": "jax"}


def test_paths_count_from_the_folder(read, tmp_path):
    settings = read(VALUES | {"CLEAN_DATA_DIR": "/elsewhere/cache"})
    assert settings.raw_data_dir == str(tmp_path / "data")
    assert settings.clean_data_dir == "/elsewhere/cache"
    assert settings.model_dir == str(tmp_path / "model")
    assert settings.keras_backend == "tensorflow"


def test_the_demo_data_is_no_path(read):
    assert read(VALUES | {"RAW_DATA_DIR": demo.NAME}).raw_data_dir == demo.NAME


def test_keras_gets_its_backend_unless_one_is_chosen(read, monkeypatch):
    read(VALUES | {"KERAS_BACKEND": "jax"})
    assert os.environ["KERAS_BACKEND"] == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    read(VALUES)
    assert os.environ["KERAS_BACKEND"] == "torch"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, "found none of them"),
        ([], "found none of them"),
        (VALUES | {"SEED": "1"}, "found RAW_DATA_DIR, .*, SEED"),
        (VALUES | {"MODEL_DIR": 3}, "expected a text for each of RAW_DATA_DIR"),
        ({"MODEL_DIR": "m"}, "found MODEL_DIR; correct"),
    ],
)
def test_settings_that_do_not_fit_are_refused(read, values, found):
    with pytest.raises(UserError, match=rf"SETTINGS\.json: .*{found}"):
        read(values)


@pytest.mark.parametrize("content", [None, "{"])
def test_settings_that_cannot_be_read(tmp_path, content):
    if content:
        (tmp_path / "SETTINGS.json").write_text(content)
    with pytest.raises(UserError, match=r"SETTINGS\.json: expected a JSON object, found none"):
        Settings.read(tmp_path)


@pytest.fixture
def submissions(tmp_path):
    """Write the submissions of two runs; return the runs' folders."""

    def write(*labels):
        folders = [tmp_path / "again", tmp_path / "first"]
        for folder, each in zip(folders, labels, strict=True):
            folder.mkdir()
            rows = [f"{number},{label}" for number, label in enumerate(each, 1)]
            (folder / "submission.csv").write_text("\n".join(["ImageId,Label", *rows, ""]))
        return folders

    return write


def test_comparison_of_equal_bytes(submissions):
    again, first = submissions("0123", "0123")
    expected = f"{again / 'submission.csv'}: the same bytes as {first / 'submission.csv'}"
    assert comparison(again, first) == expected


def test_comparison_counts_labels(submissions):
    again, first = submissions("0123", "0321")
    start = f"{again / 'submission.csv'}: 2 of 4 labels differ from {first / 'submission.csv'}; "
    assert comparison(again, first).startswith(start)


def test_comparison_of_other_test_rows_is_refused(submissions):
    with pytest.raises(UserError, match="expected 3 rows after the header, found 4"):
        comparison(*submissions("012", "0123"))
