import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import lives
import numpy as np
import pytest
import yaml
from lives import write_data
from rich.console import Console

import kaggle_digits
from kaggle_digits.config import loading
from kaggle_digits.data import competition, folds, sources, submission_csv
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError
from kaggle_digits.runs import pipeline
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment as machine
from kaggle_digits.system import time_budget
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Signals, Stopped, TimeBudget
from kaggle_digits.training import backend, machine_settings
from kaggle_digits.training import fit as fits
from kaggle_digits.training.precision import Choice
from kaggle_digits.tuning.search_folder import SearchFolder

# Every value that a test names stands here, so that the shipped config may change.
TINY = (
    "seed=2026",
    "folds.count=2",
    "augment.elastic.p=0.5",
    "model.stages=[{width: 6, stride: 2, pool: first}]",
    "model.dropout=0.3",
    "train.epochs=2",
    "train.batch_size=32",
    "train.learning_rate=0.01",
    "train.warmup_epochs=1",
    "train.threads=2",
)
TRAIN_ROWS, TEST_ROWS = 1400, 397  # of the demo data


def command(*args, settings=TINY):
    changes = [part for change in settings for part in ("--set", change)]
    return [sys.executable, "-m", "kaggle_digits", "run", *map(str, args), *changes]


def environment(**variables):
    """The environment of a machine whose user has no data and no cache of the program."""
    return lives.environment() | {name: str(value) for name, value in variables.items()}


