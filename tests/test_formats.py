"""What a version has written, every later one opens: see fixtures/make.py."""

import json
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from fixtures import make
from packaging.version import Version

import kaggle_digits as kd
from kaggle_digits.data import sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.diagnostics import doctor
from kaggle_digits.errors import UserError
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.tuning.search_folder import SearchFolder

# Of an invocation, not of what was found.
OF_THE_CLOCK = {
    "wall_seconds",
    "saving_seconds",
    "drawing_seconds",
    "reporting_seconds",
    "peak_memory_bytes",
    "facts",
    "images_per_second",
}


@pytest.fixture
def kept(tmp_path):
    """Unpack the run or the search that an earlier version made, beside its data."""
    make.write_data(tmp_path / "data")

    def unpack(name):
        with zipfile.ZipFile(make.HERE / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
        return tmp_path / name

    return unpack


@pytest.fixture
def command(tmp_path, process_env):
    """Run a command in the folder of the fixtures; return what it printed."""

    def run(*words, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "kaggle_digits", *map(str, words)],
            env=process_env | {"KAGGLE_DIGITS_CACHE": str(tmp_path / "cache")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def models(folder):
    """What tells the nets in a folder from newly trained ones."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("model.keras")}


def found(path):
    """What a JSON record holds, without what every invocation changes."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in OF_THE_CLOCK}


def kept_in(old, new):
    """Whether all of an earlier record is in a later one, which may have more keys."""
    if isinstance(old, dict):
        return all(key in new and kept_in(value, new[key]) for key, value in old.items())
    return old == new


def damage(findings):
    """Name all problems but that the fixtures were made with other package versions than these."""
    return [
        f"{each.name}: {each.found}"
        for each in findings
        if each.problem and "but trained with" not in each.found
    ]


def test_fixtures_are_small():
    assert sum(path.stat().st_size for path in make.HERE.glob("*.zip")) < 150_000


def test_a_run_is_read(kept, tmp_path):
    run = kd.load_run(kept("run"))
    metrics = run.metrics
    assert (metrics.complete, metrics.fits_finished, metrics.fits_planned) == (True, 2, 2)
    assert (metrics.oof_rows, metrics.test_rows) == (make.TRAIN_ROWS, make.TEST_ROWS)
    assert metrics.oof_errors == (run.oof["predicted"] != run.oof["label"]).sum()
    assert [(name, *member.fits) for name, member in metrics.members.items()] == [
        ("cnn", "fold1", "fold2")
    ]
    epochs = run.history[["member", "fold", "epoch"]].to_numpy().tolist()
    assert epochs == [["cnn", fold, epoch] for fold in (1, 2) for epoch in (1, 2)]
    # The version that made it had another default.
    assert run.config == kd.load_config(make.CONFIGS["run"], {"train.threads": 2})
    digits = read_digits(sources.find_source(tmp_path / "data"))
    assert (run.oof["label"] == digits.train_labels).all()
    assert (run.submission["Label"].to_numpy() == run.test["predicted"].to_numpy()).all()
    # The nets are read too, by this Keras or a later one.
    made_by = json.loads((run.folder / "manifest.json").read_text())["packages"]["keras"]
    if Version(keras.__version__) < Version(made_by):
        with pytest.raises(kd.UserError, match=f"saved by Keras {made_by}, Keras .* cannot read"):
            run.predict(digits.test_images)
        return
    probabilities = run.predict(digits.test_images)
    np.testing.assert_allclose(
        probabilities, run.test.drop(columns="predicted").to_numpy(), atol=1e-4
    )


def test_the_command_reuses_every_fit_of_a_run(kept, command):
    folder = kept("run")
    before = models(folder)
    figures = found(folder / "metrics.json")
    submission = (folder / "submission.csv").read_bytes()
    (folder / "submission.csv").unlink()
    repeated = ("run", "--config", make.CONFIGS["run"], "--data", "data", "--out", folder)
    said = command(*repeated, "--allow-changed-versions")
    assert "reused: 2 of 2 fits" in said
    assert "epoch 1/2" not in said
    assert len(before) == 2
    assert models(folder) == before
    assert (folder / "submission.csv").read_bytes() == submission
    assert kept_in(figures, found(folder / "metrics.json"))


def test_a_run_is_continued(kept, command):
    folder = kept("run")
    shutil.rmtree(folder / "fits" / "cnn-fold2")
    repeated = ("run", "--config", make.CONFIGS["run"], "--data", "data", "--out", folder)
    said = command(*repeated, "--allow-changed-versions")
    assert "reused: 1 of 2 fits" in said
    assert "cnn fold 2 finished" in said
    assert "cnn fold 1, epoch" not in said
    assert kd.load_run(folder).metrics.fits_finished == 2


def test_no_damage_is_found_in_a_run(kept):
    folder = RunFolder(kept("run"))
    findings = list(doctor.examine_run(folder))
    assert damage(findings) == []
    assert findings[-1].found.startswith("reuse 2 of 2 fits")
    # It would be found.
    path = folder.model_path("cnn", 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert damage(doctor.examine_run(folder)) == [
        "cnn-fold1: damaged: model.keras: its checksum in fit.json differs"
    ]


def test_a_search_is_read(kept):
    folder = kept("search")
    search = kd.SearchResult(folder)
    assert search.record.complete
    assert search.record.counts() == "2 completed"
    assert search.trials["train.learning_rate"].tolist() == [0.001, 0.1]
    best = search.trials.loc[search.trials["objective"].idxmax()]
    assert search.best_config.train.learning_rate == best["train.learning_rate"]
    assert search.best_config.tuned[0].trials == 2
    # It was written before there were strokes, and means none, whoever reads it.
    assert search.best_config.augment.stroke == 0.0
    assert kd.load_config(str(folder / "best.yaml")) == search.best_config
    check = search.record.check
    assert (check.reference.rows, check.best.rows, check.folds) == (80, 80, (3,))


def test_the_command_reuses_every_trial_of_a_search(kept, command):
    folder = kept("search")
    before = models(folder)
    record, best = found(folder / "search_record.json"), (folder / "best.yaml").read_text()
    (folder / "best.yaml").unlink()
    repeated = ("tune", "--config", make.CONFIGS["search"], "--data", "data", "--out", folder)
    said = command(*repeated, "--allow-changed-versions")
    assert "reused: 2 trials, ended earlier" in said
    # Two folds each, and the holdout fold of the best and of the start.
    assert len(before) == 6
    assert models(folder) == before
    # What later versions add, the ones before did not know.
    assert record.items() <= found(folder / "search_record.json").items()
    # What had another default then is stated now.
    stated = best.replace("    limit: 0.3\n", "    limit: 0.3\n  stroke: 0.0\n  test_shift: 0\n")
    assert (folder / "best.yaml").read_text() == stated


def test_no_damage_is_found_in_a_search(kept):
    folder = SearchFolder(kept("search"))
    findings = list(doctor.examine_search(folder))
    assert damage(findings) == []
    assert findings[-1].found == "reuse 6 finished fits"
    path = next(folder.candidates.rglob("model.keras"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged: its checksum in fit.json differs" in damage(doctor.examine_search(folder))[0]


# Before folders had a format

# The records of 2551cc7, the last version without one, as far as they are looked at.
EARLIER_RUN = {
    "config": "f0b7a9d5f6c1d9a8",
    "complete": True,
    "hashes": "BLAKE2b: data as b2sum prints it, artefacts as b2sum --length=128 does",
    "data": {"train.csv": "802cb246", "test.csv": "fb0228d7"},
    "data_source": "demo data (scikit-learn load_digits)",
    "demo_data": True,
    "test_rows": 397,
    "backend": "tensorflow",
    "fits": {"cnn-fold1": {"identity": "f8069fab", "seed": 1833048732, "finished": True}},
    "artefacts": {"config.yaml": "3db80ea2"},
    "packages": {"python": "3.11.7"},
}
EARLIER_SEARCH = {
    "config": {"train": {"epochs": 2}},
    "data": {"train.csv": "802cb246", "test.csv": "fb0228d7"},
    "backend": "tensorflow",
    "packages": {"python": "3.11.7"},
}
EARLIER = {"run": ("manifest.json", EARLIER_RUN), "search": ("search.json", EARLIER_SEARCH)}


@pytest.fixture(params=EARLIER)
def earlier(request, tmp_path):
    """A run's or a search's folder of the layout before folders had a marker: (kind, folder)."""
    name, record = EARLIER[request.param]
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / name).write_text(json.dumps(record))
    (folder / "submission.csv").write_text("ImageId,Label\n1,3\n")
    return request.param, folder


def line_about(folder):
    return (
        f"{folder}: made by an earlier version of kaggle-digits; give another --out (its "
        "submission.csv and model files can still be used)"
    )


def test_an_earlier_layout_gets_one_line_in_python(earlier):
    kind, folder = earlier
    with pytest.raises(UserError) as caught:
        {"run": kd.load_run, "search": kd.SearchResult}[kind](folder)
    assert str(caught.value) == line_about(folder)


def test_an_earlier_layout_gets_one_line_on_the_command_line(earlier, command):
    kind, folder = earlier
    before = {path: path.read_bytes() for path in folder.iterdir()}
    line = f"kaggle-digits: {line_about(folder)}\n"
    again = "run" if kind == "run" else "tune"
    assert command(again, "--out", folder, status=2) == line
    assert command("doctor", folder, status=2) == line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "record", "read"),
    [("run", "manifest.json", kd.load_run), ("search", "search.json", kd.SearchResult)],
)
def test_a_later_layout_gets_one_line(kept, name, record, read):
    folder = kept(name)
    for path in (folder / ".kaggle-digits", folder / record):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(UserError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"{folder}: made by a newer version of kaggle-digits (format 99, expected 1); update "
        "kaggle-digits, or give another --out"
    )
