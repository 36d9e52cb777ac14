from pathlib import Path

import pytest

from kaggle_digits.data import demo, sources
from kaggle_digits.errors import UserError
from kaggle_digits.runs.data_of_run import data_of
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder


@pytest.fixture
def place_of(monkeypatch, tmp_path):
    """Return where the data of a run is now that had it from a place."""
    for name in ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def place_of(source):
        folder = RunFolder(tmp_path / "run")
        files.write_json(folder.manifest, {"data_source": str(source)} if source else {})
        return data_of(folder)

    return place_of


def write_data(folder):
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        (folder / name).touch()
    return folder


def test_where_it_was(place_of, monkeypatch, tmp_path):
    assert place_of(write_data(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_of("~/mine") == tmp_path / "mine"


def test_demo_data_stays_demo_data(place_of, tmp_path):
    write_data(tmp_path / "data")  # the real files have come since
    assert str(place_of(demo.NAME)) == demo.NAME
    assert sources.find_source(Path(demo.NAME)).demo


def test_where_that_is_not_known_or_gone_it_is_searched_for(place_of, tmp_path):
    assert place_of(None) is None
    write_data(tmp_path / "data")
    assert place_of(tmp_path / "gone") is None


def test_demo_data_never_takes_its_place(place_of, tmp_path):
    expected = f"run: its data was {tmp_path / 'gone'}, found nothing there; give its place with --"
    with pytest.raises(UserError, match=expected):
        place_of(tmp_path / "gone")


def test_mnist_of_keras_is_no_place_on_disk(place_of):
    assert place_of("mnist") == Path("mnist")
