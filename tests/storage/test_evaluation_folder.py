from pathlib import Path

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
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
    assert EvaluationFolder.of_run(Path("runs/mine"), source, "aa").folder == Path(
        "runs/mine", name
    )


def test_a_folder_that_is_called_by_a_dot_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    assert EvaluationFolder.of_run(Path("r"), ".", "aa").folder.name == "evaluation-images"


def evaluation(folder, data):
    """Write what makes a folder that of an evaluation."""
    noted = {} if data is None else {"data": data}
    files.write_json(folder / "evaluation.json", {"format": 1, "out_of_fold": False} | noted)
    return folder


def test_only_an_evaluation_of_the_same_data_is_replaced(tmp_path):
    def place(data):
        return EvaluationFolder.of_run(tmp_path, "a/digits.csv", data).folder

    first = evaluation(tmp_path / "evaluation-digits", "aa")
    assert place("aa") == first
    second = place("bb")
    assert second == tmp_path / "evaluation-digits-2"
    evaluation(second, "bb")
    assert [place("aa"), place("bb")] == [first, second]
    evaluation(tmp_path / "evaluation-digits-3", None)  # nobody knows of which data
    (tmp_path / "evaluation-digits-4").mkdir()
    (tmp_path / "evaluation-digits-4" / "my.txt").touch()
    (tmp_path / "evaluation-digits-5").touch()
    assert place("cc") == tmp_path / "evaluation-digits-6"


def test_what_a_killed_process_leaves_takes_no_place(tmp_path):
    half = tmp_path / "evaluation-digits" / f"{files.TEMP_PREFIX}7-evaluation.json"
    half.parent.mkdir()
    half.write_bytes(b"half")
    assert EvaluationFolder.of_run(tmp_path, "digits.csv", "aa").folder == half.parent


def test_other_files_are_never_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    for usable in (tmp_path / "new", tmp_path / "empty", evaluation(tmp_path / "old", "aa")):
        EvaluationFolder(usable).check_usable()
    (tmp_path / "file").touch()
    for name, found in ((".", "other files"), ("file", "a file")):
        expected = f"expected a new or empty folder, or that of an evaluation, found {found}; give"
        with pytest.raises(UserError, match=expected):
            EvaluationFolder(tmp_path / name).check_usable()


def test_an_evaluation_is_removed_and_nothing_else(tmp_path):
    folders = [EvaluationFolder(evaluation(tmp_path / name, "aa")) for name in ("one", "other")]
    for each in folders:
        each.page.write_bytes(b"page")
    (tmp_path / "other" / "my.txt").touch()
    for each in folders:
        each.remove()
        each.remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["other", "my.txt"]
