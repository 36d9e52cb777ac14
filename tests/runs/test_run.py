import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from lives import write_data

import kaggle_digits
from kaggle_digits.config import auto, loading
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.errors import UserError
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment
from kaggle_digits.tuning.search_folder import SearchFolder

ROWS, TEST_ROWS = 60, 30
SETTINGS = {
    "folds.count": 2,
    "model.stages": [{"width": 4, "stride": 2, "pool": "first"}],
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.learning_rate": 0.02,
    "augment.elastic.p": 0,
    "members": {
        "one": {},
        "two": {"model": {"pooling": "max"}, "augment": {"test_shift": 1}},
        "cnn": None,
    },
}
CLASSES = list("0123456789")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of two members and two folds; its data are beside it."""
    home = tmp_path_factory.mktemp("run")
    write_data(home / "data")
    run = kaggle_digits.run(
        "quick", data=home / "data", out=home / "run", overrides=SETTINGS, cache=home / "cache"
    )
    assert isinstance(run, Run)
    assert run.folder == home / "run"
    return run.folder


@pytest.fixture(scope="module")
def digits(folder):
    return read_digits(find_source(folder.parent / "data"))


@pytest.fixture
def run(folder):
    return kaggle_digits.load_run(folder)


@pytest.fixture
def copied(folder, tmp_path):
    """A copy, to change something in it."""
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run"


def predictions_of(folder, member, fold):
    return files.read_arrays(folder / "fits" / f"{member}-fold{fold}" / "predictions.npz")


def test_metrics_are_those_of_the_file(folder, run):
    values = json.loads((folder / "metrics.json").read_text())
    assert run.metrics.complete is values["complete"] is True
    assert (run.metrics.oof_errors, run.metrics.oof_rows) == (values["oof_errors"], ROWS)
    assert run.metrics.members["two"].fits["fold2"].rows == 30
    assert run.metrics.test is None


def test_repr(run, folder):
    accuracy = run.metrics.oof_accuracy
    assert repr(run) == (f"Run({str(folder)!r}, out-of-fold accuracy {accuracy:.5f}, 4 of 4 fits)")


def test_held_out_rows_of_each_fold(run):
    assert run.held_out.columns.tolist() == [1, 2]
    assert (run.held_out[2] == (run.oof["fold"] == 2)).all()
    assert run.held_out.sum(axis=1).tolist() == [1] * ROWS


def as_if_of(folder, split, **changes):
    """Change a run's files as if it had another split; return the run."""
    arrays = files.read_arrays(folder / "predictions.npz")
    del arrays["folds"]
    held_out = np.zeros((len(split), ROWS), bool)
    for has_row, rows in zip(held_out, split, strict=True):
        has_row[rows] = True
    arrays["oof"][~held_out.any(axis=0)] = np.nan
    files.write_arrays(folder / "predictions.npz", arrays | {"held_out": held_out})
    metrics = json.loads((folder / "metrics.json").read_text()) | changes
    files.write_json(folder / "metrics.json", metrics)
    return Run(folder)


def test_rows_that_are_held_out_several_times_or_never(copied):
    run = as_if_of(copied, [[0, 1], [1, 2]], oof_rows=3)
    assert run.oof.columns.tolist() == ["label", "times_held_out", "predicted", *CLASSES]
    assert run.oof["times_held_out"].tolist() == [1, 2, 1] + [0] * (ROWS - 3)
    assert (run.oof["predicted"] == -1).tolist() == [False] * 3 + [True] * (ROWS - 3)
    assert run.held_out[2].to_numpy().nonzero()[0].tolist() == [1, 2]
    assert f", 3 of {ROWS} rows covered, 4 of 4 fits)" in repr(run)


def test_nets_on_all_rows(copied):
    nothing = dict.fromkeys(("oof_accuracy", "oof_errors", "oof_rows", "oof_interval"))
    score = {"errors": 0, "rows": 0, "accuracy": None, "interval": None, "fits": {"fold1": None}}
    run = as_if_of(copied, [[]], **nothing, members={"one": score}, holds_rows_out=False)
    assert repr(run) == f"Run({str(copied)!r}, no rows held out, 4 of 4 fits)"
    assert set(run.oof["predicted"]) == {-1}
    (row,) = run.members.to_dict("records")
    assert (row["member"], row["fold"], row["rows"]) == ("one", 1, 0)
    assert np.isnan(row["accuracy"])


def test_config(run):
    given = loading.without_tuning(loading.load("quick", SETTINGS))
    assert given.train.threads == "auto"
    assert run.config == auto.with_threads(given, environment.usable_cores())


def test_submission(folder, run):
    pd.testing.assert_frame_equal(
        run.submission, pd.read_csv(folder / "submission.csv"), check_dtype=False
    )
    assert run.submission.columns.tolist() == ["ImageId", "Label"]
    assert len(run.submission) == TEST_ROWS


