from pathlib import Path

import pytest

from kaggle_digits.analysis.same_data import TRAINING, check_same_data, names_of
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path):
    """Return the folders of three runs, of which the last has other test rows."""
    folders = [RunFolder(tmp_path / name) for name in "abc"]
    for folder, test in zip(folders, ("2", "2", "3"), strict=True):
        files.write_json(folder.manifest, {"data": {"train.csv": "1", "test.csv": test}})
    return folders


def test_same_data(runs):
    check_same_data(runs[:2])
    check_same_data(runs, TRAINING)


def test_other_data_is_named(runs, tmp_path):
    expected = f"{tmp_path / 'c'} and {tmp_path / 'a'}: expected runs on the same data, found anot"
    with pytest.raises(UserError, match=f"^{expected}her test.csv; "):
        check_same_data(runs)


def test_a_run_without_a_manifest_is_of_other_data(runs):
    runs[1].manifest.unlink()
    with pytest.raises(UserError, match=r"another train\.csv"):
        check_same_data(runs[:2], TRAINING)


def test_names():
    assert names_of([Path("runs/a"), Path("runs/../runs/b")]) == ["a", "b"]
    assert names_of([Path("one/a"), Path("other/a")]) == ["one/a", "other/a"]
