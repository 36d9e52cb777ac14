from pathlib import Path

import pytest

from kaggle_digits.analysis.same_data import (
    TRAINING,
    check_different,
    check_same_data,
    names_of,
)
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


def test_a_run_is_named_once(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    check_different("compare", [Path("a"), Path("b")])
    with pytest.raises(UserError, match=r"^a/\.\./a: named twice; name each run once"):
        check_different("compare", [Path("a"), Path("b"), Path("a/../a")])
    with pytest.raises(UserError, match=r"^ensemble: expected at least two runs, found one;"):
        check_different("ensemble", [Path("a")])


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


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"train": "1", "test": "2"}, None),
        ({"train": "9", "test": "2"}, "train"),
        ({"train": "1", "test": "9"}, "test"),
        ({"train.csv": "1", "test.csv": "2"}, "train"),
        ({}, "train"),
    ],
)
def test_data_that_is_not_csv(tmp_path, data, name):
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    files.write_json(one.manifest, {"data": {"train": "1", "test": "2"}})
    files.write_json(other.manifest, {"data": data})
    if name is None:
        check_same_data([one, other])
        check_same_data([one, other], TRAINING)
        return
    with pytest.raises(UserError, match=f"found another {name};"):
        check_same_data([one, other])
    if name == "train":
        with pytest.raises(UserError, match="found another train;"):
            check_same_data([one, other], TRAINING)


def test_unknown_data_is_not_the_same(tmp_path):
    folders = [RunFolder(tmp_path / name) for name in "ab"]
    for folder in folders:
        files.write_json(folder.manifest, {"data": {}})
    with pytest.raises(UserError, match=r"another train\.csv"):
        check_same_data(folders)


def test_names():
    assert names_of([Path("runs/a"), Path("runs/../runs/b")]) == ["a", "b"]
    assert names_of([Path("one/a"), Path("other/a")]) == ["one/a", "other/a"]
