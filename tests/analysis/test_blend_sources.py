import shutil

import pytest
from finished_runs import write_data, write_pair, write_run, wrong_at
from folders import flip_last_byte

from kaggle_digits.analysis.blend_sources import read_sources
from kaggle_digits.errors import UserError
from kaggle_digits.storage.run_folder import RunFolder

DROPOUT = ["model.dropout=0.5"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two runs on the same folds, with one and two members, and their data."""
    return write_pair(tmp_path_factory.mktemp("sources"))


def refusal(*folders):
    with pytest.raises(UserError) as refused:
        read_sources(folders)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_runs_are_read_in_their_order(home):
    first, second = read_sources([home / "pair", home / "quick-1"])
    assert (first.name, second.name) == ("pair", "quick-1")
    assert list(first.run.config.members) == ["cnn", "big"]
    assert second.manifest["config"]


def test_runs_are_named_once_and_more_than_one(home):
    assert refusal(home / "pair").startswith("ensemble: expected at least two runs")
    line = refusal(home / "pair", home / "quick-1", home / "quick-1" / ".." / "pair")
    assert line.endswith("pair: named twice; name each run once")


def test_what_is_no_run_is_refused(home, tmp_path):
    assert "expected the folder of a run" in refusal(home / "quick-1", tmp_path)


def test_other_data(home, tmp_path):
    other = write_data(tmp_path / "other", ink=254)
    write_run(tmp_path / "run", other, {"cnn": wrong_at()}, settings=DROPOUT)
    line = refusal(home / "quick-1", tmp_path / "run")
    assert "expected runs on the same data, found another train.csv" in line


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("seed=7", "2 stratified folds, seed 7"),
        ("folds.count=4", "4 stratified folds, seed 2026"),
        ("folds.kind=kfold", "2 plain shuffled folds, seed 2026"),
    ],
)
def test_other_folds(home, tmp_path, setting, found):
    write_run(tmp_path / "run", home / "data", {"cnn": wrong_at()}, settings=[setting])
    line = refusal(home / "quick-1", tmp_path / "run")
    expected = f"expected runs over the same folds, found {found} and 2 stratified folds, seed 2026"
    assert expected in line


def test_unfinished_run(home, tmp_path):
    unfinished = [("cnn", 1)]
    write_run(
        tmp_path / "run",
        home / "data",
        {"cnn": wrong_at()},
        settings=DROPOUT,
        unfinished=unfinished,
    )
    line = refusal(home / "quick-1", tmp_path / "run")
    assert "run: expected a finished run, found 1 of 2 fits finished; continue it first" in line


def test_damaged_run(home, tmp_path):
    shutil.copytree(home / "pair", tmp_path / "pair")
    flip_last_byte(tmp_path / "pair" / "fits" / "cnn-fold1" / "model.keras")
    line = refusal(home / "quick-1", tmp_path / "pair")
    assert "fits/cnn-fold1 is missing or not as it was written" in line


def test_run_that_is_being_worked_on(home, tmp_path):
    shutil.copytree(home / "pair", tmp_path / "pair")
    with RunFolder(tmp_path / "pair").locked():
        assert "is at work in it; wait for it" in refusal(home / "quick-1", tmp_path / "pair")


def test_the_same_nets_under_another_name(home, tmp_path):
    shutil.copytree(home / "pair", tmp_path / "copy")
    line = refusal(home / "pair", tmp_path / "copy")
    assert f"copy: its fit big-fold1 is also in {home / 'pair'}" in line