def test_out_of_fold_predictions(folder, run, digits):
    assert run.oof.columns.tolist() == ["label", "fold", "predicted", *CLASSES]
    assert run.oof["label"].tolist() == digits.train_labels.tolist()
    assert sorted(run.oof["fold"].unique()) == [1, 2]
    assert (run.oof["predicted"] != run.oof["label"]).sum() == run.metrics.oof_errors
    own = [predictions_of(folder, member, 2)["heldout"] for member in ("one", "two")]
    expected = np.mean(own, axis=0, dtype=np.float64)
    held_out = run.oof[run.oof["fold"] == 2]
    np.testing.assert_allclose(held_out[CLASSES], expected, rtol=1e-5)
    assert held_out["predicted"].tolist() == expected.argmax(axis=1).tolist()


def test_rows_that_no_fit_has_held_out_yet_have_no_prediction(copied):
    arrays = files.read_arrays(copied / "predictions.npz")
    arrays["oof"][arrays["folds"] == 1] = np.nan
    files.write_arrays(copied / "predictions.npz", arrays)
    oof = Run(copied).oof
    assert set(oof.loc[oof["fold"] == 2, "predicted"]) == {-1}
    assert oof.loc[oof["fold"] == 2, CLASSES].isna().all(axis=None)
    assert (oof.loc[oof["fold"] == 1, "predicted"] >= 0).all()


def test_test_predictions(folder, run):
    assert run.test.columns.tolist() == ["predicted", *CLASSES]
    assert run.test.index.name == "ImageId"
    assert run.test.index.tolist() == run.submission["ImageId"].tolist() == list(range(1, 31))
    assert run.test["predicted"].tolist() == run.submission["Label"].tolist()
    own = [
        predictions_of(folder, member, fold)["test"] for member in ("one", "two") for fold in (1, 2)
    ]
    np.testing.assert_allclose(run.test[CLASSES], np.mean(own, axis=0, dtype=np.float64), rtol=1e-5)


def test_damaged_predictions_are_refused_in_one_line(copied):
    path = copied / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"predictions\.npz: it cannot be read"):
        _ = Run(copied).oof


def test_members(run):
    found = run.members
    assert found.columns.tolist() == ["member", "fold", "errors", "rows", "accuracy", "interval"]
    fits = list(zip(found["member"], found["fold"], strict=True))
    assert fits == [("one", 1), ("one", 2), ("two", 1), ("two", 2)]
    score = run.metrics.members["two"].fits["fold1"]
    assert found.iloc[2, 2:].tolist() == [score.errors, 30, score.accuracy, score.interval]


def test_history(folder, run):
    found = run.history
    assert found.columns.tolist() == [
        *("member", "fold", "epoch", "loss", "accuracy", "learning_rate", "seconds"),
        "images_per_second",
    ]
    assert found["epoch"].tolist() == [1, 2] * 4
    fits = list(zip(found["member"], found["fold"], strict=True))[::2]
    assert fits == [("one", 1), ("one", 2), ("two", 1), ("two", 2)]
    of_file = pd.read_csv(folder / "fits" / "two-fold1" / "history.csv")
    assert found.loc[4:5, "loss"].tolist() == of_file["loss"].tolist()


def test_predict_is_what_the_run_has_predicted(run, digits):
    found = run.predict(digits.test_images)
    assert (found.shape, found.dtype) == ((TEST_ROWS, 10), np.float32)
    np.testing.assert_allclose(found, run.test[CLASSES], atol=1e-5)
    for images in (
        digits.test_images.reshape(-1, 784),  # as in the CSV
        digits.test_images.astype(np.int64),
        digits.test_images.astype(float),
        digits.test_images.tolist(),
    ):
        np.testing.assert_array_equal(run.predict(images), found)
    np.testing.assert_allclose(run.predict(digits.test_images[7]), found[7:8], atol=1e-5)


def test_progress_of_predictions_is_counted_in_nets(run, digits, monkeypatch):
    found, done = run.predict(digits.test_images), []
    again = run.predict(digits.test_images, done.append)
    assert done == [1, 2, 3, 4]
    np.testing.assert_array_equal(again, found)
    # In smaller pieces the same is predicted.
    monkeypatch.setattr("kaggle_digits.training.train.PREDICT_BATCH", 10)
    monkeypatch.setattr("kaggle_digits.runs.run.PROGRESS_BATCHES", 2)
    done.clear()
    pieces = run.predict(digits.test_images, done.append)
    assert done == pytest.approx([2 / 3, 1, 5 / 3, 2, 8 / 3, 3, 11 / 3, 4])
    np.testing.assert_allclose(pieces, found, atol=1e-5)


def test_predict_averages_as_the_config_says(copied, digits):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["ensemble"]["method"] = "geometric"
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    own = [
        predictions_of(copied, member, fold)["test"] for member in ("one", "two") for fold in (1, 2)
    ]
    product = np.prod(np.array(own, np.float64), axis=0) ** (1 / 4)
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Run(copied).predict(digits.test_images), expected, atol=1e-5)


