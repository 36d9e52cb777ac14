"""Evaluations of a small run, on its own rows and on others; nets predict only where it says so."""

import json
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures import make
from packaging.version import Version

import kaggle_digits
from kaggle_digits.analysis import evaluate as analysis
from kaggle_digits.analysis.evaluate import Predicted, class_scores, evaluate, figures
from kaggle_digits.cli import evaluate as cli
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.errors import UserError
from kaggle_digits.results import evaluation, record
from kaggle_digits.results.evaluation import Evaluation
from kaggle_digits.runs.run import CLASSES, Run
from kaggle_digits.scoring import calibration, ensemble
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.evaluation_folder import EvaluationFolder
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter

FACTS = {"run": "r", "source": "s", "part": "p", "out_of_fold": False, "nets": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working folder with a finished run, `run`, and the data that it was trained on, `data`."""
    make.write_data(tmp_path / "data")
    with zipfile.ZipFile(make.HERE / "run.zip") as archive:
        archive.extractall(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def digits(home):
    return read_digits(find_source(home / "data"))


@pytest.fixture
def on(home):
    """A function that evaluates the run on some data."""
    return lambda data=None: evaluate("run", data, Cache(home / "cache"), Reporter(progress="none"))


@pytest.fixture
def reads(monkeypatch):
    """A function that has the run's nets give one digit to each image, 0.91 sure."""

    def read_as(digit_of):
        def predict(run, images, on_progress):
            on_progress(2)
            sure = np.eye(10)[[digit_of(image) for image in images]]
            return np.where(sure == 1, 0.91, 0.01).astype(np.float32)

        monkeypatch.setattr(Run, "predict", predict)

    return read_as


# Figures


def test_figures_by_hand():
    labels = np.array([0, 0, 1, 1])
    given = np.array([0, 0, 1, 7])
    probabilities = np.where(np.eye(10)[given] == 1, 0.91, 0.01)
    probabilities[3, 7], probabilities[3, 1] = 0.51, 0.41
    found = figures(Predicted(labels, probabilities, None, np.array([5, 6, 8, 9])), **FACTS)
    assert (found.score.errors, found.score.rows, found.score.accuracy) == (1, 4, 0.75)
    assert found.score.interval == pytest.approx(ensemble.accuracy_interval(1, 4))
    assert found.log_loss == pytest.approx(-(3 * np.log(0.91) + np.log(0.41)) / 4)
    assert found.confusion[1] == (0, 1, 0, 0, 0, 0, 0, 1, 0, 0)
    # Bins of 1/15: 0.91 and 0.51 are in two of them.
    assert found.calibration.rows == (1, 3)
    assert found.calibration.expected_error == pytest.approx((0.51 + 3 * 0.09) / 4)
    assert (found.calibrated, found.calibrated_log_loss) == (None, None)
    [mistake] = found.mistakes
    assert (mistake.row, mistake.label, mistake.predicted) == (9, 1, 7)
    assert mistake.confidence == pytest.approx(0.51)


def test_mistakes_are_in_order_of_confidence():
    labels = np.zeros(3, int)
    probabilities = np.zeros((3, 10))
    probabilities[[0, 1, 2], [1, 2, 3]] = (0.6, 0.9, 0.7)
    found = figures(Predicted(labels, probabilities, None, np.arange(3)), **FACTS)
    assert [mistake.row for mistake in found.mistakes] == [1, 2, 0]


def test_figures_after_a_temperature():
    labels = np.array([0, 1])
    before = np.where(np.eye(10)[[0, 0]] == 1, 0.91, 0.01)
    after = np.where(np.eye(10)[[0, 0]] == 1, 0.55, 0.05)
    found = figures(Predicted(labels, before, after, np.arange(2)), **FACTS)
    assert found.calibrated.expected_error == pytest.approx(0.05)
    assert found.calibrated_log_loss == pytest.approx(-(np.log(0.55) + np.log(0.05)) / 2)


def test_scores_of_each_digit_by_hand():
    # Of three 1s two are recognised, and a 2 is taken for one; there is no 5, and none is seen.
    scores = class_scores(np.array([1, 1, 1, 2, 2]), np.array([1, 1, 7, 1, 2]))
    one, two, five, seven = (scores[digit] for digit in (1, 2, 5, 7))
    assert (one.precision, one.recall, one.support) == (2 / 3, 2 / 3, 3)
    assert one.f1 == pytest.approx(2 / 3)
    assert (two.precision, two.recall, two.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert (five.precision, five.recall, five.f1, five.support) == (None, None, None, 0)
    assert (seven.precision, seven.recall, seven.support) == (0, None, 0)
    assert [score.digit for score in scores] == list(range(10))


# Out of fold


def test_out_of_fold(on, home, digits):
    found = on()
    run = Run(home / "run")
    assert found.record.out_of_fold
    assert found.record.score == run.metrics.oof
    assert (found.record.run, found.record.source) == ("run", "its own training rows")
    assert (found.record.nets, found.record.rows_in_training) == (2, 0)
    assert np.array_equal(found.images, digits.train_images)
    wrong = run.oof.index[run.oof["predicted"] != run.oof["label"]]
    assert sorted(mistake.row for mistake in found.record.mistakes) == wrong.tolist()


def test_each_folds_temperature_is_fitted_on_the_others(on, home):
    oof = Run(home / "run").oof
    probabilities, labels = oof[CLASSES].to_numpy(), oof["label"].to_numpy()
    calibrated = np.empty((len(oof), 10))
    for fold, other in ((1, 2), (2, 1)):
        fitted_on = (oof["fold"] == other).to_numpy()
        temperature = calibration.fit_temperature(probabilities[fitted_on], labels[fitted_on])
        own = (oof["fold"] == fold).to_numpy()
        calibrated[own] = calibration.with_temperature(probabilities[own], temperature)
    found = on().record
    expected = calibration.calibration(calibrated, labels).expected_error
    assert found.calibrated.expected_error == pytest.approx(expected)
    assert found.temperature is None


def test_rows_that_are_not_predicted_yet_do_not_count(on, home):
    path = home / "run" / "predictions.npz"
    arrays = files.read_arrays(path)
    first = arrays["folds"] == 0
    arrays["oof"][~first] = np.nan
    files.write_arrays(path, arrays)
    found = on().record
    assert found.score.rows == first.sum()
    assert found.calibrated is None  # one fold has no other
    assert {mistake.row for mistake in found.mistakes} <= set(np.flatnonzero(first).tolist())
    arrays["oof"][:] = np.nan
    files.write_arrays(path, arrays)
    with pytest.raises(UserError, match="expected out-of-fold predictions, found none; give lab"):
        on()


def test_rows_that_several_folds_hold_out_are_calibrated_in_groups(on, home, monkeypatch):
    oof = Run(home / "run").oof.drop(columns="fold")
    monkeypatch.setattr(Run, "oof", oof)
    probabilities, labels = oof[CLASSES].to_numpy(), oof["label"].to_numpy()
    calibrated = calibration.cross_fitted(probabilities, labels, np.arange(len(oof)) % 5)
    expected = calibration.calibration(calibrated, labels).expected_error
    assert on().record.calibrated.expected_error == pytest.approx(expected)


def test_without_its_data_there_are_figures_but_no_pictures(on, home):
    (home / "data").rename(home / "elsewhere")
    found = on()
    assert found.images is None
    assert found.record.score.rows == make.TRAIN_ROWS


# Other rows


def test_labelled_test_rows(on, home, digits, reads):
    reads(lambda image: 3)
    found = on("data")
    threes = (digits.test_labels == 3).sum()
    assert found.record.score.errors == make.TEST_ROWS - threes
    assert (found.record.source, found.record.part) == ("data", "test.csv")
    assert (found.record.rows_in_training, found.record.with_training_rows) == (0, None)
    assert np.array_equal(found.images, digits.test_images)
    oof = Run(home / "run").oof
    temperature = calibration.fit_temperature(oof[CLASSES].to_numpy(), oof["label"].to_numpy())
    assert found.record.temperature == pytest.approx(temperature)
    # Each row is 0.91 sure of its 3.
    after = calibration.with_temperature(np.where(np.eye(10)[[3]] == 1, 0.91, 0.01), temperature)
    assert found.record.calibrated.confidence == pytest.approx((after.max(),), rel=1e-5)


def test_rows_of_the_training_data_are_left_out_and_counted(on, home, digits, reads):
    images = np.concatenate([digits.train_images[:10], digits.test_images])
    labels = np.concatenate([digits.train_labels[:10], digits.test_labels])
    np.savez(home / "mixed.npz", images=images, labels=labels)
    known = {image.tobytes(): label for image, label in zip(images[:10], labels, strict=False)}
    reads(lambda image: known.get(image.tobytes(), 3))  # it knows them by heart
    found = on("mixed.npz").record
    errors = int((digits.test_labels != 3).sum())
    assert found.rows_in_training == 10
    assert (found.score.errors, found.score.rows) == (errors, make.TEST_ROWS)
    assert (found.with_training_rows.errors, found.with_training_rows.rows) == (
        errors,
        make.TEST_ROWS + 10,
    )
    # Rows are counted in what was given.
    wrong = {mistake.row for mistake in found.mistakes}
    assert wrong == set((10 + np.flatnonzero(digits.test_labels != 3)).tolist())


def test_without_the_training_data_nobody_knows(on, home, digits, reads):
    reads(lambda image: 3)
    np.savez(home / "a.npz", images=digits.train_images, labels=digits.train_labels)
    (home / "data").rename(home / "elsewhere")
    assert on("a.npz").record.rows_in_training is None


def test_data_that_has_changed_since_is_not_the_training_data(on, home, digits, reads):
    reads(lambda image: 3)
    np.savez(home / "a.npz", images=digits.train_images, labels=digits.train_labels)
    train = home / "data" / "train.csv"
    train.write_bytes(b"".join(train.read_bytes().splitlines(keepends=True)[:-1]))
    assert on("a.npz").record.rows_in_training is None


def test_rows_that_are_all_known_are_refused(on, home, digits):
    np.savez(home / "a.npz", images=digits.train_images[:7], labels=digits.train_labels[:7])
    with pytest.raises(UserError) as caught:
        on("a.npz")
    assert str(caught.value) == (
        "a.npz: expected rows that run was not trained on, found that all 7 of train were; leave "
        "out --data for out-of-fold figures"
    )


def test_the_runs_nets_predict(on, home, monkeypatch):
    made_by = json.loads((home / "run" / "manifest.json").read_text())["packages"]["keras"]
    if Version(keras.__version__) < Version(made_by):
        pytest.skip(f"its nets are of Keras {made_by}")
    shown = []
    bar = nullcontext(lambda done, text: shown.append(done))
    monkeypatch.setattr(analysis.Reporter, "bar", lambda *of_bar: bar)
    found = on("data").record
    # As the run itself has predicted them.
    assert found.score == Run(home / "run").metrics.test
    assert shown == [1, 2]


# What is written


def test_files(on, home, reads):
    reads(lambda image: 3)
    found = on("data")
    folder = EvaluationFolder(home / "there")
    found.write(folder)
    values = json.loads(folder.record.read_text())
    assert record.from_json(Evaluation, values, evaluation.FORMAT, folder.record) == found.record
    page = folder.page.read_text()
    assert "Evaluation of run on data" in page
    assert page.count("<img") == min(len(found.record.mistakes), 60)


def test_a_run_does_not_count_evaluations_among_its_files(on, home, reads):
    run = RunFolder(home / "run")
    before = run.checksums()
    on().write(EvaluationFolder.of_run(run.folder, None, "aa"))
    assert (run.folder / "evaluation-out-of-fold" / "evaluation.html").is_file()
    assert run.checksums() == before


def test_a_page_of_an_earlier_evaluation_is_not_left_beside_a_new_record(on, home, monkeypatch):
    folder = EvaluationFolder(home / "there")
    files.write_bytes(folder.page, b"of other data")
    monkeypatch.setattr(analysis.evaluation_page, "page", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        on().write(folder)
    assert folder.record.is_file()
    assert not folder.page.exists()


def test_the_record_says_which_rows_were_given(on, home, digits, reads):
    reads(lambda image: 3)
    np.savez(home / "a.npz", images=digits.test_images, labels=digits.test_labels)
    rows = files.digest(digits.test_images, digits.test_labels)
    assert on("a.npz").record.data == on("data").record.data == rows
    own = on().record.data
    assert own == files.digest(Run(home / "run").oof["label"].to_numpy())
    assert own != rows


def test_python_function(on, home, capsys):
    found = kaggle_digits.evaluate("run", cache=home / "cache")
    assert found == on().record
    assert not (home / "run" / "evaluation-out-of-fold").exists()
    assert kaggle_digits.evaluate(kaggle_digits.load_run("run"), cache=home / "cache") == found
    kaggle_digits.evaluate("run", out="there", cache=home / "cache")
    assert sorted(path.name for path in (home / "there").iterdir()) == [
        "evaluation.html",
        "evaluation.json",
    ]
    assert found.class_table["support"].sum() == make.TRAIN_ROWS
    with pytest.raises(UserError, match="--out run: expected a new or empty folder, or that of an"):
        kaggle_digits.evaluate("run", out="run", cache=home / "cache")


def command(home, env, *words):
    code = "import sys; from kaggle_digits.cli import main\n"
    code += "try: main()\nfinally: print('keras' in sys.modules)"
    return subprocess.run(
        [sys.executable, "-c", code, "evaluate", *map(str, words)],
        env=env | {"KAGGLE_DIGITS_CACHE": str(home / "cache")},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_is_all_that_is_printed(home, process_env):
    done = command(home, process_env, "run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.removesuffix("False\n")  # no backend either
    assert json.loads(printed) == json.loads(
        (home / "run" / "evaluation-out-of-fold" / "evaluation.json").read_text()
    )


def test_tables_are_printed(home, process_env):
    done = command(home, process_env, "run", "--out", "there")
    assert done.returncode == 0
    assert "Evaluation of run, out of fold" in done.stdout
    assert "there/evaluation.html" in done.stdout
    assert "precision" in done.stdout
    assert "as 9" in done.stdout


def test_other_data_of_the_same_name_gets_a_place_of_its_own(home, digits, reads):
    reads(lambda image: 3)
    half = make.TEST_ROWS // 2
    for folder, rows in (("a", slice(half)), ("b", slice(half, None)), ("a", slice(half))):
        (home / folder).mkdir(exist_ok=True)
        path = home / folder / "digits.npz"
        np.savez(path, images=digits.test_images[rows], labels=digits.test_labels[rows])
        cli.evaluate(Path("run"), path, cache=home / "cache")
    made = {path.parent.name: files.read_json(path) for path in home.rglob("evaluation.json")}
    assert {name: noted["source"] for name, noted in made.items()} == {
        "evaluation-digits": f"{home}/a/digits.npz",
        "evaluation-digits-2": f"{home}/b/digits.npz",
    }


def test_a_folder_with_other_files_is_refused_before_anything_is_predicted(home):
    expected = "--out data: expected a new or empty folder, or that of an evaluation, found other f"
    with pytest.raises(UserError, match=expected):
        cli.evaluate(Path("run"), "absent.csv", out=Path("data"))


def test_rows_without_labels_are_refused_before_a_backend_starts(home, process_env, digits):
    np.save(home / "a.npy", digits.test_images)
    done = command(home, process_env, "run", "--data", "a.npy")
    assert done.returncode == 2
    assert done.stderr == (
        "kaggle-digits: a.npy: expected rows with labels, found only images; give a file or folder "
        "with labels\n"
    )
    assert done.stdout == "False\n"


def test_optimistic_figures_are_called_so(on, home, monkeypatch):
    because = {"optimistic": True, "optimistic_because": ("training",)}
    metrics = replace(Run(home / "run").metrics, **because)
    monkeypatch.setattr(Run, "metrics", metrics)
    found = on().record
    assert (found.optimistic, found.optimistic_because) == (True, ("training",))
