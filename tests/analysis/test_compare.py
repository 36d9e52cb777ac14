import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from finished_runs import LABELS, ROWS, write_data, write_run, wrong_at

from kaggle_digits.analysis.compare import compare, images_of
from kaggle_digits.analysis.run_list import entry_of
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three runs on the same data, the last of them over other folds."""
    home = tmp_path_factory.mktemp("compared")
    write_data(home / "data")
    for name, probabilities, settings in (
        ("a", wrong_at(0, 1), []),
        # Eight rows wrong that a has right, one right that a has wrong.
        ("b", wrong_at(1, *range(10, 18), top=0.7), ["model.dropout=0.5"]),
        ("c", wrong_at(0, 5, top=0.5), ["seed=5"]),
    ):
        write_run(home / name, home / "data", {"cnn": probabilities}, settings=settings)
    return home


def refusal(*folders):
    with pytest.raises(UserError) as refused:
        compare(folders)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_pair_by_hand(home):
    found = compare([home / "a", home / "b"])
    (test,) = found.tests
    assert (test.one, test.other, test.rows) == ("a", "b", ROWS)
    assert (test.only_one_wrong, test.only_other_wrong) == (1, 8)
    # Of 9 rows at most 1 of the first: 2 x (1 + 9) / 2 ** 9.
    assert test.p_value == test.corrected == pytest.approx(20 / 512)
    assert test.same_folds
    assert (found.rows, found.disputed) == (ROWS, 9)


def test_runs_are_the_entries_of_the_list(home):
    found = compare([home / "b", home / "a"])
    assert found.runs == (entry_of(home / "b"), entry_of(home / "a"))


def test_settings_that_differ(home):
    found = compare([home / "a", home / "b", home / "c"]).settings
    assert {each.key: each.values for each in found} == {
        "model.dropout": ("0.3", "0.5", "0.3"),
        "seed": ("2026", "2026", "5"),
    }


def test_several_tests_are_corrected(home):
    tests = compare([home / "a", home / "b", home / "c"]).tests
    assert [(each.one, each.other) for each in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    # a and c: row 1 against row 5. b and c: 1 and 10 to 17 against 0 and 5, P(at most 2 of 11).
    p = [20 / 512, 1.0, 2 * (1 + 11 + 55) / 2**11]
    assert [each.p_value for each in tests] == pytest.approx(p)
    assert [each.corrected for each in tests] == pytest.approx([3 * p[0], 1.0, 2 * p[2]])
    assert [each.same_folds for each in tests] == [True, False, False]


def test_rows_on_which_they_differ_most(home):
    differences = compare([home / "a", home / "b"]).differences
    # a has 0.91 for the right class where it is right, b 0.7; wrong ones leave it a ninth of the
    # rest: the largest gap is where a is right and b wrong, then row 0.
    assert [each.row for each in differences] == [*range(10, 18), 0]
    first = differences[0]
    assert (first.label, first.predicted) == (0, (0, 1))
    assert first.probabilities == pytest.approx((0.91, 0.3 / 9))


def test_a_run_compared_with_itself(home, tmp_path):
    assert refusal(home / "a", home / "a").endswith("a: named twice; name each run once")
    shutil.copytree(home / "a", tmp_path / "copy")
    found = compare([home / "a", tmp_path / "copy"])
    assert [each.p_value for each in found.tests] == [1.0]
    assert (found.disputed, found.differences) == (0, ())


def test_only_rows_that_both_predict_count(home, tmp_path):
    half = write_run(
        tmp_path / "half", home / "data", {"cnn": wrong_at(*range(40))}, unfinished=[("cnn", 1)]
    )
    found = compare([home / "a", half])
    assert found.tests[0].rows == found.rows == ROWS // 2
    other = write_run(
        tmp_path / "other", home / "data", {"cnn": wrong_at(0)}, unfinished=[("cnn", 0)]
    )
    assert "expected training rows that both predict out of fold, found none" in refusal(
        half, other
    )


@pytest.mark.parametrize(
    ("settings", "rows"),
    [(["folds.repeats=2"], {ROWS}), (["folds.kind=holdout", "folds.holdout=0.5"], range(1, ROWS))],
)
def test_runs_that_hold_rows_out_otherwise(home, tmp_path, settings, rows):
    one, same = (
        write_run(tmp_path / name, home / "data", {"cnn": wrong_at(row)}, settings=settings)
        for name, row in (("one", 1), ("same", 2))
    )
    tests = compare([one, same, home / "a"]).tests
    assert [each.same_folds for each in tests] == [True, False, False]
    assert {each.rows for each in tests} <= set(rows)


def test_run_that_holds_no_rows_out(home, tmp_path):
    settings = ["folds.kind=none"]
    whole = write_run(tmp_path / "whole", home / "data", {"cnn": wrong_at()}, settings=settings)
    line = refusal(home / "a", whole)
    assert line.startswith(f"{whole}: expected a run that predicts rows out of fold, found no rows")
    assert "continue" not in line


def test_comparison_is_json(home):
    values = json.loads(json.dumps(asdict(compare([home / "a", home / "b"]))))
    assert values["tests"][0]["only_other_wrong"] == 8
    assert values["runs"][0]["wrong"] == 2


def test_other_test_rows_do_not_matter_other_training_rows_do(home, tmp_path):
    other = write_data(tmp_path / "data")
    (other / "test.csv").write_bytes((other / "test.csv").read_bytes().replace(b",255,", b",254,"))
    same = write_run(tmp_path / "same", other, {"cnn": wrong_at(3)})
    assert compare([home / "a", same]).tests[0].rows == ROWS
    write_data(tmp_path / "new", ink=200)
    new = write_run(tmp_path / "new-run", tmp_path / "new", {"cnn": wrong_at(3)})
    assert "expected runs on the same data, found another train.csv" in refusal(home / "a", new)


def test_other_labels_in_the_predictions(home, tmp_path):
    shutil.copytree(home / "b", tmp_path / "b")
    arrays = files.read_arrays(tmp_path / "b" / "predictions.npz")
    files.write_arrays(tmp_path / "b" / "predictions.npz", arrays | {"labels": LABELS[::-1]})
    assert "found other labels in predictions.npz" in refusal(home / "a", tmp_path / "b")


def test_what_cannot_be_compared(home, tmp_path):
    assert refusal(home / "a").startswith("compare: expected at least two runs, found one")
    assert refusal(home).startswith(f"{home}: expected the folder of a run, found")
    assert "expected the folder of a run, found no such folder" in refusal(
        home / "a", tmp_path / "absent"
    )
    begun = write_run(tmp_path / "begun", home / "data", {"cnn": wrong_at(0)})
    (begun / "predictions.npz").unlink()
    assert "no fit is finished yet" in refusal(home / "a", begun)


def test_images_are_those_of_the_rows(home, tmp_path):
    differences = compare([home / "a", home / "b"]).differences[:2]
    found = images_of(differences, home / "a", None, Cache(tmp_path / "cache"))
    images = read_digits(find_source(home / "data")).train_images
    assert list(found) == [10, 11]
    np.testing.assert_array_equal(found[10], images[10])


def test_images_of_other_data_are_not_shown(home, tmp_path):
    differences = compare([home / "a", home / "b"]).differences
    other = write_data(tmp_path / "other", ink=9)
    with pytest.raises(UserError, match=r"found another train\.csv; give its place with --data"):
        images_of(differences, home / "a", other, Cache(tmp_path / "cache"))


def test_images_of_data_that_is_not_csv(home, tmp_path):
    differences = compare([home / "a", home / "b"]).differences
    for name, ink in (("own", 255), ("other", 9)):
        (tmp_path / name).mkdir()
        digits = read_digits(find_source(write_data(tmp_path / "csv" / name, ink=ink)))
        np.savez(
            tmp_path / name / "mnist.npz",
            x_train=digits.train_images,
            y_train=digits.train_labels,
            x_test=digits.test_images,
        )
    own, other = (find_source(tmp_path / name / "mnist.npz") for name in ("own", "other"))
    folder, cache = tmp_path / "run", Cache(tmp_path / "cache")
    files.write_json(RunFolder(folder).manifest, {"data": read_digits(own).hashes})
    assert list(images_of(differences, folder, own.train, cache)) == [e.row for e in differences]
    with pytest.raises(UserError, match="found another train; give its place with --data"):
        images_of(differences, folder, other.train, cache)
