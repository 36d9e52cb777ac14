from pathlib import Path

import pytest

from kaggle_digits.storage.evaluation_folder import EvaluationFolder


def test_files():
    folder = EvaluationFolder(Path("there"))
    assert folder.record == Path("there/evaluation.json")
    assert folder.page == Path("there/evaluation.html")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (None, "evaluation-out-of-fold"),
        ("mnist", "evaluation-mnist"),
        ("a/mine.csv.gz", "evaluation-mine"),
        ("digits.npz", "evaluation-digits"),
        ("my images/", "evaluation-my-images"),
        ("demo data (scikit-learn load_digits)", "evaluation-demo-data-scikit-learn-load_digits"),
        ("v1.2", "evaluation-v1.2"),
        ("/", "evaluation-data"),
    ],
)
def test_name_follows_the_data(source, name):
    assert EvaluationFolder.of_run(Path("runs/mine"), source).folder == Path("runs/mine") / name


def test_a_folder_that_is_called_by_a_dot_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    assert EvaluationFolder.of_run(Path("r"), ".").folder.name == "evaluation-images"