def test_submission_from_what_the_fits_have_predicted(copied):
    expected = (copied / "submission.csv").read_bytes()
    (copied / "submission.csv").unlink()
    (copied / "predictions.npz").unlink()
    assert Run(copied).submission_bytes() == expected


def test_submission_of_other_images(run, digits):
    lines = run.submission_bytes(digits.test_images[[4, 2]]).decode().splitlines()
    labels = run.submission["Label"]
    assert lines == ["ImageId,Label", f"1,{labels[4]}", f"2,{labels[2]}"]


def test_submission_of_damaged_predictions_is_refused(copied):
    path = copied / "fits" / "two-fold1" / "predictions.npz"
    arrays = files.read_arrays(path)
    files.write_arrays(path, arrays | {"test": arrays["test"][::-1]})
    with pytest.raises(files.DamagedError, match=r"two-fold1/predictions\.npz: its checksum"):
        Run(copied).submission_bytes()


def test_damaged_net_is_refused_in_one_line(copied, digits):
    path = copied / "fits" / "one-fold2" / "model.keras"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(files.DamagedError, match=r"one-fold2/model\.keras: its checksum"):
        Run(copied).predict(digits.test_images)
    path.unlink()
    with pytest.raises(files.DamagedError, match=r"one-fold2/model\.keras: it is missing"):
        Run(copied).predict(digits.test_images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 27, 28)), r"images of 28 x 28 or 784 pixels, found shape \(2, 27, 28\)"),
        (np.zeros(783), r"found shape \(783,\)"),
        (np.zeros((1, 28, 28)) + 0.5, "whole numbers of 0 to 255, found others"),  # scaled to 0..1
        (np.zeros((1, 28, 28)) - 1, "whole numbers of 0 to 255"),
        (np.zeros((1, 28, 28)) + 256, "whole numbers of 0 to 255"),
        (np.full((1, 28, 28), np.nan), "whole numbers of 0 to 255"),
        (np.full((1, 784), "0"), "whole numbers of 0 to 255"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(run, images, message):
    with pytest.raises(UserError, match=message) as refusal:
        run.predict(images)
    assert "\n" not in str(refusal.value)


# Runs with nothing to show yet


@pytest.fixture
def begun(copied):
    """The run as it was before its first epoch."""
    shutil.rmtree(copied / "fits")
    for name in ("metrics.json", "predictions.npz", "submission.csv"):
        (copied / name).unlink()
    return Run(copied)


def test_run_that_has_begun_shows_its_config(begun):
    assert begun.config.folds.count == 2
    assert begun.history.empty
    assert repr(begun) == f"Run({str(begun.folder)!r}, no fit finished)"


@pytest.mark.parametrize("name", ["oof", "test", "metrics", "members"])
def test_no_predictions_and_figures_before_a_fit_is_finished(begun, name):
    with pytest.raises(UserError, match=r"run: no fit is finished yet; continue the run first"):
        getattr(begun, name)


def test_no_submission_yet(begun):
    with pytest.raises(UserError, match=r"submission\.csv: expected a submission file, found no s"):
        _ = begun.submission


def test_nothing_predicts_before_a_fit_is_finished(begun):
    with pytest.raises(UserError, match=r"run: no fit is finished yet; continue the run first"):
        begun.predict(np.zeros((28, 28)))
    with pytest.raises(UserError, match=r"run: no fit is finished yet; continue the run first"):
        begun.submission_bytes()


def test_provisional_run(copied):
    values = json.loads((copied / "metrics.json").read_text())
    values |= {"provisional": True, "oof_accuracy": None, "members": {}, "fits_finished": 0}
    (copied / "metrics.json").write_text(json.dumps(values))
    (copied / "predictions.npz").unlink()
    run = Run(copied)
    assert repr(run) == f"Run({str(copied)!r}, no fit finished)"
    assert run.metrics.provisional
    assert run.members.empty
    assert run.members.columns[0] == "member"


# Folders that hold no run


def test_folder_without_a_run_is_refused(tmp_path):
    with SearchFolder(tmp_path / "search").locked():
        pass
    (tmp_path / "file").write_text("")
    for name, found in {
        "absent": "no such folder",
        "file": "a file",
        "search": "no manifest.json in it",
    }.items():
        with pytest.raises(
            UserError, match=rf"{name}: expected the folder of a run, found {found}"
        ):
            kaggle_digits.load_run(tmp_path / name)


@pytest.mark.parametrize(
    ("format", "message"), [(2, "made by a newer version"), (0, "made by an earlier version")]
)
def test_run_of_another_format_is_refused_in_one_line(copied, format, message):
    folder = RunFolder(copied)
    for path in (folder.manifest, copied / ".kaggle-digits"):
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | {"format": format}))
    with pytest.raises(UserError, match=message) as refusal:
        Run(copied)
    assert "\n" not in str(refusal.value)


def test_copy_without_hidden_files_can_be_opened(copied):
    for path in copied.glob(".*"):
        path.unlink()
    assert Run(copied).metrics.complete