def run(folder, *args, settings=TINY, **variables):
    return subprocess.run(
        command(*args, settings=settings),
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def results_of(folder):
    """All that a run computes, without times and paths."""
    arrays = files.read_arrays(folder / "predictions.npz")
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()} | {
        "submission": (folder / "submission.csv").read_bytes()
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One run from the command line on the demo data, with a folder and a cache of its own."""
    folder = tmp_path_factory.mktemp("first")
    done = run(folder, "--out", "run", "--cache", "cache")
    return SimpleNamespace(folder=folder, run=folder / "run", cache=folder / "cache", done=done)


@pytest.fixture(scope="module")
def digits():
    return read_digits(sources.Source("demo data", demo=True))


@pytest.fixture
def copied(first, tmp_path):
    """A copy of the first run, to continue."""
    shutil.copytree(first.run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def _no_data_of_this_machine(monkeypatch, tmp_path):
    """Have this process find no data and no cache but those that it is given."""
    for name in lives.OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def go_on(first, tmp_path, _no_data_of_this_machine):
    """Run in this process with the first run's cache; return what was said."""

    def go(out, settings=TINY, source=None, cache=first.cache, budget=None, **wishes):
        options = pipeline.RunOptions(
            **wishes,
            config=loading.load("quick", settings),
            name="quick",
            data=source,
            out=out,
            cache=cache,
            root=tmp_path / "submissions",
        )
        console = Console(file=io.StringIO(), soft_wrap=True)
        pipeline.run(options, Reporter(console), budget or TimeBudget())
        return console.file.getvalue()

    return go


# Other kinds of splits


def test_a_net_on_all_rows_makes_a_submission_and_no_figure(go_on, tmp_path):
    settings = (*TINY, "folds.kind=none", "train.epochs=1")
    said = go_on(tmp_path / "run", settings)
    assert "split: no rows held out, each net is trained on all of them" in said
    assert "cnn fold 1 finished: trained on all 1,400 rows, no rows held out" in said
    assert "no rows held out, so there is no figure and no forecast" in " ".join(said.split())
    folder = RunFolder(tmp_path / "run")
    assert folder.was_reported()
    assert files.read_json(folder.metrics)["complete"] is True
    submission_csv.check_file(folder.submission, TEST_ROWS)
    assert folder.read_fit_arrays("cnn", 0)["heldout"].shape == (0, 10)
    before = folder.submission.read_bytes()
    folder.submission.unlink()
    assert "reused: 1 of 1 fits" in go_on(tmp_path / "run", settings)
    assert folder.submission.read_bytes() == before


def test_more_random_holdouts_reuse_the_fits_before(go_on, tmp_path):
    settings = (*TINY, "folds.kind=holdout", "train.epochs=1")
    first = go_on(tmp_path / "run", (*settings, "folds.count=1"))
    assert "split: 1 random split holds out 10 % of the rows; 140 of 1,400 rows" in first
    assert "140 of 1,400 rows covered" in first
    more = go_on(tmp_path / "run", (*settings, "folds.count=2"))
    assert "reused: 1 of 2 fits" in more
    covered = files.read_json(tmp_path / "run" / "metrics.json")["oof_rows"]
    assert 140 < covered < 280
    assert "cnn fold 2 finished: " in more
    assert f", {covered} of 1,400 rows covered" in more


# The run of the command line


def test_it_succeeds_in_silence(first):
    assert first.done.returncode == 0
    assert first.done.stderr == ""


def test_demo_data_are_no_secret(first):
    lines = first.done.stdout.splitlines()
    assert lines[0] == "reading demo data (scikit-learn load_digits)"
    assert lines[1].startswith("DEMO DATA: ")
    for text in ("NOT for upload", competition.DATA_PAGE, "kaggle-digits data fetch"):
        assert text in lines[1]
    result = lines[lines.index("Result of run") :]
    assert "NOT for upload" in result[1]
    assert any(competition.DATA_PAGE in line for line in result)


def test_progress_is_reported_in_plain_lines(first):
    out = first.done.stdout
    assert "\x1b" not in out
    assert "1,400 training rows, 0 of them duplicates across folds; 397 test rows, 0 also in" in out
    assert "augmentation bank: 2 variants, 2 drawn now" in out
    for fold in (1, 2):
        for epoch in (1, 2):
            assert f"cnn fold {fold}, epoch {epoch}/2: loss " in out
        assert f"cnn fold {fold} finished: " in out
    assert "out-of-fold accuracy so far" in out
    assert "images/s" in out
    assert " left" in out
    assert "run/submission.csv" in out


def test_all_files_are_there_and_nothing_half_written(first):
    found = set(files_of(first.run))
    fit_files = ("model.keras", "predictions.npz", "history.csv", "fit.json")
    assert found >= {
        "submission.csv",
        "metrics.json",
        "config.yaml",
        "manifest.json",
        "predictions.npz",
        "run.log",
        "folds.npz",
        "augmentation.png",
        "report.html",
        "report/confusion_matrix.png",
        "report/learning_curves.png",
        "report/misclassified.png",
        *(f"fits/cnn-fold{fold}/{name}" for fold in (1, 2) for name in fit_files),
    }
    assert list(first.folder.rglob(".[0-9]*")) == []
    assert {path.name for path in (first.run / "fits").iterdir()} == {"cnn-fold1", "cnn-fold2"}


def test_metrics(first):
    metrics = json.loads((first.run / "metrics.json").read_text())
    assert set(metrics) >= {
        "oof_accuracy",
        "oof_errors",
        "oof_rows",
        "oof_interval",
        "expected_leaderboard",
        "complete",
        "members",
        "images_per_second",
        "wall_seconds",
        "saving_seconds",
        "peak_memory_bytes",
    }
    assert metrics["format"] == 1
    assert metrics["complete"] is True
    assert metrics["demo_data"] is True
    assert metrics["test_rows"] == TEST_ROWS
    low, high = metrics["oof_interval"]
    assert low < metrics["oof_accuracy"] < high
    low, high = metrics["expected_leaderboard"]
    assert 0 <= low < high <= 1
    assert list(metrics["members"]) == ["cnn"]
    assert metrics["members"]["cnn"]["errors"] == metrics["oof_errors"]
    fits = metrics["members"]["cnn"]["fits"]
    assert sum(fit["errors"] for fit in fits.values()) == metrics["oof_errors"]
    assert metrics["peak_memory_bytes"] > 100 * 2**20  # TensorFlow alone takes more


def test_predictions(first, digits):
    arrays = files.read_arrays(first.run / "predictions.npz")
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "oof": ((TRAIN_ROWS, 10), "float32"),
        "oof_count": ((TRAIN_ROWS,), "int64"),
        "test": ((TEST_ROWS, 10), "float32"),
        "labels": ((TRAIN_ROWS,), "uint8"),
        "folds": ((TRAIN_ROWS,), "int16"),
    }
    assert (arrays["oof_count"] == 1).all()
    for name in ("oof", "test"):
        np.testing.assert_allclose(arrays[name].sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(arrays["labels"], digits.train_labels)
    for label in range(10):
        one, other = np.bincount(arrays["folds"][arrays["labels"] == label], minlength=2)
        assert abs(one - other) <= 1


def test_out_of_fold_accuracy_by_hand(first):
    arrays = files.read_arrays(first.run / "predictions.npz")
    metrics = json.loads((first.run / "metrics.json").read_text())
    right = arrays["oof"].argmax(axis=1) == arrays["labels"]
    assert metrics["oof_accuracy"] == pytest.approx(right.mean())
    assert (metrics["oof_errors"], metrics["oof_rows"]) == ((~right).sum(), TRAIN_ROWS)
    assert metrics["oof_accuracy"] > 0.3  # even the tiny net has learnt something
    for fold in (0, 1):
        own = metrics["members"]["cnn"]["fits"][f"fold{fold + 1}"]
        assert own["accuracy"] == pytest.approx(right[arrays["folds"] == fold].mean())


def test_out_of_fold_and_test_probabilities_come_from_the_fits(first):
    arrays = files.read_arrays(first.run / "predictions.npz")
    of_fits = [
        files.read_arrays(first.run / "fits" / f"cnn-fold{fold}" / "predictions.npz")
        for fold in (1, 2)
    ]
    for fold, own in enumerate(of_fits):
        assert np.array_equal(arrays["oof"][arrays["folds"] == fold], own["heldout"])
    mean = (of_fits[0]["test"].astype(np.float64) + of_fits[1]["test"]) / 2
    np.testing.assert_allclose(arrays["test"], mean, rtol=1e-6)


def test_submission_is_the_most_probable_class(first):
    answer = files.read_arrays(first.run / "predictions.npz")["test"].argmax(axis=1)
    with (first.run / "submission.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["ImageId", "Label"]
    assert rows == [[str(index), str(label)] for index, label in enumerate(answer, 1)]
    submission_csv.check_file(first.run / "submission.csv", TEST_ROWS)


def test_saved_net_makes_the_saved_predictions(first, digits):
    backend.configure(2)
    import keras

    from kaggle_digits.training import train

    folder = first.run / "fits" / "cnn-fold2"
    saved = files.read_arrays(folder / "predictions.npz")
    folds = files.read_arrays(first.run / "predictions.npz")["folds"]
    model = keras.saving.load_model(folder / "model.keras")
    test_shift = loading.load("quick").augment.test_shift
    for name, images in (
        ("heldout", digits.train_images[folds == 1]),
        ("test", digits.test_images),
    ):
        predicted = train.predict(model, images, test_shift)
        np.testing.assert_allclose(predicted, saved[name], atol=1e-5)


def test_history_of_a_fit(first):
    with (first.run / "fits" / "cnn-fold1" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "learning_rate",
        "seconds",
        "images_per_second",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.01, 0.0], abs=1e-8)


def test_identity_of_a_fit(first):
    facts = json.loads((first.run / "fits" / "cnn-fold1" / "fit.json").read_text())
    identity = facts["identity"]
    assert (identity["member"], identity["fold"], identity["seed"]) == ("cnn", 0, 2026)
    # A setting at its default is no part of it, train.threads=2 for example.
    assert identity["settings"]["train"] == {
        "epochs": 2,
        "batch_size": 32,
        "optimizer": "muon",
        "learning_rate": 0.01,
    }
    assert facts["checksums"] == {
        name: files.checksum(first.run / "fits" / "cnn-fold1" / name)
        for name in ("model.keras", "predictions.npz", "history.csv")
    }
    # 700 training rows fill 21 batches of 32, in each of two epochs.
    assert facts["train_images"] == 2 * 21 * 32
    assert set(facts["seconds"]) == {"train", "predict"}


def test_manifest(first, digits):
    manifest = json.loads((first.run / "manifest.json").read_text())
    assert (manifest["kind"], manifest["format"]) == ("run", 1)
    assert manifest["complete"] is True
    assert manifest["data"] == digits.hashes
    assert manifest["test_rows"] == TEST_ROWS
    assert manifest["seed"] == 2026
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["config_name"] == "quick"
    for name, expected in manifest["artefacts"].items():
        assert files.checksum(first.run / name) == expected, name
    assert {"submission.csv", "metrics.json", "fits/cnn-fold1/model.keras"} <= set(
        manifest["artefacts"]
    )


def test_saved_config_is_the_resolved_one(first):
    saved = loading.load(str(first.run / "config.yaml"))
    # Nothing that a run does depends on what a search would look at.
    assert saved == loading.without_tuning(loading.load("quick", TINY))
    assert yaml.safe_load((first.run / "config.yaml").read_text())["train"]["epochs"] == 2


def test_log_has_what_was_said(first):
    log = (first.run / "run.log").read_text(encoding="utf-8")
    said = [line for line in first.done.stdout.splitlines() if "cnn fold" in line]
    assert len(said) == 6
    for line in (*said, *first.done.stdout.splitlines()[-12:]):
        assert line in log
    assert log.splitlines()[1].count("DEMO DATA") == 1


# Repeated and changed


def test_repeated_it_reuses_all_fits(first, copied):
    before = files_of(copied)
    models = sorted(copied.glob("fits/*/model.keras"))
    times = [path.stat().st_mtime_ns for path in models]
    done = run(copied.parent, "--out", "run", "--cache", first.cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reused: 2 of 2 fits" in done.stdout
    assert ", epoch " not in done.stdout
    after = files_of(copied)
    changing = {"metrics.json", "manifest.json", "run.log", "report.html", ".owner", ".seconds"}
    assert {name for name in before if before[name] != after.get(name)} <= changing
    assert set(after) == set(before)
    assert [path.stat().st_mtime_ns for path in models] == times
    old, new = (json.loads(files["metrics.json"]) for files in (before, after))
    assert new["wall_seconds"] > old["wall_seconds"]
    kept = set(old) - {"wall_seconds", "saving_seconds", "reporting_seconds"}
    assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
    assert after["run.log"].startswith(before["run.log"])


def test_changed_fit_setting_is_refused_on_the_command_line(first, copied):
    before = files_of(copied)
    done = run(
        copied.parent,
        *("--out", "run", "--cache", first.cache),
        settings=(*TINY, "train.learning_rate=0.5"),
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "train.learning_rate: 0.01 there, 0.5 here" in done.stderr
    after = files_of(copied)
    assert {name for name in after if after[name] != before.get(name)} <= {".owner", ".lock"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed=7", "seed: 2026 there, 7 here"),
        ("folds.count=3", "folds.count"),
        ("train.epochs=3", "train.epochs: 2 there, 3 here"),
        ("train.threads=1", "train.threads: 2 there, 1 here"),
        ("model.dropout=0.1", "model.dropout: 0.3 there, 0.1 here"),
        ("model.stages=[{width: 7, stride: 2, pool: first}]", "model.stages"),
        ("augment.rotate=[-5, 5]", "augment.rotate"),
        ("augment.variants=1", "augment.variants: 2 there, 1 here"),
        ("augment.elastic.p=0.25", "augment.elastic.p: 0.5 there, 0.25 here"),
        ("members.cnn.train={batch_size: 64}", "train.batch_size: 32 there, 64 here"),
    ],
)
def test_refusal_names_the_key(first, go_on, change, named):
    with pytest.raises(UserError) as refusal:
        go_on(first.run, (*TINY, change))
    assert f"made with another {named}" in str(refusal.value)
    assert "cnn-fold1" in str(refusal.value)


def test_other_data_are_refused(first, go_on, tmp_path):
    write_data(tmp_path / "mine")
    with pytest.raises(UserError, match=r"made with another .*data"):
        go_on(first.run, source=tmp_path / "mine")


@pytest.mark.parametrize(
    "change",
    ["ensemble.method=vote", "ensemble.method=geometric", "data.path=null"],
)
def test_what_no_fit_depends_on_is_not_refused(copied, go_on, change):
    before = files_of(copied)
    assert "reused: 2 of 2 fits" in go_on(copied, (*TINY, change))
    after = files_of(copied)
    assert {name for name in before if "fits/" in name and before[name] != after[name]} == set()


def test_method_changes_the_answer(copied, go_on):
    go_on(copied, (*TINY, "ensemble.method=geometric"))
    of_fits = [
        files.read_arrays(copied / "fits" / f"cnn-fold{fold}" / "predictions.npz")["test"]
        for fold in (1, 2)
    ]
    product = np.sqrt(of_fits[0].astype(np.float64) * of_fits[1])
    expected = product / product.sum(axis=1, keepdims=True)
    found = files.read_arrays(copied / "predictions.npz")["test"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_report_is_left_that_describes_other_figures(copied, go_on):
    folder = RunFolder(copied)
    go_on(copied, report=False)
    assert folder.report.is_file()  # of the same figures
    go_on(copied, (*TINY, "ensemble.method=vote"), report=False)
    assert not folder.report.exists()
    assert not folder.pictures.exists()


def test_figures_of_settings_that_were_chosen_on_these_rows_are_optimistic(copied, go_on, digits):
    assert "OPTIMISTIC" not in go_on(copied, (*TINY, "tuned=null"))
    last = folds.stratified(digits.train_labels, 2, 2026)[-1]
    facts = {
        "train_data": files.digest(digits.train_images, digits.train_labels),
        "holdout_digest": files.digest(digits.train_images[last], digits.train_labels[last]),
        "seed": 2026,
        "folds": 2,
        "holdout_folds": 1,
        "trials": 9,
    }
    said = go_on(copied, (*TINY, f"tuned={json.dumps(facts)}"))
    assert "reused: 2 of 2 fits" in said
    assert "OPTIMISTIC" in said
    # The search has split the rows as the run does: its holdout is what the second fit held out.
    metrics = json.loads((copied / "metrics.json").read_text())
    holdout = metrics["holdout"]
    assert holdout == metrics["members"]["cnn"]["fits"]["fold2"]
    (line,) = (line for line in said.splitlines() if line.startswith("  on unseen rows"))
    assert f"{holdout['accuracy']:.5f} ({holdout['errors']} of 7" in line
    # What such a run leaves says where its settings are from.
    assert loading.load(str(copied / "config.yaml")).tuned[0].trials == 9


def test_another_member_joins_finished_ones(copied, go_on):
    before = files_of(copied)
    wider = "members={wide: {model: {stages: [{width: 8, stride: 2, pool: first}]}}, cnn: {}}"
    said = go_on(copied, (*TINY, wider))
    assert "reused: 2 of 4 fits" in said
    assert "augmentation bank: 2 variants, 0 drawn now" in said  # the same bank
    assert "wide fold 2 finished" in said
    assert "cnn fold 1, epoch" not in said
    after = files_of(copied)
    assert {name for name in before if "fits/" in name and before[name] != after[name]} == set()
    arrays = files.read_arrays(copied / "predictions.npz")
    assert (arrays["oof_count"] == 2).all()
    own = files.read_arrays(copied / "fits" / "cnn-fold1" / "predictions.npz")["heldout"]
    wide = files.read_arrays(copied / "fits" / "wide-fold1" / "predictions.npz")["heldout"]
    mean = (own.astype(np.float64) + wide) / 2
    np.testing.assert_allclose(arrays["oof"][arrays["folds"] == 0], mean, rtol=1e-5)
    metrics = json.loads((copied / "metrics.json").read_text())
    assert set(metrics["members"]) == {"cnn", "wide"}
    assert metrics["complete"] is True


def test_bank_grows_with_the_epochs(first, go_on, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(first.cache, cache)
    said = go_on(tmp_path / "longer", (*TINY, "train.epochs=3"), cache=cache)
    assert "augmentation bank: 3 variants, 1 drawn now" in said
    before, after = files_of(first.cache / "bank"), files_of(cache / "bank")
    assert len(after) == len(before) + 1
    assert {name: after[name] for name in before} == before


def altered_facts(folder, fold, **changes):
    """Write other facts into a fit's fit.json, with a checksum that holds."""
    path = folder / "fits" / f"cnn-fold{fold}" / "fit.json"
    facts = json.loads(path.read_text())
    del facts["checksum"]
    for section, values in changes.items():
        facts[section] |= values
    path.write_text(json.dumps(facts | {"checksum": files.digest_json(facts)}))


def test_other_package_versions_are_refused_or_allowed(copied, go_on):
    altered_facts(copied, 2, packages={"keras": "3.0.1"})
    expected = results_of(copied)
    with pytest.raises(UserError) as refusal:
        go_on(copied)
    for part in ("cnn fold 2 was trained with keras 3.0.1", "--allow-changed-versions"):
        assert part in str(refusal.value)
    said = go_on(copied, allow_changed_versions=True)
    assert "WARNING: cnn fold 2 was trained with keras 3.0.1, here is" in said
    assert "reused: 2 of 2 fits" in said
    assert results_of(copied) == expected


def test_another_bank_version_is_refused_or_allowed(copied, go_on, monkeypatch):
    key = fits.bank.Bank.key.func
    monkeypatch.setattr(fits.bank.Bank, "key", property(lambda bank: key(bank)[::-1]))
    with pytest.raises(UserError, match=r"another version of albumentations or OpenCV .*--allow"):
        go_on(copied)
    assert "reused: 2 of 2 fits" in go_on(copied, allow_changed_versions=True)


def test_other_hardware_is_only_a_warning(copied, go_on):
    altered_facts(copied, 1, hardware={"processor": "Abacus", "cores": 99})
    said = go_on(copied)
    assert "WARNING: cnn fold 1 was trained on other hardware (processor: Abacus there" in said
    assert "(cores: 99 there" in said


def test_restart_starts_over_and_keeps_other_files(copied, go_on):
    before = results_of(copied)
    (copied / "notes.txt").write_text("mine")
    models = list(copied.glob("fits/*/model.keras"))
    made_at = [path.stat().st_mtime_ns for path in models]
    said = go_on(copied, restart=True)
    assert "reused" not in said
    assert "cnn fold 2 finished" in said
    assert all(a.stat().st_mtime_ns > b for a, b in zip(models, made_at, strict=True))
    assert results_of(copied) == before
    assert (copied / "notes.txt").read_text() == "mine"
    # A restart may also be of another config.
    go_on(copied, (*TINY, "train.epochs=3"), restart=True)
    assert len((copied / "fits" / "cnn-fold1" / "history.csv").read_text().splitlines()) == 4


def test_saved_epochs_of_other_settings_are_refused(copied, go_on):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    shutil.rmtree(copied / "fits" / "cnn-fold2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "finish_fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go_on(copied)
    shutil.rmtree(copied / "fits" / "cnn-fold1")
    with pytest.raises(UserError, match=r"cnn-fold2\.state: this fit was made with another seed"):
        go_on(copied, (*TINY, "seed=7"))
    assert "cnn fold 2 resumes after epoch 2" in go_on(copied)


def test_extended_on_the_command_line(first, copied):
    extend_command = [sys.executable, "-m", "kaggle_digits", "extend", "run"]

    def extend(*arguments):
        return subprocess.run(
            [*extend_command, *arguments, "--cache", str(first.cache)],
            cwd=copied.parent,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    before = files_of(copied)
    done = extend("--seeds", "2", "--set", "ensemble.method=geometric")
    assert (done.returncode, done.stderr) == (0, "")
    assert "reused: 2 of 4 fits" in done.stdout
    assert "augmentation bank: 2 variants, 0 drawn now" in done.stdout
    after = files_of(copied)
    assert {name for name in before if "fits/" in name and before[name] != after[name]} == set()
    metrics = json.loads(after["metrics.json"])
    assert (list(metrics["members"]), metrics["complete"]) == (["cnn", "cnn_2"], True)
    assert RunFolder(copied).made_by()[0] == "quick"
    arrays = files.read_arrays(copied / "predictions.npz")
    assert (arrays["oof_count"] == 2).all()
    first_seed, second_seed = (
        files.read_arrays(copied / "fits" / f"{name}-fold1" / "predictions.npz")["test"]
        for name in ("cnn", "cnn_2")
    )
    assert not np.array_equal(first_seed, second_seed)
    # Repeated, it finds nothing to do; the run's own command finds a member too many.
    assert "reused: 4 of 4 fits" in extend("--seeds", "2").stdout
    refused = run(copied.parent, "--out", "run", "--cache", first.cache)
    assert refused.returncode == 2
    assert "fits/cnn_2-fold1: this fit belongs to another run" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "--seeds", "2"], "absent: expected the folder of a run, found no such folder"),
        (["run"], "extend: expected what to add, found nothing"),
        (["run", "--member", "cnn"], "--member: expected --seeds N with it"),
        (["run", "--set", "train.epochs=9"], "members.cnn: its settings are not those in run"),
        (["run", "--config", "quick"], "quick: member cnn is not the one of the run"),
    ],
)
def test_extensions_that_are_refused(first, arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "extend", *arguments],
        cwd=first.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"kaggle-digits: {message}")
    assert done.stderr.count("\n") == 1


# Without --out


def test_numbers_kills_and_separate_caches(first, tmp_path):
    """One story, since every chapter costs a start of TensorFlow."""
    cache = tmp_path / "other-cache"
    # The same config with a cache of its own, named by the environment: the same bytes.
    done = run(tmp_path, KAGGLE_DIGITS_CACHE=cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert results_of(tmp_path / "submissions" / "quick-1") == results_of(first.run)
    assert len(list(cache.rglob("variant-*.npy"))) == 2
    theirs = files_of(first.cache)
    assert files_of(cache) == {name: theirs[name] for name in files_of(cache)}

    # Finished, so the next one takes the next number. It is killed after its first fit.
    process = subprocess.Popen(
        command(),
        cwd=tmp_path,
        env=environment(KAGGLE_DIGITS_CACHE=cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        for line in process.stdout:
            if line.startswith("cnn fold 1 finished"):
                process.kill()
    second = tmp_path / "submissions" / "quick-2"
    assert process.returncode != 0
    assert [path.name for path in sorted((second / "fits").glob("*-fold[0-9]"))] == ["cnn-fold1"]
    submission_csv.check_file(second / "submission.csv", TEST_ROWS)
    metrics = json.loads((second / "metrics.json").read_text())
    assert (metrics["complete"], metrics["oof_rows"]) == (False, TRAIN_ROWS / 2)

    # The same command continues there.
    done = run(tmp_path, KAGGLE_DIGITS_CACHE=cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reused: 1 of 2 fits" in done.stdout
    assert "cnn fold 1, epoch" not in done.stdout
    assert results_of(second) == results_of(first.run)
    assert json.loads((second / "metrics.json").read_text())["complete"] is True
    assert {path.name for path in (tmp_path / "submissions").iterdir()} == {"quick-1", "quick-2"}


def test_other_config_or_data_take_a_new_number(first, digits, tmp_path):
    unfinished = tmp_path / "submissions" / "quick-4"
    shutil.copytree(first.run, unfinished)
    manifest = json.loads((unfinished / "manifest.json").read_text())
    files.write_json(unfinished / "manifest.json", manifest | {"complete": False})
    write_data(tmp_path / "mine")
    mine = read_digits(sources.find_source(tmp_path / "mine"))

    def chosen(digits, *changes, backend_name="tensorflow"):
        options = pipeline.RunOptions(
            config=loading.without_tuning(loading.load("quick", (*TINY, *changes))),
            name="quick",
            data=None,
            out=None,
            cache=first.cache,
            root=tmp_path / "submissions",
        )
        return pipeline._choose_folder(options, digits, backend_name).folder.name

    assert chosen(digits) == "quick-4"
    assert chosen(digits, "ensemble.method=vote") == "quick-5"
    assert chosen(digits, backend_name="jax") == "quick-5"
    assert chosen(mine) == "quick-5"
    # By what is left of it a damaged folder is known all the same.
    sound = (unfinished / "manifest.json").read_bytes()
    (unfinished / "manifest.json").write_text("{")
    assert chosen(digits) == "quick-4"
    assert chosen(digits, "ensemble.method=vote") == "quick-5"
    (unfinished / "manifest.json").write_bytes(sound)
    (unfinished / "config.yaml").write_bytes(b"\xff")
    assert chosen(digits, "ensemble.method=vote") == "quick-5"


# Threads


@pytest.fixture
def auto(go_on, monkeypatch):
    """Run with `train.threads: auto` on a machine with some cores, up to its first fit.

    Returns:
        A function that returns (the numbers of threads that fits were to have, what was said).
    """

    def go(cores, *changes, **wishes):
        planned, said = set(), []

        def stop(specs, *others):
            planned.update(spec.settings.train.threads for spec in specs)
            raise Stopped(signal.SIGINT)

        monkeypatch.setattr(machine, "usable_cores", lambda: cores)
        with monkeypatch.context() as patched:
            patched.setattr(pipeline.engine, "run", stop)
            patched.setattr(Reporter, "say", lambda self, line: said.append(line))
            with pytest.raises(Stopped):
                go_on(None, (*TINY, "train.threads=auto", *changes), **wishes)
        return planned, said

    return go


def test_auto_goes_on_in_the_same_folder_on_another_machine(auto, tmp_path):
    submissions = tmp_path / "submissions"
    planned, said = auto(3)
    assert planned == {3}
    assert not [line for line in said if "train.threads" in line]
    saved = yaml.safe_load((submissions / "quick-1" / "config.yaml").read_text())
    assert saved["train"]["threads"] == 3
    planned, said = auto(1)
    assert planned == {3}
    assert "train.threads: 3, as the run was begun; this machine has 1 usable core" in said
    assert [path.name for path in submissions.iterdir()] == ["quick-1"]
    # Where its manifest is damaged, the config speaks for the folder.
    (submissions / "quick-1" / "manifest.json").write_text("{")
    assert auto(1)[0] == {3}
    assert [path.name for path in submissions.iterdir()] == ["quick-1"]


def test_capped_warmup_is_said(auto):
    assert (
        "train.warmup_epochs: 1 is capped at 0.2, train.epochs is 1" in auto(2, "train.epochs=1")[1]
    )


def test_auto_begins_again_with_the_cores_here(auto):
    auto(3)
    assert auto(1, restart=True)[0] == {1}
    assert auto(3)[0] == {1}


def test_auto_goes_on_with_a_run_of_an_earlier_default(copied, go_on, monkeypatch):
    # 2 was the default, and no identity has it.
    assert "threads" not in (copied / "fits" / "cnn-fold1" / "fit.json").read_text()
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    said = go_on(copied, (*TINY, "train.threads=auto"))
    assert "train.threads: 2, as the run was begun; this machine has 3 usable cores\n" in said
    assert "reused: 2 of 2 fits" in said
    with pytest.raises(UserError, match=r"another train\.threads: 2 there, 3 here"):
        go_on(copied, (*TINY, "train.threads=3"))


# Precision


def test_auto_precision_is_settled_once_said_and_stored(go_on, monkeypatch, tmp_path):
    def here(threads):
        said.append(f"asked with {threads} threads")
        return Choice("bfloat16", "the processor has avx512_bf16")

    def stop(specs, *others):
        planned.update(spec.settings.train.precision for spec in specs)
        raise Stopped(signal.SIGINT)

    def go(settings, out=None):
        said.clear()
        planned.clear()
        with pytest.raises(Stopped):
            go_on(out, (*TINY, *settings))
        return set(planned)

    planned, said = set(), []
    monkeypatch.setattr(machine_settings.precision, "here", here)
    monkeypatch.setattr(pipeline.engine, "run", stop)
    monkeypatch.setattr(Reporter, "say", lambda self, line: said.append(line))
    folder = tmp_path / "submissions" / "quick-1"
    assert go(["train.precision=auto"]) == {"bfloat16"}
    assert "train.precision: bfloat16, the processor has avx512_bf16" in said
    assert next(line for line in said if line.startswith("runs on: ")).endswith("; bfloat16")
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["precision"] == "bfloat16"
    assert json.loads((folder / "manifest.json").read_text())["precision"] == {"cnn": "bfloat16"}
    # Moved to another machine it keeps its own, which is not asked.
    moved = shutil.move(folder, tmp_path / "moved")
    assert go(["train.precision=auto"], Path(moved)) == {"bfloat16"}
    assert "train.precision: bfloat16, as the run was begun" in said
    assert "asked with 2 threads" not in said
    # What is given by name is the same run, and nothing is to be said of it.
    assert go(["train.precision=bfloat16"], Path(moved)) == {"bfloat16"}
    assert not [line for line in said if line.startswith("train.precision")]
    # By default nothing is said or stored.
    assert go([]) == {"float32"}
    assert "precision" not in (folder / "config.yaml").read_text()


def test_auto_goes_on_with_a_float32_run(copied, go_on, monkeypatch):
    monkeypatch.setattr(machine_settings.precision, "here", lambda threads: pytest.fail("asked"))
    said = go_on(copied, (*TINY, "train.precision=auto"))
    assert "train.precision: float32, as the run was begun\n" in said
    assert "reused: 2 of 2 fits" in said
    (copied / "config.yaml").write_bytes(b"\xff")
    assert "float32, as the run was begun" in go_on(copied, (*TINY, "train.precision=auto"))
    with pytest.raises(UserError, match=r"another train\.precision: float32 there, bfloat16 here"):
        go_on(copied, (*TINY, "train.precision=bfloat16"))


# A config and data of one's own


def test_own_config_and_own_data(tmp_path):
    write_data(tmp_path / "mine")
    settings = {
        "folds": {"count": 2},
        "model": {"stages": [{"width": 4, "stride": 2, "pool": "first"}]},
        "train": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
        "members": {"one": {}, "two": {"train": {"optimizer": "sgd"}, "model": {"pooling": "max"}}},
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "own.yaml").write_text(yaml.safe_dump(settings))
    done = run(
        tmp_path, "--config", "configs/own.yaml", "--data", "mine", "--cache", "c", settings=()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "DEMO" not in done.stdout
    assert "test accuracy" not in done.stdout
    # Nobody takes it for the competition's data.
    assert (
        "WARNING: mine: train.csv has 60 rows, the competition's has 42,000; test.csv has 30 rows, "
        "the competition's has 28,000; the submission is not fit for upload\n"
    ) in done.stdout
    assert "NOT FOR UPLOAD        it has 30 rows, the competition's has 28,000" in done.stdout
    folder = tmp_path / "submissions" / "own-1"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["demo_data"], metrics["oof_rows"]) == (False, 60)
    assert metrics["test"] is None
    assert {name: len(member["fits"]) for name, member in metrics["members"].items()} == {
        "one": 2,
        "two": 2,
    }
    assert (files.read_arrays(folder / "predictions.npz")["oof_count"] == 2).all()
    submission_csv.check_file(folder / "submission.csv", 30)
    checked = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", "check", "submissions/own-1/submission.csv"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == (
        "submissions/own-1/submission.csv: a valid submission of 30 rows; NOT FOR UPLOAD: the "
        "competition's has 28,000 rows\n"
    )


def test_test_rows_that_are_in_train_are_refused_or_allowed(tmp_path):
    write_data(tmp_path / "mine", leaked=11)
    arguments = ("--data", "mine", "--out", "run", "--cache", "cache")
    done = run(tmp_path, *arguments, settings=(*TINY, "train.epochs=1", "train.warmup_epochs=0"))
    assert done.returncode == 2
    assert done.stderr.startswith("kaggle-digits: mine: expected at most 10 test rows whose")
    assert "found 11" in done.stderr
    assert "--allow-leak" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
    done = run(
        tmp_path,
        *(*arguments, "--allow-leak"),
        settings=(*TINY, "train.epochs=1", "train.warmup_epochs=0"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "30 test rows, 11 also in train" in done.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test_rows_also_in_train"] == 11
    assert metrics["not_for_upload"] == "trained on 11 of the test rows"
    assert metrics["expected_leaderboard"] is None
    assert "NOT FOR UPLOAD" in done.stdout
    assert "kaggle-digits submit" not in done.stdout
    submission_csv.check_file(tmp_path / "run" / "submission.csv", 30)


# A process that calls the package as a library


@pytest.fixture
def unfinished(copied):
    """The first run as it was before its second fit."""
    shutil.rmtree(copied / "fits" / "cnn-fold2")
    return copied


@pytest.fixture
def call(first, unfinished, _no_data_of_this_machine):
    """Continue it as a notebook does."""
    backend.configure(2)
    import keras  # noqa: F401, its threads and hooks are its own

    def call(**options):
        config = options.pop("config", loading.load("quick", TINY))
        return kaggle_digits.run(config, out=unfinished, cache=first.cache, **options)

    return call


def process_state():
    """What a call of the package might leave behind in its process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    return (
        {number: signal.getsignal(number) for number in numbers},
        signal.getitimer(signal.ITIMER_REAL),
        sys.unraisablehook,
    )


def new_threads(before):
    """The threads that were not there before and do not end by themselves."""
    threads = set(threading.enumerate()) - before
    for thread in threads:
        thread.join(1)  # one that was told to end may not have got to it yet
    return [thread for thread in threads if thread.is_alive()]


def test_call_leaves_no_timer_and_no_handler_behind(first, call):
    before, threads = process_state(), set(threading.enumerate())
    found = call(time_limit="10h")
    assert found.metrics.complete
    assert process_state() == before
    assert new_threads(threads) == []
    assert results_of(found.folder) == results_of(first.run)


def test_call_that_fails_leaves_no_timer_and_no_handler_behind(call):
    before, threads = process_state(), set(threading.enumerate())
    with pytest.raises(UserError, match="made with another seed"):
        call(time_limit="10h", config=loading.load("quick", (*TINY, "seed=7")))
    assert process_state() == before
    assert new_threads(threads) == []


def test_interrupted_call_can_be_continued(first, call, capsys):
    before, threads = process_state(), set(threading.enumerate())

    class Interrupt(keras_callback()):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        call(callbacks=[Interrupt])
    assert process_state() == before
    assert new_threads(threads) == []
    found = call()
    assert "cnn fold 2 resumes after epoch 1" in capsys.readouterr().out
    assert results_of(found.folder) == results_of(first.run)


def keras_callback():
    backend.configure(2)
    import keras

    return keras.callbacks.Callback


class ProcessEnded(BaseException):
    """The process would have ended here."""


@pytest.fixture
def exits(monkeypatch):
    """Collect the statuses with which the process would have ended, instead of ending it."""
    statuses = []

    def end(status):
        statuses.append(status)
        raise ProcessEnded

    monkeypatch.setattr(time_budget.os, "_exit", end)
    return statuses


@pytest.fixture
def _timers_fire_at_once(monkeypatch):
    class Timer:
        def __init__(self, seconds, function):
            self._function = function

        def start(self):
            self._function()

        def cancel(self):
            pass

    monkeypatch.setattr(time_budget.threading, "Timer", Timer)


@pytest.mark.usefixtures("_timers_fire_at_once")
def test_time_limit_that_passes_in_the_middle_of_a_step_ends_no_process_of_others(
    unfinished, go_on, exits, monkeypatch
):
    budget = TimeBudget(36_000.0, Signals())

    def held_up(*given):
        budget.start -= 72_000.0
        return train_fit(*given)

    train_fit = fits.train_fit
    monkeypatch.setattr(fits, "train_fit", held_up)
    said = go_on(unfinished, budget=budget, how_to_continue="repeat the call")
    assert exits == []
    assert "time limit of 10 h 0 min: ended after " in said
    assert "not done yet: cnn fold 2; repeat the call to continue" in said
    metrics = json.loads((unfinished / "metrics.json").read_text())
    assert (metrics["complete"], metrics["fits_finished"]) == (False, 1)
    submission_csv.check_file(unfinished / "submission.csv", TEST_ROWS)


@pytest.mark.usefixtures("_timers_fire_at_once")
def test_time_limit_that_passes_in_the_middle_of_a_step_ends_the_command(unfinished, go_on, exits):
    with pytest.raises(ProcessEnded):
        go_on(unfinished, budget=TimeBudget(36_000.0, Signals(owns_process=True)))
    assert exits == [0]
    log = (unfinished / "run.log").read_text()
    assert "time limit of 10 h 0 min: ended in the middle of a step" in log
    submission_csv.check_file(unfinished / "submission.csv", TEST_ROWS)


def test_timer_of_the_command_is_cancelled(unfinished, go_on):
    threads = set(threading.enumerate())
    go_on(unfinished, budget=TimeBudget(36_000.0, Signals(owns_process=True)))
    assert new_threads(threads) == []


# Callbacks of a user


def test_callbacks_of_a_user_see_each_net_and_change_no_fit(first, copied, go_on, tmp_path):
    seen = []

    class Watch(keras_callback()):
        def __init__(self):
            super().__init__()
            seen.append([])

        def on_epoch_end(self, epoch, logs=None):
            seen[-1].append(epoch)

    said = go_on(tmp_path / "watched", callbacks=(Watch,))
    assert seen == [[0, 1], [0, 1]]
    assert f"callbacks: {Watch.__qualname__}; they are no part of a fit's identity" in said
    metrics = json.loads((tmp_path / "watched" / "metrics.json").read_text())
    assert metrics["callbacks"] == [Watch.__qualname__]
    assert results_of(tmp_path / "watched") == results_of(first.run)
    # Finished fits are reused whether or not they had them.
    assert "reused: 2 of 2 fits" in go_on(copied, callbacks=(Watch,))
    assert len(seen) == 2


def test_callbacks_of_the_config_are_imported(first, unfinished, go_on, tmp_path, monkeypatch):
    (tmp_path / "watchers.py").write_text(
        "import keras\n\n"
        "class Watch(keras.callbacks.Callback):\n"
        "    def on_train_end(self, logs=None):\n"
        "        print('the net is', self.model.name)\n"
    )
    with pytest.raises(UserError, match=r"callbacks: watchers:Watch: cannot be imported"):
        go_on(unfinished, (*TINY, "callbacks=[watchers:Watch]"))
    monkeypatch.syspath_prepend(tmp_path)
    said = go_on(unfinished, (*TINY, "callbacks=[watchers:Watch]"))
    assert "callbacks: watchers:Watch; " in said
    assert "reused: 1 of 2 fits" in said
    assert results_of(unfinished) == results_of(first.run)


# Settings of later versions


def test_new_setting_at_its_default_refuses_no_earlier_run(copied, go_on, become_later_version):
    become_later_version()
    before = results_of(copied)
    assert "reused: 2 of 2 fits" in go_on(copied)
    assert results_of(copied) == before
    assert yaml.safe_load((copied / "config.yaml").read_text())["train"]["gradient_clip"] == 0.0
    with pytest.raises(UserError, match=r"another train\.gradient_clip: 0\.0 there, 1\.0 here"):
        go_on(copied, (*TINY, "train.gradient_clip=1"))
    assert "reused: 2 of 2 fits" in go_on(copied, (*TINY, "views=2"))


def test_new_setting_at_its_default_keeps_the_epochs_of_an_unfinished_fit(
    first, unfinished, go_on, become_later_version, monkeypatch
):
    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fits, "finish_fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go_on(unfinished)
    become_later_version()
    said = go_on(unfinished)
    assert "reused: 1 of 2 fits" in said
    assert "cnn fold 2 resumes after epoch 2" in said
    assert results_of(unfinished) == results_of(first.run)


def test_new_setting_at_its_default_finds_the_run_without_out(
    first, digits, tmp_path, become_later_version
):
    unfinished = tmp_path / "submissions" / "quick-4"
    shutil.copytree(first.run, unfinished)
    (unfinished / ".reported").unlink()
    become_later_version()

    def chosen(*changes):
        options = pipeline.RunOptions(
            config=loading.without_tuning(loading.load("quick", (*TINY, *changes))),
            name="quick",
            data=None,
            out=None,
            cache=first.cache,
            root=tmp_path / "submissions",
        )
        return pipeline._choose_folder(options, digits, "tensorflow").folder.name

    assert chosen() == "quick-4"
    assert chosen("views=2") == "quick-5"


def test_key_that_an_earlier_version_did_not_write_has_its_default(copied, go_on):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    assert config["train"].pop("label_smoothing") == 0.05
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    (copied / "manifest.json").write_text("{")  # so that the config has to speak for the folder
    assert loading.load(str(copied / "config.yaml")).train.label_smoothing == 0.05
    assert "reused: 2 of 2 fits" in go_on(copied)


# What goes wrong


def test_run_into_the_folder_of_a_search_is_refused(tmp_path):
    with SearchFolder(tmp_path / "search").locked():
        pass
    before = files_of(tmp_path / "search")
    done = run(tmp_path, "--out", "search", "--cache", "cache")
    assert done.returncode == 2
    assert done.stderr == (
        "kaggle-digits: --out search: expected a new or empty folder, or that of a run, found that "
        "of a search, which might be overwritten; give another path\n"
    )
    assert files_of(tmp_path / "search") == before


def test_search_into_the_folder_of_a_run_is_refused(first, copied):
    before = files_of(copied)
    words = [str(word) for word in ("tune", "--out", "run", "--cache", first.cache)]
    done = subprocess.run(
        [sys.executable, "-m", "kaggle_digits", *words],
        cwd=copied.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "kaggle-digits: --out run: expected a new or empty folder, or that of a search, found that "
        "of a run, which might be overwritten; give another path\n"
    )
    assert files_of(copied) == before


def test_numbered_folder_of_a_search_is_left_alone(first, digits, tmp_path):
    with SearchFolder(tmp_path / "quick-3").locked():
        pass
    options = pipeline.RunOptions(
        config=loading.load("quick", TINY),
        name="quick",
        data=None,
        out=None,
        cache=first.cache,
        root=tmp_path,
    )
    assert pipeline._choose_folder(options, digits, "tensorflow").folder.name == "quick-4"


def test_out_that_is_a_file_is_refused(go_on, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*file: expected a folder, found a file"):
        go_on(tmp_path / "file")


def test_fewer_rows_of_a_class_than_folds_are_refused(go_on, tmp_path):
    write_data(tmp_path / "mine")
    with pytest.raises(UserError, match=r"expected at least 9 rows of each class"):
        go_on(tmp_path / "run", (*TINY, "folds.count=9"), source=tmp_path / "mine")
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_is_reported(go_on, tmp_path):
    # NaN must not pass for predictions, nor rows of NaN for rows that are not covered.
    write_data(tmp_path / "mine")
    diverging = ("train.optimizer=sgd", "train.learning_rate=1e38")
    with pytest.raises(UserError, match="all 2 fits diverged and were skipped"):
        go_on(tmp_path / "run", (*TINY, *diverging), source=tmp_path / "mine")


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    done = run(tmp_path, "--out", "thesis", "--cache", "cache")
    assert done.returncode == 2
    assert done.stderr.startswith("kaggle-digits: --out thesis: expected a new or empty folder")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("option", ["--data", "--out", "--cache"])
def test_empty_path_is_refused(tmp_path, option):
    done = run(tmp_path, option, "")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kaggle-digits: {option}: expected a path, found nothing")


def test_run_with_other_members_is_refused(first, copied):
    before = (copied / "submission.csv").read_bytes()
    done = run(copied.parent, "--out", "run", settings=(*TINY, "members={other: {}, cnn: null}"))
    assert done.returncode == 2
    assert "fits/cnn-fold1: this fit belongs to another run" in done.stderr
    assert (copied / "submission.csv").read_bytes() == before


def test_damaged_summary_is_made_again_before_anything_else(first, copied):
    sound = (copied / "submission.csv").read_bytes()
    (copied / "submission.csv").write_bytes(sound[:100])
    done = run(copied.parent, "--out", "run", "--cache", first.cache)
    assert "differs from its checksum in manifest.json: submission.csv;" in done.stdout
    assert (copied / "submission.csv").read_bytes() == sound


def test_keras_settings_of_a_person_change_nothing(first, tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float64", "image_data_format": "channels_first", "backend": "tensorflow"}'
    )
    done = run(tmp_path, "--out", "run", "--cache", first.cache, KERAS_HOME=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    expected = (first.run / "submission.csv").read_bytes()
    assert (tmp_path / "run" / "submission.csv").read_bytes() == expected
